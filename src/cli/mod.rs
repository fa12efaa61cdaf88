//! The command line: one file per command, one place that prints errors (`main`).
//!
//! Exit codes: 0 all went well, 1 an error (one line on standard error), 2 unusable arguments,
//! 3 finished, but a solver did not converge for some query (the result says which).

// First, for its macros.
#[macro_use]
mod output;

mod adopt;
mod adversary_options;
mod audit;
mod class_positions;
mod counting;
mod decision_options;
mod demo;
mod evaluate;
mod fetch;
mod figure;
mod inspect;
mod measuring;
mod progress;
mod rank;
mod record_file;
mod recorded_data;
mod recorded_options;
mod rerun;
mod run_names;
mod source_options;
mod study;
mod train;
mod train_groups;
mod transfer;

use crate::artefact::{Invocation, Moved};
use crate::data::is_built_in;
use crate::device::VERSION;
use crate::fetch::RemoteFile;
use crate::{Error, Result};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Parts that faer may cut a factorisation into: enough for most machines, and few enough to cost nothing with fewer threads.
const FACTOR_PARTS: usize = 8;

/// Which training images does this prediction rest on, and how far can that answer be trusted?
#[derive(Debug, Parser)]
#[command(name = "ascribe", version = VERSION, propagate_version = true)]
pub struct Cli {
    /// Worker threads (default: all cores)
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Files that earlier runs were made from lie elsewhere now: what began with OLD begins with NEW (may be given again)
    #[arg(long, global = true, value_name = "OLD=NEW")]
    moved: Vec<Moved>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on embedded data, no download: transfer two models, rank, figures, audit
    Demo(demo::Demo),
    /// Train a source model, natural or adversarial
    Train(train::Train),
    /// Fine-tune a source model on a target set
    Transfer(transfer::Transfer),
    /// Take up a model that was fine-tuned elsewhere, to be ranked as it is
    Adopt(adopt::Adopt),
    /// A grid of transfers from a TOML file, resumable; one table of results
    Study(study::Study),
    /// Influence scores and rankings of training images for every query
    Rank(rank::Rank),
    /// Is the ranking true? Leave-one-out, LDS, removal, mislabels, sanity checks, other estimators
    Evaluate(Box<evaluate::Evaluate>),
    /// Draw one of the paper's figures from finished runs
    Figure(figure::Figure),
    /// Write a page to judge one run by, or two side by side
    Audit(audit::Audit),
    /// What is in this model, data set or run
    Inspect(inspect::Inspect),
    /// A named data set or source model from its hub, checked by the SHA-256 of the registry, the hub or the first fetch
    Fetch(fetch::Fetch),
    /// Repeat a finished run from its run.json, and say whether the same comes out
    Rerun(rerun::Rerun),
}

impl Cli {
    /// Runs the command; the exit code is 0, or 3 where a solver did not converge.
    ///
    /// # Errors
    /// Whatever stopped the command; `main` prints it as one line.
    pub fn run(self) -> Result<ExitCode> {
        let words = std::env::args_os().skip(1).map(text);
        let words: Vec<String> = words.collect::<Result<_>>()?;
        if let Ok(folder) = std::env::current_dir() {
            text(folder.into_os_string())?;
        }
        self.moved.iter().try_for_each(Moved::check)?;
        self.run_as(words.into())
    }

    /// The command that `words` after `ascribe` are.
    fn typed(words: &[String]) -> std::result::Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::once("ascribe").chain(words.iter().map(String::as_str)))
    }

    /// Whether what it does is recorded, and can be repeated from that.
    fn leaves_a_run(&self) -> bool {
        use Command::{Demo, Fetch, Inspect, Rerun};
        !matches!(self.command, Demo(_) | Fetch(_) | Inspect(_) | Rerun(_))
    }

    fn is_study(&self) -> bool {
        matches!(self.command, Command::Study(_))
    }

    /// Runs the command, as `run.json` will say that it was asked for.
    fn run_as(self, invocation: Invocation) -> Result<ExitCode> {
        if let Some(threads) = self.threads {
            // Fails only where a pool exists already, which no command makes before this line.
            let _ = rayon::ThreadPoolBuilder::new()
                .num_threads(usize::from(threads))
                .build_global();
        }
        Moved::look_there(self.moved);
        // Whatever the number of threads, so that where faer cuts its work, and with it the last digits, does not depend on them.
        faer::set_global_parallelism(faer::Par::rayon(FACTOR_PARTS));
        let code = self.command.run(invocation).map_err(by_name)?;
        output::written()?;
        Ok(code)
    }
}

/// A name as text: records and pages can hold no other.
fn text(name: OsString) -> Result<String> {
    name.into_string().map_err(|name| {
        let (expected, found) = ("a name that is UTF-8", "other bytes");
        Error::mismatch(name.to_string_lossy(), expected, found, "rename it")
    })
}

