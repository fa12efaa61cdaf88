//! Whether a run's files are as it left them.

use super::{Checked, Report};
use crate::Result;
use crate::artefact::{Condition, RecordBeside, RunFolder, Status, folder_of, left_files};
use crate::cli::record_file::record_file;
use crate::data::names_in;
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The files of a finished run, of a study, also an unfinished one, those of its runs; what came in is not looked at.
#[derive(Serialize)]
pub(super) struct Left {
    kind: &'static str,
    path: PathBuf,
    /// Files whose digests were noted.
    files: usize,
    faults: Vec<String>,
}

/// Of the run in a folder, or of the record that is named.
pub(super) fn read(path: &Path) -> Result<Left> {
    let mut left = Left {
        kind: "run-faults",
        path: path.to_path_buf(),
        files: 0,
        faults: Vec::new(),
    };
    let file = record_file(path);
    if !file.ends_with("run.json") {
        RecordBeside::read(&file)?;
        left.add("", &file)?;
        return Ok(left);
    }
    let path = folder_of(&file);
    let record = RunFolder::read_at_work(path)?;
    let at_work = record.status == Status::Running;
    // A study that is refused for a damaged run is unfinished, and this is to say which run it is.
    if at_work && record.command != "study" {
        RunFolder::read(path)?;
    }
    left.add("", &file)?;
    for name in parts(&path.join("runs"))? {
        let record = path.join("runs").join(&name).join("run.json");
        let prefix = format!("runs/{name}/");
        match record.exists() {
            true => left.add(&prefix, &record)?,
            false if at_work => (),
            false => left.faults.push(format!("{prefix}run.json is gone")),
        }
    }
    Ok(left)
}

/// The folders of a study's runs, in the order of their names.
fn parts(folder: &Path) -> Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = names_in(folder)?;
    names.retain(|name| folder.join(name).is_dir());
    let shown = |name: OsString| name.to_string_lossy().into_owned();
    Ok(names.into_iter().map(shown).collect())
}

impl Left {
    fn add(&mut self, prefix: &str, record: &Path) -> Result<()> {
        for file in left_files(record)? {
            self.files += 1;
            let fault = match file.condition {
                Condition::AsLeft => continue,
                Condition::Changed => "is not what the run left",
                Condition::Gone => "is gone",
            };
            self.faults.push(format!("{prefix}{} {fault}", file.name));
        }
        Ok(())
    }
}

impl Checked for Left {
    fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl Report for Left {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let summary = match (self.files, self.faults.len()) {
            (0, 0) => "none known; the run noted no digests".to_owned(),
            (_, 0) => "none; every file is as the run left it".to_owned(),
            (_, count) => count.to_string(),
        };
        let mut lines = vec![
            ("run", self.path.display().to_string()),
            ("files", self.files.to_string()),
            ("faults", summary),
        ];
        lines.extend(self.faults.iter().map(|fault| ("fault", fault.clone())));
        lines
    }
}
