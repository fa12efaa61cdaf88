//! `run.json`: what was run, on what, with which options, and what came of it.

use super::atomic::folder_of;
use super::digest::digest_file;
use super::json::read_json;
use super::moved::{leads_somewhere, moved};
use super::processor::processor;
use crate::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Effective value by option name, as on the command line but without the dashes (`"epochs"`, `"l2"`).
pub type Options = BTreeMap<String, Value>;

/// Every option with its effective value, under its name on the command line.
///
/// # Errors
/// None that a user could cause.
pub fn effective(options: &impl Serialize) -> Result<Options> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => Ok(map.into_iter().collect()),
        other => Err(Error::mismatch(
            "options",
            "a table",
            format!("{other:?}"),
            "this is a bug",
        )),
    }
}

/// Everything a reader needs to judge or repeat a run; the content of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The folder this record was read from; not part of the file.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Version of this program that made the run.
    pub ascribe: String,
    /// The command's name: `train`, `transfer`, `rank` …
    pub command: String,
    /// What was typed after `ascribe`, word by word.
    pub arguments: Vec<String>,
    /// Where it was typed: relative paths begin there. Empty where that is not known.
    #[serde(default)]
    pub directory: PathBuf,
    /// Every option of the command with its effective value, seeds among them.
    pub options: Options,
    /// Data and weights the run reads.
    pub inputs: Vec<Input>,
    /// Class names in label order, where the run has classes.
    pub classes: Option<Vec<String>>,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// Worker threads.
    pub threads: usize,
    /// The processor's name, its widest instructions and OpenBLAS's kernels; those of all, in turn, where the run was resumed on another.
    /// Empty where that is not known.
    #[serde(default)]
    pub processor: String,
    /// Time and memory by stage, in the order they first began.
    pub stages: Vec<Stage>,
    /// What came out: accuracies, solver outcome counts, ids.
    pub results: BTreeMap<String, Value>,
    /// Whether the run came to its end.
    pub status: Status,
    /// When the run was begun: UTC, RFC 3339.
    pub started_at: String,
    /// Seconds of work, summed over resumptions.
    pub seconds: f64,
}

/// A data set or weight file that a run reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is to the run: `train`, `test`, `source`, `head`.
    pub role: String,
    /// The path as typed.
    pub path: PathBuf,
    /// SHA-256 of what was read.
    pub digest: String,
    /// Examples used; `None` for weights.
    pub rows: Option<usize>,
}

impl Input {
    /// A file that is read as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn of_file(role: &str, path: PathBuf) -> Result<Self> {
        Ok(Self {
            role: role.to_owned(),
            digest: digest_file(&path)?,
            path,
            rows: None,
        })
    }

    /// Finished runs as inputs of another, by their `run.json`: `run-1`, `run-2` …
    ///
    /// # Errors
    /// A `run.json` cannot be read.
    pub(crate) fn of_runs<'a>(folders: impl Iterator<Item = &'a Path>) -> Result<Vec<Self>> {
        let input = |(at, folder): (usize, &Path)| {
            Self::of_file(&format!("run-{}", at + 1), folder.join("run.json"))
        };
        folders.enumerate().map(input).collect()
    }

    /// The digests of inputs by role.
    pub(crate) fn digests(inputs: &[Self]) -> BTreeMap<String, String> {
        let digest = |input: &Self| (input.role.clone(), input.digest.clone());
        inputs.iter().map(digest).collect()
    }
}

/// Time and memory of one stage of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The stage's name.
    pub name: String,
    /// Seconds, summed over resumptions.
    pub seconds: f64,
    /// Largest resident memory of the process up to the stage's end, in bytes; `None` where unknown.
    pub peak_memory_bytes: Option<u64>,
}

/// Whether a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// At work, or killed on the way.
    Running,
    /// Every file of the run is there.
    Finished,
}

impl RunRecord {
    /// A run that begins now.
    pub(super) fn begin(
        command: &str,
        arguments: Vec<String>,
        options: Options,
        inputs: Vec<Input>,
    ) -> Self {
        let device = options
            .get("device")
            .and_then(Value::as_str)
            .unwrap_or("cpu")
            .to_owned();
        Self {
            folder: PathBuf::new(),
            ascribe: env!("CARGO_PKG_VERSION").to_owned(),
            command: command.to_owned(),
            arguments,
            directory: std::env::current_dir().unwrap_or_default(),
            options,
            inputs,
            classes: None,
            device,
            threads: rayon::current_num_threads(),
            processor: processor(),
            stages: Vec::new(),
            results: BTreeMap::new(),
            status: Status::Running,
            started_at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            seconds: 0.0,
        }
    }

