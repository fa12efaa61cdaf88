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
            inputs.any(|input| input.role == name)
        })
    };
    let trains = ["train", "transfer", "study"].contains(&new.command.as_str());
    let names = old.options.keys().chain(new.options.keys());
    let effective = names.filter(|name| {
        let of_memory = trains && *name == "memory";
        !(WITHOUT_EFFECT.contains(&name.as_str()) || is_input(name) || of_memory)
    });
    for name in effective.collect::<BTreeSet<_>>() {
        // An option that is not set may be one that was not there yet.
        let of = |options: &Options| options.get(name).filter(|it| !it.is_null()).cloned();
        let (old, new) = (of(&old.options), of(&new.options));
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
