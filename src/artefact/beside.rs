//! `NAME.json` beside results that share a folder with others, as figures do: what was run and on what, in the form of `run.json`.

use super::invocation::Invocation;
use super::json::write_json;
use super::left::{DIGESTS, digests_of};
use super::memory::peak_memory_bytes;
use super::record::{Input, Options, RunRecord, Stage, Status};
use crate::Result;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A command at work that leaves a few files in a folder that is not its own.
#[derive(Debug)]
pub struct RecordBeside {
    record: RunRecord,
    started: Instant,
}

impl RecordBeside {
    /// Begins it; nothing is written before its end.
    ///
    /// # Errors
    /// It is to repeat another run, and has other options or inputs.
    pub fn begin(
        command: &str,
        invocation: Invocation,
        options: Options,
        inputs: Vec<Input>,
    ) -> Result<Self> {
        let record = RunRecord::begin(command, invocation.arguments.clone(), options, inputs);
        invocation.check(&record)?;
        Ok(Self {
            record,
            started: Instant::now(),
        })
    }

    /// The record at `file`; the paths of its inputs lead to them from here, if they are still where they were.
    ///
    /// # Errors
    /// The file cannot be read, or is no such record.
    pub fn read(file: &Path) -> Result<RunRecord> {
        RunRecord::read(file)
    }

    /// Notes a result.
    pub fn note(&mut self, name: &str, value: serde_json::Value) {
        self.record.results.insert(name.to_owned(), value);
    }

    /// Notes the digests of `files`, and leaves `stem.json` in `folder`; returns its path.
    ///
    /// # Errors
    /// A file cannot be read, or the record cannot be written.
    pub fn finish(mut self, folder: &Path, stem: &str, files: &[PathBuf]) -> Result<PathBuf> {
        let record = &mut self.record;
        let digests = serde_json::json!(digests_of(files)?);
        record.results.insert(DIGESTS.to_owned(), digests);
        record.seconds = self.started.elapsed().as_secs_f64();
        record.stages.push(Stage {
            name: "drawing".into(),
            seconds: record.seconds,
            peak_memory_bytes: peak_memory_bytes(),
        });
        record.status = Status::Finished;
        let path = folder.join(format!("{stem}.json"));
        write_json(&path, record)?;
        Ok(path)
    }
}
