//! A folder that holds exactly one run: begun, resumed where it was, or refused with the reason.
//!
//! | what stands at the path | what happens |
//! |---|---|
//! | nothing, or an empty folder | a new run |
//! | the same run, unfinished | it resumes |
//! | the same run, finished | refused: nothing to do |
//! | a run that differs in command, version, options, data or weights | refused: the first difference |
//! | other files | refused |
//! | nothing, but it lies among images that the run reads | refused: it would be one more class of theirs |
//! | any run at which another process works | refused |
//!
//! A run that fails before it has left anything worth going on from takes its `run.json` away again, so that the same `--out` can be
//! given once the input is mended.
//!
//! A run that grows over several calls ([`RunFolder::open_or_extend`]) takes up any run of its command.
//!
//! "Same" leaves out options that cannot change the result (`--threads`, `--out`, `--json`, `--record-every`, `--style`, `--jobs`; of a training `--memory`) and paths:
//! content counts, by its digest. Hidden files (names starting with a dot) do not make a folder full.

pub(crate) use self::admission::{LOCK, lock};
use self::admission::{
    check_outside_images, check_place, holds_only_the_record, run_to_extend, unfinished_run,
};
pub(super) use self::difference::difference;
use super::atomic::remove_unfinished;
use super::invocation::Invocation;
use super::json::write_json;
use super::left::{DIGESTS, digests_below};
use super::memory::peak_memory_bytes;
use super::record::{Input, Options, RunRecord, Stage, Status};
use crate::{Error, Result};
use serde::Serialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

mod admission;
mod difference;
#[cfg(test)]
mod tests;

const RECORD: &str = "run.json";