    /// Reads the record of a file; the paths of its inputs lead to them from here, if they are still where they were.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let mut record: Self = read_json(file)?;
        record.folder = folder_of(file).to_path_buf();
        for at in 0..record.inputs.len() {
            record.inputs[at].path = record.located(&record.inputs[at].path);
        }
        Ok(record)
    }

    /// Where a path of this run leads: where it is said to have moved ([`Moved`](super::Moved)); relative ones from where it was typed,
    /// or else, as in a folder that was moved with its data, from here.
    pub fn located(&self, path: &Path) -> PathBuf {
        let there = self.directory.join(path);
        if let Some(found) = moved(path, &there) {
            return found;
        }
        match self.is_elsewhere() && leads_somewhere(&there) {
            true => there,
            false => path.to_path_buf(),
        }
    }

    /// Whether it was typed in another folder than this.
    fn is_elsewhere(&self) -> bool {
        std::env::current_dir().is_ok_and(|here| here != self.directory)
    }

    /// In which folder its command line has its meaning, where that is known and not this one.
    pub(super) fn elsewhere(&self) -> String {
        match self.is_elsewhere() && !self.directory.as_os_str().is_empty() {
            true => format!(" in {}", quoted(&self.directory.to_string_lossy())),
            false => String::new(),
        }
    }

    /// The input of that role, where the run has one.
    pub fn input(&self, role: &str) -> Option<&Input> {
        self.inputs.iter().find(|input| input.role == role)
    }

    /// The effective value of an option of that run.
    ///
    /// # Errors
    /// The run has no such option, or it is of another type.
    pub fn option<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.typed("option", name, self.options.get(name))
    }

    /// A result of that run.
    ///
    /// # Errors
    /// The run left no such result, or it is of another type.
    pub fn result<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        self.typed("result", key, self.results.get(key))
    }

    /// A result of that run, where it left one.
    ///
    /// # Errors
    /// It is of another type.
    pub(crate) fn result_if_any<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let left = self.results.contains_key(key);
        left.then(|| self.result(key)).transpose()
    }

    fn typed<T: DeserializeOwned>(
        &self,
        kind: &str,
        name: &str,
        value: Option<&Value>,
    ) -> Result<T> {
        let wrong = |expected: String, found: String| {
            let remedy = format!(
                "give a folder made by `ascribe {}` of this version",
                self.command
            );
            Error::format(
                &self.folder.join("run.json"),
                format!("{kind} {name}"),
                expected,
                found,
                remedy,
            )
        };
        let value = value.ok_or_else(|| wrong("a value".into(), "none".into()))?;
        T::deserialize(value)
            .map_err(|reason| wrong("a value that fits".into(), reason.to_string()))
    }

    /// The command line that made this run, quoted for a shell.
    pub(crate) fn command_line(&self) -> String {
        shell_line(&self.arguments)
    }
}

/// The command that `words` after `ascribe` are, quoted for a shell.
pub(crate) fn shell_line(words: &[String]) -> String {
    let words = words.iter().map(|word| quoted(word));
    std::iter::once("ascribe".to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_survive_a_shell() {
        let words = [
            "rank",
            "--train",
            "my data/it's.parquet",
            "--l2",
            "1e-3",
            "",
        ];
        let arguments = words.map(str::to_owned).to_vec();
        let record = RunRecord::begin("rank", arguments, Options::new(), Vec::new());
        assert_eq!(
            record.command_line(),
            r"ascribe rank --train 'my data/it'\''s.parquet' --l2 1e-3 ''"
        );
    }

    #[test]
    fn options_and_results_are_typed_and_errors_name_the_file() {
        let options = Options::from([("l2".into(), 1e-3.into()), ("solver".into(), "cg".into())]);
        let mut record = RunRecord::begin("rank", Vec::new(), options, Vec::new());
        record.folder = "run".into();
        assert_eq!(record.option::<f64>("l2").unwrap(), 1e-3);
        assert_eq!(record.option::<String>("solver").unwrap(), "cg");
        assert_eq!(record.result_if_any::<f64>("accuracy").unwrap(), None);
        let absent = record.result::<f64>("accuracy").unwrap_err().to_string();
        let remedy = "give a folder made by `ascribe rank` of this version";
        assert_eq!(
            absent,
            format!("run/run.json: result accuracy: expected a value, found none; {remedy}")
        );
        let wrong = record.option::<u64>("solver").unwrap_err().to_string();
        assert!(
            wrong.starts_with("run/run.json: option solver: expected a value that fits, found"),
            "{wrong}"
        );
    }
}
