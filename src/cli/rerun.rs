//! `ascribe rerun`: a finished run once more, from what its `run.json` says, and whether the same came out.
//!
//! The words that were typed are run again where they were typed, with another `--out` and with what moved (`--moved`) where it lies
//! now; options and inputs that are not those of the run are refused before any work.

use super::Cli;
use super::output::{Json, shown};
use super::record_file::{record_file, refuse_figures};
use crate::artefact::{
    Condition, Invocation, RecordBeside, RunFolder, RunRecord, Status, check_as_left, folder_of,
    hold_moves, left_files, processor, shell_line,
};
use crate::repetition::compare;
use crate::{Error, Result};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Options of `ascribe rerun`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  ascribe rerun robust-rank --out robust-rank-again\n\n\
    Exit code 1: it came out differently; the lines before say where and by how much."
)]
pub struct Rerun {
    /// A folder left by ascribe train, transfer, adopt, study, rank, evaluate or audit, or the JSON file beside a figure
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Folder for what comes out this time (default: the folder's name with -again)
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

impl Rerun {
    /// Runs the command; the exit code is that of the command that is repeated.
    ///
    /// # Errors
    /// A folder without a finished run; options or inputs that are no longer those of the run; a run that comes out differently.
    pub fn run(self) -> Result<ExitCode> {
        let here = std::env::current_dir().map_err(Error::io(Path::new("."), "find"))?;
        // Before this process goes elsewhere.
        hold_moves()?;
        let (mut record, stem) = self.read()?;
        let stem = stem.as_deref();
        let folder = &record.folder;
        let file = record_in(folder, stem);
        let run = std::fs::canonicalize(folder).map_err(Error::io(folder, "read"))?;
        let out = match &self.out {
            Some(out) => std::path::absolute(out).map_err(Error::io(out, "find"))?,
            None => beside(&run),
        };
        let there = go_to(&record.directory)?;
        // What the command says of its files is to lead there from here.
        let words = match here == there {
            true => self.words(&record, seen_from(&here, &out)),
            false => self.words(&record, &out),
        };
        let command =
            Cli::typed(&words).map_err(|reason| not_ours((&record, &file), reason.to_string()))?;
        if !command.leaves_a_run() {
            return Err(not_ours((&record, &file), shell_line(&words)));
        }
        refuse_part_of_study(&record, &command)?;
        refuse_taken([&run, &out], &here, stem, command.is_study())?;
        move_runs(&mut record);
        let made_on = record.processor.clone();
        let code = self.json.beside(|| {
            say!("$ {}", shell_line(&words));
            command.run_as(Invocation {
                arguments: words,
                repeated: Some(Box::new(record)),
            })
        })?;
        report([&run, &out], &here, (stem, &made_on), self.json)?;
        Ok(code)
    }

    /// The words that are typed this time.
    fn words(&self, record: &RunRecord, out: &Path) -> Vec<String> {
        let mut words = with_out(&with_moved(record), out);
        // What it prints would stand between the lines here.
        words.retain(|word| self.json.is_asked() || word != "--json");
        words
    }

    /// What is to be repeated; the name of its files where these are not the whole folder.
    fn read(&self) -> Result<(RunRecord, Option<String>)> {
        refuse_figures(&self.run)?;
        let file = record_file(&self.run);
        if file.ends_with("run.json") {
            return Ok((RunFolder::read(folder_of(&file))?, None));
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        Ok((RecordBeside::read(&file)?, Some(stem.into_owned())))
    }
}

/// The record of what is repeated, in its folder.
fn record_in(folder: &Path, stem: Option<&str>) -> PathBuf {
    folder.join(format!("{}.json", stem.unwrap_or("run")))
}

/// A path as it leads there from a folder.
fn seen_from<'a>(folder: &Path, path: &'a Path) -> &'a Path {
    match path.strip_prefix(folder) {
        Ok(below) if !below.as_os_str().is_empty() => below,
        _ => path,
    }
}

/// Says what came out the same as on that processor and what did not, of all files or those of a name.
fn report(
    [before, after]: [&Path; 2],
    from: &Path,
    (stem, made_on): (Option<&str>, &str),
    json: Json,
) -> Result<()> {
    let compared = compare(before, after, stem)?;
    let count = compared.len();
    let [was, is] = [before, after].map(|path| shown(seen_from(from, path)));
    if compared.iter().all(|file| file.found.is_same()) {
        json.print(
            || json!({ "run": was, "out": is, "same": true, "files": count, "differing": [] }),
            || say!("{is}: the same as {was}, in all {count} files"),
        );
        return Ok(());
    }
    let left = left_files(&record_in(before, stem))?;
    // The runs of a study note their own files.
    let is_as_left = |name: &str| match left.iter().find(|file| file.name == name) {
        Some(noted) => noted.condition == Condition::AsLeft,
        None => check_as_left(&before.join(name)).is_ok(),
    };
    let differing: Vec<_> = (compared.iter())
        .filter(|file| !file.found.is_same())
        .map(|file| (file, is_as_left(&file.file)))
        .collect();
    let object = || {
        let differing = differing.iter().map(|(file, is_as_left)| {
            json!({ "file": file.file, "found": file.found, "as_left": is_as_left })
        });
        let differing: Vec<_> = differing.collect();
        json!({ "run": was, "out": is, "same": false, "files": count, "differing": differing })
    };
    json.print(object, || {
        for (file, is_as_left) in &differing {
            let not_left = match is_as_left {
                true => "",
                false => "; the file before is not what its run left",
            };
            say!("{}: {}{not_left}", file.file, file.found);
        }
    });
    let found = format!("{} that differ", differing.len());
    let expected = format!("the {count} files of {was}");
    let here = processor();
    let remedy = if differing.iter().all(|(_, is_as_left)| !is_as_left) {
        "see the lines above; put back what was there".into()
    } else if made_on.is_empty() || made_on == here {
        "see the lines above; other processors, libraries and devices round differently".into()
    } else {
        format!(
            "see the lines above; sums round differently on {here} than on {made_on}, where it was made"
        )
    };
    Err(Error::mismatch(is, expected, found, remedy))
}

/// A study keeps what was typed for it in the folders of its runs too.
fn refuse_part_of_study(record: &RunRecord, command: &Cli) -> Result<()> {
    if !command.is_study() || record.options.contains_key("spec") {
        return Ok(());
    }
    let (reason, remedy) = ("is one run of a study", "rerun the study's folder");
    Err(Error::conflict(&record.folder, reason, remedy))
}

/// Refuses an output folder that is the run's own, and one with what a study would take for its own work and a figure replace; other
/// commands refuse that themselves.
fn refuse_taken(
    [run, out]: [&Path; 2],
    here: &Path,
    stem: Option<&str>,
    is_study: bool,
) -> Result<()> {
    let is_itself = std::fs::canonicalize(out).is_ok_and(|out| out == run);
    let is_finished = RecordBeside::read(&record_in(out, stem))
        .is_ok_and(|earlier| earlier.status == Status::Finished);
    let another = "choose another --out, or remove it";
    let (reason, remedy) = match stem {
        _ if is_itself => ("holds what is repeated".into(), "choose another --out"),
        Some(stem) if is_finished => (format!("already holds {stem}.json"), another),
        None if is_finished && is_study => ("already holds a finished run".into(), another),
        _ => return Ok(()),
    };
    Err(Error::conflict(seen_from(here, out), reason, remedy))
}

/// Goes to where the run was typed and its paths begin, if that place is still there; gives where that is.
fn go_to(directory: &Path) -> Result<PathBuf> {
    if directory.is_dir() {
        std::env::set_current_dir(directory).map_err(Error::io(directory, "enter"))?;
    }
    std::env::current_dir().map_err(Error::io(directory, "find"))
}

fn beside(run: &Path) -> PathBuf {
    let mut name = run.file_name().unwrap_or_default().to_owned();
    name.push("-again");
    run.with_file_name(name)
}

/// The recorded words, with inputs that moved where they lie now.
fn with_moved(record: &RunRecord) -> Vec<String> {
    let words = &record.arguments;
    let command = words.iter().position(|word| *word == record.command);
    let (before, after) = words.split_at(command.map_or(0, |at| at + 1));
    let moved = |word: &String| match word.split_once('=') {
        Some((option, path)) if option.starts_with("--") => {
            format!("{option}={}", now(record, path))
        }
        _ => now(record, word),
    };
    let after = after.iter().map(moved);
    before.iter().cloned().chain(after).collect()
}

/// Where a path lies now that leads to an input of the run, be it a folder that the input is in; another word stays as it is.
fn now(record: &RunRecord, word: &str) -> String {
    let there = record.located(Path::new(word));
    let is_spec = record.options.get("spec").and_then(Value::as_str) == Some(word);
    let mut inputs = record.inputs.iter();
    let is_input = is_spec || inputs.any(|input| input.path.starts_with(&there));
    match is_input && !word.is_empty() {
        true => there.to_string_lossy().into_owned(),
        false => word.to_owned(),
    }
}

/// Notes where the runs that a figure or page is of lie now; what they are is known by their digests.
fn move_runs(record: &mut RunRecord) {
    for name in ["runs", "study"] {
        let moved: Value = match record.options.get(name) {
            Some(Value::String(path)) => now(record, path).into(),
            Some(Value::Array(paths)) => {
                let paths = paths.iter().filter_map(Value::as_str);
                paths.map(|path| now(record, path)).collect()
            }
            _ => continue,
        };
        record.options.insert(name.to_owned(), moved);
    }
}

/// The words with another `--out`, in one word with it, as its name may begin with a dash.
fn with_out(words: &[String], out: &Path) -> Vec<String> {
    let out = format!("--out={}", out.display());
    let mut changed = Vec::with_capacity(words.len());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if word == "--out" {
            changed.push(out.clone());
            words.next();
        } else if word.starts_with("--out=") {
            changed.push(out.clone());
        } else {
            changed.push(word.clone());
        }
    }
    changed
}