/// A path that is not there may be a name that the program knows.
fn by_name(error: Error) -> Error {
    let Error::Io { path, source, .. } = &error else {
        return error;
    };
    let name = path.to_string_lossy();
    if source.kind() != ErrorKind::NotFound {
        return error;
    }
    let (expected, found, remedy) = match &*name {
        "builtin:natural" | "builtin:robust" => (
            "a file or folder",
            "a model that is built in",
            "it is for --source; data that are built in are builtin:digits-train and builtin:digits-test".into(),
        ),
        "builtin:digits-train" | "builtin:digits-test" => (
            "a file or folder",
            "data that are built in",
            "they are for --train and --test; models that are built in are builtin:natural and builtin:robust".into(),
        ),
        _ if is_built_in(path) => (
            "a name of what is built in",
            "none of that name",
            "data are builtin:digits-train and builtin:digits-test, models builtin:natural and builtin:robust".into(),
        ),
        _ => match crate::fetch::find(&name) {
            Ok(entry) => {
                let file = |file: &RemoteFile| format!("{}/{}", entry.name, file.to);
                let files: Vec<String> = entry.files.iter().map(file).collect();
                let files = files.join(" or ");
                let remedy = format!("ascribe fetch {name} brings it: then give {files}");
                ("a file or folder", "none of that name", remedy)
            }
            Err(_) => return error,
        },
    };
    Error::mismatch(name.clone(), expected, found, remedy)
}

impl Command {
    fn run(self, invocation: Invocation) -> Result<ExitCode> {
        match self {
            Self::Demo(command) => command.run(),
            Self::Train(command) => command.run(invocation),
            Self::Transfer(command) => command.run(invocation),
            Self::Adopt(command) => command.run(invocation),
            Self::Study(command) => command.run(invocation),
            Self::Rank(command) => command.run(invocation),
            Self::Evaluate(command) => command.run(invocation),
            Self::Figure(command) => command.run(invocation),
            Self::Audit(command) => command.run(invocation),
            Self::Inspect(command) => command.run(),
            Self::Fetch(command) => command.run(),
            Self::Rerun(command) => command.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cli, by_name};
    use crate::Error;
    use clap::CommandFactory;
    use clap::error::ErrorKind;
    use std::any::TypeId;
    use std::path::Path;

    /// Columns that help is wrapped at where no terminal is narrower.
    const WIDTH: usize = 100;

    #[test]
    fn a_name_that_is_no_path_is_told_where_it_goes() {
        let said = |name: &str| {
            let absent = std::io::Error::from(std::io::ErrorKind::NotFound);
            by_name(Error::io(Path::new(name), "read")(absent)).to_string()
        };
        for (name, found, remedy) in [
            (
                "builtin:robust",
                "found a model that is built in",
                "it is for --source; ",
            ),
            (
                "builtin:digits-train",
                "found data that are built in",
                "models that are built in are builtin:natural and builtin:robust",
            ),
            (
                "builtin:digits",
                "found none of that name",
                "data are builtin:digits-train and builtin:digits-test, ",
            ),
            (
                "Fashion_MNIST",
                "found none of that name",
                "ascribe fetch Fashion_MNIST brings it: then give fashion-mnist/",
            ),
        ] {
            let message = said(name);
            assert!(
                message.contains(found) && message.contains(remedy),
                "{message}"
            );
        }
        assert!(said("pets").ends_with("; check the path"));
    }

    #[test]
    fn examples_are_not_wrapped() {
        let mut commands = vec![Cli::command()];
        let mut examples = 0;
        while let Some(command) = commands.pop() {
            let after = command.get_after_help().map(ToString::to_string);
            for line in after.iter().flat_map(|after| after.lines()) {
                examples += usize::from(line.starts_with("  ascribe "));
                let name = command.get_name();
                assert!(line.chars().count() <= WIDTH, "{name}: {line}");
            }
            commands.extend(command.get_subcommands().cloned());
        }
        assert!(examples > 15, "{examples}");
    }

    /// What clap knows as a negative number is not -1e-3, -.5 or -8/255.
    #[test]
    fn every_option_that_takes_a_number_takes_a_negative_one() {
        let numbers = [
            TypeId::of::<f64>(),
            TypeId::of::<f32>(),
            TypeId::of::<[f64; 3]>(),
        ];
        let mut tried = 0;
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            for option in command.get_arguments() {
                let kind = option.get_value_parser().type_id();
                let Some(name) = option.get_long() else {
                    continue;
                };
                if name != "damping" && !numbers.iter().any(|number| kind == *number) {
                    continue;
                }
                tried += 1;
                let option = format!("--{name}");
                for value in ["-1", "-1e-3", "-.5", "-8/255", "-0.1,0.2"] {
                    let words = [command.get_name(), &option, value];
                    let refusal = command.clone().try_get_matches_from(words).err();
                    let kind = refusal.map(|refusal| refusal.kind());
                    assert_ne!(kind, Some(ErrorKind::UnknownArgument), "{words:?}");
                }
            }
        }
        assert!(tried > 25, "{tried}");
    }

    #[test]
    fn help_shows_small_defaults_as_they_are_typed() {
        let mut cli = Cli::command();
        let evaluate = cli.find_subcommand_mut("evaluate").unwrap();
        let help = evaluate.render_long_help().to_string();
        assert!(help.contains("[default: 1e-10]"), "{help}");
    }

    #[test]
    fn every_command_takes_json_and_those_that_may_not_converge_say_so() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            let name = command.get_name();
            let mut kinds: Vec<_> = command.get_subcommands().collect();
            if kinds.is_empty() {
                kinds.push(command);
            }
            for kind in kinds {
                let takes = kind.get_arguments().any(|it| it.get_long() == Some("json"));
                assert!(takes, "{name} {}", kind.get_name());
            }
            if ["rank", "study", "evaluate", "audit"].contains(&name) {
                let after = command.get_after_help().map(ToString::to_string);
                assert!(
                    after.unwrap_or_default().contains("Exit code 3: "),
                    "{name}"
                );
            }
        }
    }
}
