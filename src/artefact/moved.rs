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
    /// From now on recorded paths are looked for by these too, the first that fits and leads somewhere.
    pub fn look_there(moves: Vec<Self>) {
        all().extend(moves);
    }

    /// Where a path leads now, if it moved.
    fn of(&self, path: &Path) -> Option<PathBuf> {
        let rest = path.strip_prefix(&self.from).ok()?;
        // Joining nothing would leave a separator at the end.
        let found = match rest.as_os_str().is_empty() {
            true => self.to.clone(),
            false => self.to.join(rest),
        };
        leads_somewhere(&found).then_some(found)
    }
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
}
