//! Who may work in a folder: what stands there, and whether another process is at it.

use super::RECORD;
use super::difference::difference;
use crate::artefact::json::read_json;
use crate::artefact::record::{Input, RunRecord, Status};
use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// The name of the lock file.
pub(crate) const LOCK: &str = ".lock";
const ANOTHER_OUT: &str = "choose another --out";
/// Endings of files that are data whole: a folder beside one changes nothing.
const WHOLE: [&str; 3] = ["bin", "npy", "parquet"];

/// Refuses a place where no folder can be made: for before the work that comes before a run is opened.
pub(super) fn check_place(path: &Path) -> Result<()> {
    let absolute = std::path::absolute(path).map_err(Error::io(path, "find"))?;
    let mut above = absolute.ancestors();
    match above.find(|place| place.symlink_metadata().is_ok()) {
        Some(place) if !place.is_dir() => Err(Error::conflict(place, "is no folder", ANOTHER_OUT)),
        _ => Ok(()),
    }
}

/// Refuses a folder within images that the run reads: from then on it would be a class of theirs.
pub(super) fn check_outside_images(path: &Path, inputs: &[Input]) -> Result<()> {
    let absolute = std::path::absolute(path).map_err(Error::io(path, "find"))?;
    let place = absolute.ancestors().find_map(|place| {
        let there = place.canonicalize().ok()?;
        Some(there.join(absolute.strip_prefix(place).ok()?))
    });
    // Hidden folders are no classes.
    let is_seen = |within: &Path| {
        let mut parts = within.components();
        !parts.any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
    };
    let holds_it = |folder: &Path| {
        let whole = folder.canonicalize().ok().zip(place.as_ref());
        whole.is_some_and(|(folder, place)| place.strip_prefix(folder).is_ok_and(is_seen))
    };
    let mut sets = inputs.iter().filter(|input| input.rows.is_some());
    match sets.find(|input| holds_it(&input.path) && is_of_images(&input.path)) {
        None => Ok(()),
        Some(Input { path: images, .. }) => Err(Error::conflict(
            path,
            format!("lies among the images of {}", images.display()),
            "choose an --out outside the images",
        )),
    }
}

/// Whether a data set is a folder of images, and not one of files that hold many.
fn is_of_images(set: &Path) -> bool {
    let is_whole = |name: &Path| {
        let ending = name.extension().unwrap_or_default();
        WHOLE.iter().any(|whole| ending == *whole)
    };
    let entries = std::fs::read_dir(set);
    entries.is_ok_and(|mut entries| !entries.any(|it| it.is_ok_and(|it| is_whole(&it.path()))))
}

/// The unfinished run in `path` that `new` may continue; `None` where the folder is free.
pub(super) fn unfinished_run(path: &Path, new: &RunRecord) -> Result<Option<RunRecord>> {
    if !path.exists() {
        return Ok(None);
    }
    if !path.is_dir() {
        let reason = "is a file, not a folder";
        return Err(Error::conflict(path, reason, ANOTHER_OUT));
    }
    let file = path.join(RECORD);
    if !file.exists() {
        return match first_visible(path)? {
            None => Ok(None),
            Some(name) => {
                let reason = format!("holds other files ({name}) and no run.json");
                let remedy = "choose a new or empty folder as --out";
                Err(Error::conflict(path, reason, remedy))
            }
        };
    }
    let old: RunRecord = read_json(&file)?;
    if let Some(difference) = difference(&old, new) {
        return Err(Error::conflict(
            path,
            format!("holds another run: {difference}"),
            another_folder(path, &old, new),
        ));
    }
    match old.status {
        Status::Running => Ok(Some(old)),
        Status::Finished => Err(Error::conflict(
            path,
            "already holds this finished run",
            another_folder(path, &old, new),
        )),
    }
}

/// What to do about the `old` run in a folder: one that `new` reads, or that another command left, is not offered for removal.
fn another_folder(path: &Path, old: &RunRecord, new: &RunRecord) -> &'static str {
    let lies_here = |input: &Input| {
        let whole = input.path.canonicalize().ok().zip(path.canonicalize().ok());
        whole.is_some_and(|(file, folder)| file.starts_with(folder))
    };
    match old.command == new.command && !new.inputs.iter().any(lies_here) {
        true => "choose another --out, or remove the folder",
        false => ANOTHER_OUT,
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
        return Err(Error::conflict(path, reason, ANOTHER_OUT));
    }
    // A study's runs are its own, which have no spec.
    if new.options.contains_key("spec") && !old.options.contains_key("spec") {
        return Err(Error::conflict(path, "is one run of a study", ANOTHER_OUT));
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
            let reason = "another process is at work in this folder";
            let remedy = "wait for it to end, or choose another --out";
            Err(Error::conflict(folder, reason, remedy))
        }
        // Some network file systems have no locks; the work goes on there without this guard.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}
