//! One set in several Parquet files, as the hub stores splits: `train-00000-of-00005.parquet` and so on.
//!
//! They are given by a pattern, `data/train-*.parquet`, or by their folder where it holds nothing else; rows count on from file to
//! file, in the order of the names.

use super::directory::names_in;
use super::parquet;
use super::stored::{Images, Labels, Stored};
use crate::artefact::folder_of;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files that a path with one `*` in its last part stands for, sorted; `None` where the path is none such.
pub(super) fn matching(path: &Path) -> Result<Option<Vec<PathBuf>>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((start, end)) = name.split_once('*').filter(|_| !path.exists()) else {
        return Ok(None);
    };
    let folder = folder_of(path);
    let fits = |name: &str| {
        name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
    };
    let mut names = names_in(folder)?;
    names.retain(|name| fits(&name.to_string_lossy()));
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let is_parquet = |file: &PathBuf| file.extension().is_some_and(|it| it == "parquet");
    let found = match files.iter().find(|file| !is_parquet(file)) {
        None if !files.is_empty() => {
            check_complete(path, &files)?;
            return Ok(Some(files));
        }
        None => "none".to_owned(),
        Some(other) => other.display().to_string(),
    };
    let expected = "Parquet files whose names fit, as in 'data/train-*.parquet'";
    let remedy = "correct the pattern";
    Err(Error::format(path, "pattern", expected, found, remedy))
}

/// Whether files are the parts of one split, all of them.
pub(super) fn are_one_split(files: &[String]) -> bool {
    let parts: Option<Vec<Part>> = files.iter().map(|file| Part::of(file)).collect();
    parts.is_some_and(|parts| parts.iter().all(|part| part.is_whole(&parts, parts.len())))
}

/// Whether the name of a file says that it is one of several parts.
pub(super) fn is_one_of_several(file: &str) -> bool {
    Part::of(file).is_some_and(|part| part.of != 1)
}

/// Where names count their parts, none may be missing.
fn check_complete(path: &Path, files: &[PathBuf]) -> Result<()> {
    let names = files.iter().filter_map(|file| file.file_name()?.to_str());
    let parts: Option<Vec<Part>> = names.map(Part::of).collect();
    let Some(parts) = parts else {
        return Ok(());
    };
    for part in &parts {
        let found = parts.iter().filter(|other| other.goes_with(part)).count();
        if !part.is_whole(&parts, found) {
            let expected = format!("the {} parts of {}", part.of, part.split);
            let remedy = "fetch those that are missing";
            let found = match found == part.of {
                true => "some of them twice".to_owned(),
                false => found.to_string(),
            };
            return Err(Error::format(path, "pattern", expected, found, remedy));
        }
    }
    Ok(())
}

/// `train-00003-of-00005.parquet`, with or without a digest behind it.
struct Part<'a> {
    split: &'a str,
    /// From 0.
    number: usize,
    of: usize,
}

impl<'a> Part<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let (before, after) = name.strip_suffix(".parquet")?.split_once("-of-")?;
        let (split, number) = before.rsplit_once('-')?;
        let number = number.parse().ok()?;
        let of = after.split('-').next()?.parse().ok()?;
        Some(Self { split, number, of })
    }

    fn goes_with(&self, other: &Self) -> bool {
        (other.split, other.of) == (self.split, self.of)
    }

    /// Whether each part of its split is among `parts`, which have `count` of that split, once.
    fn is_whole(&self, parts: &[Self], count: usize) -> bool {
        let own = parts.iter().filter(|part| part.goes_with(self));
        let numbers: BTreeSet<usize> = own.map(|part| part.number).collect();
        count == self.of && numbers.into_iter().eq(0..self.of)
    }
}

/// Reads all of them as one set.
pub(super) fn read(files: &[PathBuf], labels: Labels) -> Result<Stored> {
    let [first, others @ ..] = files else {
        return Err(Error::mismatch(
            "Parquet files",
            "at least one",
            0,
            "this is a bug",
        ));
    };
    let mut whole = parquet::read_file(first, labels)?;
    for file in others {
        let part = parquet::read_file(file, labels)?;
        if part.classes != whole.classes {
            let names = |classes: &Option<Vec<String>>| match classes {
                None => "no class names".to_owned(),
                Some(names) => format!("{} classes: {}", names.len(), names.join(", ")),
            };
            let expected = format!("{}, as in {}", names(&whole.classes), first.display());
            let found = names(&part.classes);
            let remedy = "give the parts of one split";
            return Err(Error::format(file, "metadata", expected, found, remedy));
        }
        let (Images::Encoded(images), Images::Encoded(more)) = (&mut whole.images, part.images)
        else {
            return Err(Error::mismatch(
                "Parquet images",
                "encoded",
                "planes",
                "this is a bug",
            ));
        };
        images.extend(more);
        whole.labels.extend(part.labels);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_one_split_where_all_of_them_are_there() {
        let one = |files: &[&str]| {
            are_one_split(
                &files
                    .iter()
                    .map(|file| (*file).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert!(one(&["train-00000-of-00001.parquet"]));
        assert!(one(&[
            "train-00000-of-00002-1f2e.parquet",
            "train-00001-of-00002-77aa.parquet"
        ]));
        assert!(!one(&["train-00000-of-00002.parquet"]));
        // The first of them twice, under other digests.
        assert!(!one(&[
            "train-00000-of-00002-1f2e.parquet",
            "train-00000-of-00002-77aa.parquet"
        ]));
        assert!(is_one_of_several("train-00000-of-00002.parquet"));
        assert!(!is_one_of_several("train-00000-of-00001.parquet"));
        assert!(!is_one_of_several("train.parquet"));
        assert!(!one(&[
            "test-00000-of-00001.parquet",
            "train-00000-of-00001.parquet"
        ]));
        assert!(!one(&["test.parquet", "train.parquet"]));
    }

    #[test]
    fn a_pattern_finds_its_files_and_says_what_it_does_not_find() {
        let folder = tempfile::tempdir().unwrap();
        let pattern = folder.path().join("train-*.parquet");
        let refused = || matching(&pattern).unwrap_err().to_string();
        assert!(refused().contains("found none; correct the pattern"));
        let put = |name: &str| std::fs::write(folder.path().join(name), "").unwrap();
        put("test-00000-of-00001.parquet");
        put("train-00001-of-00002.parquet");
        let message = refused();
        assert!(
            message.contains("expected the 2 parts of train, found 1"),
            "{message}"
        );
        put("train-00001-of-00002-1f.parquet");
        assert!(refused().contains("found some of them twice"));
        std::fs::remove_file(folder.path().join("train-00001-of-00002-1f.parquet")).unwrap();
        put("train-00000-of-00002.parquet");
        let files = matching(&pattern).unwrap().unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
        assert_eq!(
            names,
            [
                "train-00000-of-00002.parquet",
                "train-00001-of-00002.parquet"
            ]
        );
        assert_eq!(matching(&files[0]).unwrap(), None);
        put("train-notes.csv");
        let other = folder.path().join("train-*");
        let message = matching(&other).unwrap_err().to_string();
        assert!(message.contains("train-notes.csv"), "{message}");
    }
}