/// The refusal of the record in `file`, whose words are no command that can be repeated.
fn not_ours((record, file): (&RunRecord, &Path), found: String) -> Error {
    // What is wrong with the words may take several lines, as where options are missing; advice comes after an empty one.
    let lines = found.trim_start_matches("error: ").lines();
    let said: Vec<&str> = (lines.map(str::trim))
        .take_while(|line| !line.is_empty())
        .collect();
    // Options come and go between releases too.
    let remedy = match record.ascribe == env!("CARGO_PKG_VERSION") {
        true => "type the command that `ascribe inspect` shows as it is spelled now".to_owned(),
        false => format!("repeat it with version {}", record.ascribe),
    };
    Error::format(
        file,
        "arguments",
        "a command of this version of ascribe that leaves a run",
        said.join(" "),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Options;
    use std::fs;

    fn begun(folder: &Path, command: &str) -> RunFolder {
        let (words, options) = (Vec::<String>::new(), Options::new());
        RunFolder::open_or_create(folder, command, words, options, Vec::new()).unwrap()
    }

    fn write(file: PathBuf, content: &str) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// In folders of the run, as a page's data are, and in those of a study's runs.
    #[test]
    fn files_in_folders_are_told_where_they_are_not_as_they_were_left() {
        let place = tempfile::tempdir().unwrap();
        let [before, after] = ["before", "after"].map(|name| place.path().join(name));
        for folder in [&before, &after] {
            let run = begun(folder, "study");
            write(run.file("data/overview.js"), "page");
            let part = begun(&run.file("runs/a"), "transfer");
            write(part.file("training.csv"), "epoch\n1\n");
            part.finish().unwrap();
            run.finish().unwrap();
        }
        let again = || report([&before, &after], place.path(), (None, ""), Json::default());
        again().unwrap();
        for name in ["data/overview.js", "runs/a/training.csv"] {
            let file = before.join(name);
            let own = fs::read_to_string(&file).unwrap();
            write(file.clone(), "another");
            let message = again().unwrap_err().to_string();
            assert!(
                message.ends_with("put back what was there"),
                "{name}: {message}"
            );
            write(file, &own);
        }
        // What came out otherwise says nothing against what was there.
        write(after.join("data/overview.js"), "another");
        let message = again().unwrap_err().to_string();
        assert!(message.ends_with("round differently"), "{message}");
    }

    #[test]
    fn the_output_folder_alone_is_replaced() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let again = |text: &str| with_out(&words(text), Path::new("/there"));
        let expected = words("--threads 2 rank --out=/there --top 3");
        assert_eq!(again("--threads 2 rank --out here --top 3"), expected);
        assert_eq!(again("audit run --out=x"), words("audit run --out=/there"));
        assert_eq!(beside(Path::new("/a/b.c")), Path::new("/a/b.c-again"));
    }
}
