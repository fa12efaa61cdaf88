//! Where files that earlier runs were made from lie now, where that is not where they were.
//!
//! A run is told by what its inputs hold, not by where they are: what is found in the new place is checked against the digest in
//! `run.json` as it would be in the old one.

use super::folder_of;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Of the whole process, as a recorded path may turn up anywhere.
static MOVES: Mutex<Vec<Moved>> = Mutex::new(Vec::new());

/// What began with one path begins with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    from: PathBuf,
    to: PathBuf,
}

impl FromStr for Moved {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self {
                from: from.into(),
                to: to.into(),
            }),
            _ => Err(Error::config("moved", "expected OLD=NEW, two paths")),
        }
    }
}

impl Moved {
    /// Refuses a new place that is not there.
    ///
    /// # Errors
    /// It is not there.
    pub fn check(&self) -> Result<()> {
        if leads_somewhere(&self.to) {
            return Ok(());
        }
        let reason = format!(
            "{} is not there; give as NEW where the files lie now",
            self.to.display()
        );
        Err(Error::config("moved", reason))
    }

    /// From now on recorded paths are looked for by these too, the first that fits and leads somewhere.
    pub fn look_there(moves: Vec<Self>) {
        all().extend(moves);
    }

    /// Where a path leads now, if it moved.
    fn of(&self, path: &Path) -> Option<PathBuf> {
        let rest = plain(path).strip_prefix(plain(&self.from)).ok()?;
        // Joining nothing would leave a separator at the end.
        let found = match rest.as_os_str().is_empty() {
            true => self.to.clone(),
            false => self.to.join(rest),
        };
        leads_somewhere(&found).then_some(found)
    }
}

/// A path without the `./` that it may begin with.
fn plain(path: &Path) -> &Path {
    path.strip_prefix(".").unwrap_or(path)
}

/// Whether a path is there; of a pattern of several files its folder.
pub(crate) fn leads_somewhere(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.exists() || name.contains('*') && folder_of(path).is_dir()
}

/// Where a recorded path leads now, as it was recorded or as `there`, if it moved.
pub(super) fn moved(path: &Path, there: &Path) -> Option<PathBuf> {
    let moves = all();
    [path, there]
        .into_iter()
        .find_map(|path| moves.iter().find_map(|moved| moved.of(path)))
}

fn all() -> MutexGuard<'static, Vec<Moved>> {
    MOVES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on new places stay those that they are from here, wherever this process goes.
///
/// # Errors
/// The working directory is not there.
pub(crate) fn hold_moves() -> Result<()> {
    for moved in all().iter_mut() {
        moved.to = std::path::absolute(&moved.to).map_err(Error::io(&moved.to, "find"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_the_old_place_is_looked_for_below_the_new_one() {
        let place = tempfile::tempdir().unwrap();
        let new = place.path().join("new");
        std::fs::create_dir(&new).unwrap();
        std::fs::write(new.join("train.parquet"), b"").unwrap();
        let moved: Moved = format!("/old/data={}", new.display()).parse().unwrap();
        let found = |path: &str| moved.of(Path::new(path));
        assert_eq!(
            found("/old/data/train.parquet"),
            Some(new.join("train.parquet"))
        );
        let pattern = "/old/data/train-*.parquet";
        assert_eq!(found(pattern), Some(new.join("train-*.parquet")));
        assert_eq!(found("/old/data/other/train-*.parquet"), None);
        assert_eq!(found("/old/data"), Some(new));
        assert_eq!(found("/old/data/test.parquet"), None);
        assert_eq!(found("/old/database/train.parquet"), None);
        for wrong in ["", "a", "=a", "a="] {
            let message = wrong.parse::<Moved>().unwrap_err().to_string();
            assert!(message.contains("--moved"), "{message}");
        }
    }

    #[test]
    fn a_path_that_begins_here_is_the_same_however_that_is_typed() {
        let new = tempfile::tempdir().unwrap();
        for from in ["data", "./data", "data/."] {
            let moved = format!("{from}={}", new.path().display());
            let moved: Moved = moved.parse().unwrap();
            for path in ["data", "./data", "././data/"] {
                let found = moved.of(Path::new(path));
                assert_eq!(found.as_deref(), Some(new.path()), "{from} {path}");
            }
            assert_eq!(moved.of(Path::new("../data")), None);
        }
    }

    #[test]
    fn a_new_place_that_is_not_there_is_refused_by_its_option() {
        let new = tempfile::tempdir().unwrap();
        let check = |name: &str| {
            let moved = format!("old={}", new.path().join(name).display());
            moved.parse::<Moved>().unwrap().check()
        };
        check("").unwrap();
        check("train-*.parquet").unwrap();
        let message = check("absent").unwrap_err().to_string();
        assert!(
            message.starts_with("--moved: ") && message.contains("absent is not there"),
            "{message}"
        );
    }
}
