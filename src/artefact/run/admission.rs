//! Who may work in a folder: what stands there, and whether another process is at it.

use super::difference::difference;
use super::{ANOTHER_FOLDER, RECORD, conflict};
use crate::artefact::json::read_json;
use crate::artefact::record::{RunRecord, Status};
use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// The name of the lock file.
pub(crate) const LOCK: &str = ".lock";

/// The unfinished run in `path` that `new` may continue; `None` where the folder is free.
pub(super) fn unfinished_run(path: &Path, new: &RunRecord) -> Result<Option<RunRecord>> {
    if !path.exists() {
        return Ok(None);
    }
    if !path.is_dir() {
        return Err(conflict(
            path,
            "is a file, not a folder",
            "choose another --out",
        ));
    }
    let file = path.join(RECORD);
    if !file.exists() {
        return match first_visible(path)? {
            None => Ok(None),
            Some(name) => {
                let reason = format!("holds other files ({name}) and no run.json");
                Err(conflict(
                    path,
                    reason,
                    "choose a new or empty folder as --out",
                ))
            }
        };
    }
    let old: RunRecord = read_json(&file)?;
    if let Some(difference) = difference(&old, new) {
        return Err(conflict(
            path,
            format!("holds another run: {difference}"),
            ANOTHER_FOLDER,
        ));
    }
    match old.status {
        Status::Running => Ok(Some(old)),
        Status::Finished => Err(conflict(
            path,
            "already holds this finished run",
            ANOTHER_FOLDER,
        )),
    }
}

/// The run in `path` that a call of the same command adds to, described as `new`; `None` where the folder is free.
pub(super) fn run_to_extend(path: &Path, new: &RunRecord) -> Result<Option<RunRecord>> {
    let file = path.join(RECORD);
    if !file.exists() {
        return unfinished_run(path, new);
    }
    let old: RunRecord = read_json(&file)?;
    if old.command != new.command {
        let reason = format!("holds a run of ascribe {}", old.command);
        return Err(conflict(path, reason, ANOTHER_FOLDER));
    }
    Ok(Some(RunRecord {
        seconds: old.seconds,
        stages: old.stages,
        ..new.clone()
    }))
}

/// The first name in a folder that is not hidden.
fn first_visible(folder: &Path) -> Result<Option<String>> {
    let mut first: Option<String> = None;
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let name = entry
            .map_err(Error::io(folder, "read"))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with('.') && first.as_ref().is_none_or(|first| name < *first) {
            first = Some(name);
        }
    }
    Ok(first)
}

/// Whether nothing lies in a folder but what every run begins with.
pub(super) fn holds_only_the_record(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let name = entry.map_err(Error::io(folder, "read"))?.file_name();
        if name != RECORD && name != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the folder for this process.
pub(crate) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(Error::io(&path, "create"))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let remedy = "wait for it to end, or choose another --out";
            Err(conflict(
                folder,
                "another process is at work in this folder",
                remedy,
            ))
        }
        // Some network file systems have no locks; the work goes on there without this guard.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
