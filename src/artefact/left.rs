//! Files of a run that later commands read: as the run left them, or refused.

use super::digest::{digest_file, files_below};
use super::json::read_json;
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The result in `run.json` that holds digests by file names.
pub(crate) const DIGESTS: &str = "digests";

/// The digests of files, by their names alone.
pub(super) fn digests_of(files: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let digest = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), digest_file(file)?))
    };
    files.iter().map(digest).collect()
}

/// The digests of all files of a run's folder, by their paths in it; hidden ones and `run.json`, which is to hold them, are left
/// out, and so are folders of other runs.
pub(super) fn digests_below(folder: &Path) -> Result<BTreeMap<String, String>> {
    let files = files_below(folder)?;
    let records = files
        .iter()
        .filter_map(|(name, _)| name.strip_suffix("/run.json"));
    let runs: BTreeSet<&Path> = records.map(Path::new).collect();
    let is_of_another = |name: &str| {
        let mut folders = Path::new(name).ancestors().skip(1);
        folders.any(|folder| runs.contains(folder))
    };
    (files.iter())
        .filter(|(name, _)| name != "run.json" && !is_of_another(name))
        .map(|(name, path)| Ok((name.clone(), digest_file(path)?)))
        .collect()
}

/// Refuses a file that is not what the run of its folder left there. A file beside which no run notes a digest is what it is.
///
/// # Errors
/// The file's digest is not the one noted; the record is malformed; the file cannot be read.
pub fn check_as_left(file: &Path) -> Result<()> {
    match Noted::of(file)? {
        Some(noted) => noted.check(file, &digest_file(file)?),
        None => Ok(()),
    }
}

/// The same of a file whose digest is known to be `digest`.
///
/// # Errors
/// As for [`check_as_left`].
pub(crate) fn check_digest_as_left(file: &Path, digest: &str) -> Result<()> {
    Noted::of(file)?.map_or(Ok(()), |noted| noted.check(file, digest))
}

/// How a file is that a run noted the digest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As the run left it.
    AsLeft,
    /// Something else.
    Changed,
    /// Not there any more.
    Gone,
}

/// A file that a run noted the digest of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftFile {
    /// Its path from the record's folder, with `/` between components.
    pub name: String,
    /// How it is now.
    pub condition: Condition,
}

/// The files whose digests the record of a run (`run.json`, or the `.json` beside a figure) notes, by name, and how they are now.
///
/// # Errors
/// The record is malformed; a file cannot be read.
pub fn left_files(record: &Path) -> Result<Vec<LeftFile>> {
    let noted: Value = read_json(record)?;
    let noted = noted["results"][DIGESTS].as_object();
    let condition = |name: &str, digest: &Value| -> Result<Condition> {
        let file = record.with_file_name(name);
        Ok(match file.exists() {
            false => Condition::Gone,
            // A folder may have taken its place.
            true if file.is_file() && digest.as_str() == Some(&digest_file(&file)?) => {
                Condition::AsLeft
            }
            true => Condition::Changed,
        })
    };
    let files = noted.into_iter().flatten();
    let files = files.map(|(name, digest)| {
        Ok(LeftFile {
            name: name.clone(),
            condition: condition(name, digest)?,
        })
    });
    files.collect()
}

/// What the run of a file's folder says of it.
struct Noted {
    digest: String,
    command: String,
}

impl Noted {
    fn of(file: &Path) -> Result<Option<Self>> {
        let record = file.with_file_name("run.json");
        if !record.exists() {
            return Ok(None);
        }
        // Other programs have files of that name too.
        let Ok(record) = read_json::<Value>(&record) else {
            return Ok(None);
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let digest = record["results"][DIGESTS][&*name].as_str();
        Ok(digest.map(|digest| Self {
            digest: digest.to_owned(),
            command: record["command"].as_str().unwrap_or_default().to_owned(),
        }))
    }

    fn check(&self, file: &Path, digest: &str) -> Result<()> {
        if self.digest == digest {
            return Ok(());
        }
        let reason = format!("is not what ascribe {} left here", self.command);
        let remedy = "put the original back, or run the command again";
        Err(Error::conflict(file, reason, remedy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::write_json;
    use serde_json::json;

    #[test]
    fn a_record_of_another_program_says_nothing_of_a_file() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("features.npy");
        std::fs::write(&file, "numbers").unwrap();
        for text in ["{\"loss\": NaN}", "[1]", "{}"] {
            std::fs::write(place.path().join("run.json"), text).unwrap();
            check_as_left(&file).unwrap();
        }
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_something_else() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let digest = |name: &str| {
            std::fs::write(at(name), name).unwrap();
            digest_file(at(name)).unwrap()
        };
        let noted = ["a", "b", "c"].map(|name| (name.to_owned(), digest(name)));
        let digests: BTreeMap<String, String> = noted.into();
        let record = at("run.json");
        write_json(&record, &json!({ "results": { DIGESTS: digests } })).unwrap();
        std::fs::remove_file(at("a")).unwrap();
        std::fs::create_dir(at("a")).unwrap();
        std::fs::remove_file(at("b")).unwrap();
        let found = left_files(&record).unwrap();
        let conditions: Vec<Condition> = found.iter().map(|file| file.condition).collect();
        let expected = [Condition::Changed, Condition::Gone, Condition::AsLeft];
        assert_eq!(conditions, expected);
    }
}
