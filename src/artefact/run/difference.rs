//! Whether two runs are the same, and if not, why.

use crate::artefact::record::{Input, Options, RunRecord};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Options that change where or how fast a run goes or what its figures look like, never what it finds; of a study's spec the digest
/// stands beside the path.
const WITHOUT_EFFECT: [&str; 7] = [
    "out",
    "threads",
    "jobs",
    "json",
    "record-every",
    "style",
    "spec",
];

/// Says in what `old`, found in a folder, is another run than `new`: the first difference that matters.
pub(in crate::artefact) fn difference(old: &RunRecord, new: &RunRecord) -> Option<String> {
    if old.command != new.command {
        return Some(format!(
            "command was {}, is now {}",
            old.command, new.command
        ));
    }
    if old.ascribe != new.ascribe {
        return Some(format!(
            "it was begun by ascribe {}, this is {}",
            old.ascribe, new.ascribe
        ));
    }
    // Of an input that is known by its digest, and of how much a training keeps in memory, the option says nothing more.
    let is_input = |name: &str| {
        [old, new].iter().all(|record| {
            let mut inputs = record.inputs.iter();
            inputs.any(|input| option_of(&input.role) == name)
        })
    };
    // Of measurements that are given, the file says how many there are.
    let of_measurements = |name: &str| {
        let given = |record: &RunRecord| {
            record
                .options
                .get("retrained")
                .is_some_and(|it| !it.is_null())
        };
        ["leave-one-out", "lds"].contains(&name) && given(old) && given(new)
    };
    let trains = ["train", "transfer", "study"].contains(&new.command.as_str());
    let names = old.options.keys().chain(new.options.keys());
    let effective = names.filter(|name| {
        let of_memory = trains && *name == "memory";
        let without_effect = WITHOUT_EFFECT.contains(&name.as_str());
        !(without_effect || is_input(name) || of_measurements(name) || of_memory)
    });
    for name in effective.collect::<BTreeSet<_>>() {
        // An option that is not set may be one that was not there yet.
        let of = |options: &Options| options.get(name).filter(|it| !it.is_null()).cloned();
        let (old, new) = (of(&old.options), of(&new.options));
        if old != new && name == "spec-digest" {
            return Some("the spec has changed".into());
        }
        if old != new {
            let shown = |value: Option<Value>| {
                value.map_or("not set".to_owned(), |value| value.to_string())
            };
            return Some(format!(
                "--{name} was {}, is now {}",
                shown(old),
                shown(new)
            ));
        }
    }
    let count = old.inputs.len().max(new.inputs.len());
    (0..count).find_map(|at| input_difference(old.inputs.get(at), new.inputs.get(at)))
}

/// The option that names the input of a role: of several the roles are other words.
fn option_of(role: &str) -> &str {
    match role {
        "checkpoint" => "checkpoints",
        role if role.starts_with("run-") => "runs",
        role => role,
    }
}

/// Says in what two inputs differ; the path may change as long as the content is the same.
fn input_difference(old: Option<&Input>, new: Option<&Input>) -> Option<String> {
    let same = |a: &Input, b: &Input| (&a.role, &a.digest, a.rows) == (&b.role, &b.digest, b.rows);
    match (old, new) {
        (Some(a), Some(b)) if same(a, b) => None,
        (None, None) => None,
        _ => Some(format!(
            "input was {}, is now {}",
            described(old),
            described(new)
        )),
    }
}