/// An output folder at work; every change is in `run.json` before the call returns.
///
/// ```
/// use ascribe::artefact::{Options, RunFolder};
/// # let place = tempfile::tempdir().unwrap();
/// # let path = place.path().join("run");
/// let options = Options::from([("epochs".into(), 10.into())]);
/// let arguments = vec!["train".into(), "--epochs".into(), "10".into()];
/// let mut run = RunFolder::open_or_create(&path, "train", arguments, options, Vec::new())?;
/// run.stage("training")?;
/// run.set_result("test_accuracy", 0.75)?;
/// run.finish()?;
/// assert_eq!(RunFolder::read(&path)?.result::<f64>("test_accuracy")?, 0.75);
/// # Ok::<(), ascribe::Error>(())
/// ```
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    record: RunRecord,
    resuming: bool,
    /// Whether the folder was made for it.
    is_new: bool,
    /// Seconds of work before this process.
    seconds_before: f64,
    started: Instant,
    /// Index of the stage at work, the seconds it had before, and when it began here.
    stage: Option<(usize, f64, Instant)>,
    /// Held open; the system releases it when the process ends, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Refuses a place where no folder can be made, for a command that has work to do before it opens its run.
    ///
    /// # Errors
    /// A file lies at the path, or at one that it begins with.
    pub fn check_place(path: &Path) -> Result<()> {
        check_place(path)
    }

    /// Begins a run in a new or empty folder, or resumes the same unfinished run.
    ///
    /// `invocation` holds the words typed after `ascribe`; `options` hold every option with its effective value.
    ///
    /// # Errors
    /// The folder holds something else, is in use, or cannot be written; its `run.json` is malformed.
    pub fn open_or_create(
        path: impl AsRef<Path>,
        command: &str,
        invocation: impl Into<Invocation>,
        options: Options,
        inputs: Vec<Input>,
    ) -> Result<Self> {
        Self::open(
            path.as_ref(),
            unfinished_run,
            (command, invocation.into()),
            options,
            inputs,
        )
    }

    /// Begins a run in a new or empty folder, or takes up one of the same command, finished or not and whatever its options:
    /// for results that grow over several calls, each part of which is known by its own digest. The record is the last call's.
    ///
    /// # Errors
    /// As [`open_or_create`](Self::open_or_create), but for a run of the same command.
    pub fn open_or_extend(
        path: impl AsRef<Path>,
        command: &str,
        invocation: impl Into<Invocation>,
        options: Options,
        inputs: Vec<Input>,
    ) -> Result<Self> {
        Self::open(
            path.as_ref(),
            run_to_extend,
            (command, invocation.into()),
            options,
            inputs,
        )
    }

    fn open(
        path: &Path,
        admitted: fn(&Path, &RunRecord) -> Result<Option<RunRecord>>,
        (command, invocation): (&str, Invocation),
        options: Options,
        inputs: Vec<Input>,
    ) -> Result<Self> {
        let arguments = invocation.arguments.clone();
        let mut record = RunRecord::begin(command, arguments, options, inputs);
        invocation.check(&record)?;
        // Once before locking, so that a refused folder is left untouched; once after, when nobody else writes.
        admitted(path, &record)?;
        check_outside_images(path, &record.inputs)?;
        let is_new = !path.exists();
        std::fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        let lock = lock(path)?;
        let earlier = admitted(path, &record)?;
        remove_unfinished(path)?;
        let resuming = earlier.is_some();
        if let Some(earlier) = earlier {
            record = RunRecord {
                threads: record.threads,
                processor: in_turn(&earlier.processor, record.processor),
                ..earlier
            };
            // Files are written anew.
            record.results.remove(DIGESTS);
        }
        record.folder = path.to_path_buf();
        let mut run = Self {
            path: path.to_path_buf(),
            seconds_before: record.seconds,
            record,
            resuming,
            is_new,
            started: Instant::now(),
            stage: None,
            _lock: lock,
        };
        run.save()?;
        Ok(run)
    }

    /// The record of a finished run; the paths of its inputs lead to them from here, if they are still where they were.
    ///
    /// # Errors
    /// The folder is missing, holds no run, or holds one that is not finished or malformed.
    pub fn read(path: impl AsRef<Path>) -> Result<RunRecord> {
        let path = path.as_ref();
        let record = Self::read_at_work(path)?;
        match record.status {
            Status::Finished => Ok(record),
            Status::Running => {
                let remedy = format!(
                    "wait for it, or resume it{} with: {}",
                    record.elsewhere(),
                    record.command_line()
                );
                Err(Error::conflict(path, "holds an unfinished run", remedy))
            }
        }
    }

    /// The same of a run that may not be finished.
    ///
    /// # Errors
    /// The folder is missing, holds no run, or one that is malformed.
    pub fn read_at_work(path: &Path) -> Result<RunRecord> {
        std::fs::metadata(path).map_err(Error::io(path, "read"))?;
        let file = path.join(RECORD);
        if !file.exists() {
            let remedy = "give the output folder of an ascribe command";
            return Err(Error::conflict(path, "holds no run.json", remedy));
        }
        RunRecord::read(&file)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether an earlier process began this run: its checkpoints and results are to be taken up.
    pub fn is_resuming(&self) -> bool {
        self.resuming
    }

    /// The record as it stands.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Ends the stage at work, if any, and begins another; stages of one name, as after a resumption, add up.
    ///
    /// # Errors
    /// `run.json` cannot be written.
    pub fn stage(&mut self, name: &str) -> Result<()> {
        self.update_times();
        let stages = &mut self.record.stages;
        let at = stages
            .iter()
            .position(|stage| stage.name == name)
            .unwrap_or(stages.len());
        if at == stages.len() {
            stages.push(Stage {
                name: name.to_owned(),
                seconds: 0.0,
                peak_memory_bytes: None,
            });
        }
        self.stage = Some((at, stages[at].seconds, Instant::now()));
        self.save()
    }

    /// Notes the class names, in label order.
    ///
    /// # Errors
    /// `run.json` cannot be written.
    pub fn set_classes(&mut self, classes: Vec<String>) -> Result<()> {
        self.record.classes = Some(classes);
        self.save()
    }

    /// Notes a result, replacing an earlier one of the same key.
    ///
    /// # Errors
    /// The value has no JSON form, or `run.json` cannot be written.
    pub fn set_result(&mut self, key: &str, value: impl Serialize) -> Result<()> {
        self.note_result(key, value)?;
        self.save()
    }

    /// The same, on the disk with the next change alone: for many results at once.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn note_result(&mut self, key: &str, value: impl Serialize) -> Result<()> {
        let value = serde_json::to_value(value)
            .map_err(|reason| Error::io(&self.file(RECORD), "write as JSON")(reason.into()))?;
        self.record.results.insert(key.to_owned(), value);
        Ok(())
    }

    /// Ends the stage at work and marks the run finished: every file of it must be in place. Their digests are noted, but for
    /// those of runs in folders below, so that later commands can tell that they read what was left ([`check_as_left`](super::check_as_left)).
    ///
    /// # Errors
    /// A file cannot be read, or `run.json` cannot be written.
    pub fn finish(mut self) -> Result<RunRecord> {
        self.note_result(DIGESTS, digests_below(&self.path)?)?;
        self.record.status = Status::Finished;
        self.save()?;
        // Tidiness alone: a process that took the lock file before this line will find the run finished.
        let _ = std::fs::remove_file(self.file(LOCK));
        Ok(self.record.clone())
    }

    fn save(&mut self) -> Result<()> {
        self.update_times();
        write_json(self.file(RECORD), &self.record)
    }

    fn update_times(&mut self) {
        self.record.seconds = self.seconds_before + self.started.elapsed().as_secs_f64();
        if let Some((at, seconds_before, began)) = self.stage {
            let stage = &mut self.record.stages[at];
            stage.seconds = seconds_before + began.elapsed().as_secs_f64();
            stage.peak_memory_bytes = stage.peak_memory_bytes.max(peak_memory_bytes());
        }
    }
}

impl Drop for RunFolder {
    /// A run that failed with nothing to go on from leaves nothing; where that cannot be seen to, it stays as a killed one does.
    fn drop(&mut self) {
        let failed = self.record.status == Status::Running && !self.resuming;
        if !failed || !matches!(holds_only_the_record(&self.path), Ok(true)) {
            return;
        }
        let _ = std::fs::remove_file(self.file(RECORD));
        let _ = std::fs::remove_file(self.file(LOCK));
        if self.is_new {
            let _ = std::fs::remove_dir(&self.path);
        }
    }
}

/// What a run was made on that was begun on `before`, unless that is not known, and goes on here.
fn in_turn(before: &str, here: String) -> String {
    let known = before.split("; ").any(|one| one == here);
    match before {
        "" => String::new(),
        _ if known => before.to_owned(),
        _ => format!("{before}; {here}"),
    }
}