fn described(input: Option<&Input>) -> String {
    let Some(Input {
        role,
        path,
        digest,
        rows,
    }) = input
    else {
        return "absent".to_owned();
    };
    let rows = rows.map_or(String::new(), |rows| format!(", {rows} rows"));
    let digest = digest.get(..12).unwrap_or(digest);
    format!("{} ({role}, digest {digest}…{rows})", Path::display(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(command: &str, options: &[(&str, Value)]) -> RunRecord {
        let options = options.iter();
        let options = options.map(|(name, value)| ((*name).to_owned(), value.clone()));
        RunRecord::begin(command, Vec::new(), options.collect(), Vec::new())
    }

    fn between(command: &str, name: &str) -> Option<String> {
        let [old, new] = [1, 2].map(|value| record(command, &[(name, value.into())]));
        difference(&old, &new)
    }

    #[test]
    fn of_measurements_that_are_given_their_number_says_nothing() {
        let with = |count: u64, folder: Option<&str>| {
            let options = [("lds", count.into()), ("retrained", folder.into())];
            record("evaluate", &options)
        };
        let given = [50, 12].map(|count| with(count, Some("there")));
        assert_eq!(difference(&given[0], &given[1]), None);
        let expected = "--lds was 50, is now 12".to_owned();
        let asked = [50, 12].map(|count| with(count, None));
        assert_eq!(difference(&asked[0], &asked[1]), Some(expected));
    }

    #[test]
    fn where_how_fast_and_in_which_style_make_no_other_run() {
        let names = [
            "out",
            "threads",
            "jobs",
            "json",
            "record-every",
            "style",
            "spec",
        ];
        for name in names {
            assert_eq!(between("train", name), None, "{name}");
            assert_eq!(between("study", name), None, "{name}");
            let set = record("rank", &[(name, 1.into())]);
            assert_eq!(difference(&set, &record("rank", &[])), None, "{name}");
        }
        let expected = "--seed was 1, is now 2".to_owned();
        assert_eq!(between("rank", "seed"), Some(expected));
    }

    #[test]
    fn memory_makes_another_run_of_all_but_trainings() {
        for command in ["train", "transfer"] {
            assert_eq!(between(command, "memory"), None, "{command}");
            let expected = "--batch-size was 1, is now 2".to_owned();
            assert_eq!(between(command, "batch-size"), Some(expected));
        }
        for command in ["rank", "evaluate", "audit"] {
            let expected = "--memory was 1, is now 2".to_owned();
            assert_eq!(between(command, "memory"), Some(expected), "{command}");
        }
    }

    #[test]
    fn an_option_that_is_not_set_may_be_missing() {
        let missing = record("rank", &[]);
        let null = record("rank", &[("device", Value::Null)]);
        assert_eq!(difference(&missing, &null), None);
        let set = record("rank", &[("device", "cuda:0".into())]);
        let expected = "--device was not set, is now \"cuda:0\"".to_owned();
        assert_eq!(difference(&missing, &set), Some(expected));
    }

    #[test]
    fn a_changed_spec_is_called_so() {
        let expected = "the spec has changed".to_owned();
        assert_eq!(between("study", "spec-digest"), Some(expected));
    }

    #[test]
    fn of_several_inputs_the_digests_count_and_their_paths_do_not() {
        for (option, role) in [("runs", "run-1"), ("checkpoints", "checkpoint")] {
            let of = |path: &str, digest: &str| {
                let mut record = record("audit", &[(option, serde_json::json!([path]))]);
                record.inputs.push(Input {
                    role: role.into(),
                    path: path.into(),
                    digest: digest.into(),
                    rows: None,
                });
                record
            };
            assert_eq!(difference(&of("hr", "abc"), &of("./hr", "abc")), None);
            let found = difference(&of("hr", "abc"), &of("hr", "def")).unwrap();
            assert!(found.starts_with("input was hr ("), "{found}");
        }
    }

    #[test]
    fn of_an_input_the_digest_counts_and_the_path_does_not() {
        let of = |path: &str, digest: &str| {
            let mut record = record("rank", &[("model", path.into())]);
            record.inputs.push(Input {
                role: "model".into(),
                path: path.into(),
                digest: digest.into(),
                rows: None,
            });
            record
        };
        assert_eq!(difference(&of("here", "abc"), &of("there", "abc")), None);
        let found = difference(&of("here", "abc"), &of("here", "def")).unwrap();
        assert!(found.starts_with("input was here (model, "), "{found}");
        // Known by its name alone in one of them.
        let mut unread = of("there", "abc");
        unread.inputs.clear();
        let found = difference(&unread, &of("here", "abc"));
        let expected = "--model was \"there\", is now \"here\"".to_owned();
        assert_eq!(found, Some(expected));
    }
}
