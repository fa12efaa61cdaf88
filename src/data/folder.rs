//! A folder of class folders: `root/<class>/<picture>.jpg` and so on.
//!
//! Classes are the folders' names, sorted; ids follow the paths sorted by class, then by file name. Hidden files and
//! folders (a leading dot, or what Windows and macOS leave behind) are left out, and so are files beside the class folders that
//! are no images, and notes among images alone, which have no labels; anything else is refused rather than skipped.

#[cfg(test)]
mod tests;

use super::cifar_binary;
use super::directory::names_in;
use super::faults::refuse;
use super::idx;
use super::image::FORMATS;
use super::shards::{are_one_split, is_one_of_several};
use super::stored::{Images, Places, Stored, UNLABELLED};
use crate::{Error, Result};
use rayon::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Endings of notes, which may lie among images alone.
const NOTES: [&str; 8] = ["txt", "md", "csv", "tsv", "json", "yaml", "yml", "xml"];

/// The Parquet files directly in a folder: none, one, or all parts of one split.
pub(super) fn parquet_files(path: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, unwritable) = entries(path)?;
    files.retain(|name| name.ends_with(".parquet"));
    if files.is_empty() {
        return Ok(Vec::new());
    }
    // It may be one more part.
    unwritable.into_iter().next().map_or(Ok(()), Err)?;
    let fits = match &files[..] {
        [one] => !is_one_of_several(one),
        _ => are_one_split(&files),
    };
    if !fits {
        let found = files.join(", ");
        return Err(Error::format(
            path,
            "folder",
            "one Parquet file, or all parts of one split",
            found,
            "give the path of one of them, or of several as in 'train-*.parquet'",
        ));
    }
    Ok(files.into_iter().map(|name| path.join(name)).collect())
}

/// What is directly in a folder.
struct Top {
    folders: Vec<String>,
    files: Vec<String>,
    /// Names that cannot be written.
    faults: Vec<Error>,
}

impl Top {
    fn read(path: &Path) -> Result<Self> {
        let (names, faults) = entries(path)?;
        let (folders, files) = (names.into_iter()).partition(|name| path.join(name).is_dir());
        Ok(Self {
            folders,
            files,
            faults,
        })
    }

    fn first_image(&self) -> Option<&String> {
        self.files.iter().find(|name| is_image(name))
    }
}

/// What is in a folder of class folders, or of images alone.
pub(super) struct Listing {
    /// None of images alone.
    classes: Option<Vec<String>>,
    /// Paths within the folder, by id.
    pub(super) files: Vec<String>,
    labels: Vec<i64>,
    /// What should not be there, or is missing.
    pub(super) faults: Vec<Error>,
}

impl Listing {
    /// Lists a folder of class folders; or of images alone, whose labels are missing then. No image is read.
    ///
    /// # Errors
    /// A folder that cannot be read, or holds neither.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let top = Top::read(path)?;
        if !top.folders.is_empty() || top.first_image().is_none() {
            return Self::of_classes(path, top);
        }
        let unlabelled = no_classes(path, &top.files);
        let mut listing = Self::of_images(path, top);
        listing.faults.insert(0, unlabelled);
        Ok(listing)
    }

    fn of_classes(path: &Path, top: Top) -> Result<Self> {
        let (classes, beside, mut faults) = (top.folders, top.files, top.faults);
        let (mut files, mut labels) = (Vec::new(), Vec::new());
        // What leads nowhere may have been a class, and without it those behind would have other labels.
        faults.extend(beside.iter().filter_map(|name| lost(path, name)));
        if classes.is_empty() && faults.is_empty() {
            return Err(no_classes(path, &beside));
        }
        for name in beside.into_iter().filter(|name| is_image(name)) {
            let remedy = "move it into a class folder, or away";
            faults.push(Error::format(path, "folder", images(), name, remedy));
        }
        for (label, class) in classes.iter().enumerate() {
            let (names, unwritable) = match entries(&path.join(class)) {
                Ok(found) => found,
                Err(unreadable) => {
                    faults.push(unreadable);
                    continue;
                }
            };
            if names.is_empty() && unwritable.is_empty() {
                let remedy = "add images or remove the folder";
                faults.push(Error::format(path, class, images(), "none", remedy));
            }
            faults.extend(unwritable);
            for name in names {
                match unusable(&path.join(class), &name) {
                    Some((found, remedy)) => {
                        faults.push(Error::format(path, class, images(), found, remedy));
                    }
                    None => {
                        files.push(format!("{class}/{name}"));
                        labels.push(label as i64);
                    }
                }
            }
        }
        Ok(Self {
            classes: Some(classes),
            files,
            labels,
            faults,
        })
    }

    fn of_images(path: &Path, top: Top) -> Self {
        let (mut files, mut faults) = (Vec::new(), top.faults);
        for name in top
            .files
            .into_iter()
            .filter(|name| !has_ending(name, &NOTES))
        {
            match unusable(path, &name) {
                Some((found, remedy)) => {
                    let expected = format!("images ({FORMATS}) alone");
                    faults.push(Error::format(path, "folder", expected, found, remedy));
                }
                None => files.push(name),
            }
        }
        Self {
            classes: None,
            labels: vec![0; files.len()],
            files,
            faults,
        }
    }

    /// The images themselves.
    fn stored(self, path: &Path) -> Result<Stored> {
        refuse(path, self.faults)?;
        Ok(Stored {
            format: match self.classes {
                Some(_) => "folder of class folders",
                None => "folder of images",
            },
            images: contents(path, &self.files)?,
            places: Places::Files(self.files),
            labels: self.labels,
            classes: self.classes,
        })
    }
}

/// Why a folder of these files alone is no data set.
fn no_classes(path: &Path, files: &[String]) -> Error {
    let expected = format!("class folders of images ({FORMATS}), or one Parquet file");
    let refused = |found: &str, remedy| Error::format(path, "folder", expected, found, remedy);
    if files.iter().any(|name| is_idx(name)) {
        return refused("IDX files", IDX_REMEDY);
    }
    if files.iter().any(|name| is_image(name)) {
        return refused("images alone", "put them into class folders").and_remedy(UNLABELLED);
    }
    if files.iter().any(|name| is_matlab(name)) {
        return refused("MATLAB files", MATLAB_REMEDY);
    }
    if files
        .iter()
        .any(|name| cifar_binary::is_file(&name.to_lowercase()))
    {
        return refused("CIFAR files", "give the path of the file itself");
    }
    match files.first() {
        None => refused("neither", "check the path"),
        Some(name) => refused(&format!("neither, but {name}"), "check the path"),
    }
}

/// Whether a folder holds several folders, each with images in it, by their names: beside weights one is a folder of pictures.
pub(crate) fn has_class_folders(path: &Path) -> bool {
    let holds_images = |class: &String| {
        entries(&path.join(class)).is_ok_and(|(names, _)| names.iter().any(|name| is_image(name)))
    };
    Top::read(path).is_ok_and(|top| top.folders.len() > 1 && top.folders.iter().all(holds_images))
}

/// Reads a folder of class folders.
pub(super) fn read(path: &Path) -> Result<Stored> {
    Listing::of_classes(path, Top::read(path)?)?.stored(path)
}

/// Reads a folder of images, or of class folders, whose names are of no matter then.
pub(super) fn read_unlabelled(path: &Path) -> Result<Stored> {
    let top = Top::read(path)?;
    match (top.folders.first(), top.first_image()) {
        (Some(folder), Some(image)) => {
            let expected = "images alone, or class folders alone";
            let found = format!("the folder {folder} beside {image}");
            let remedy = "move one of them away";
            Err(Error::format(path, "folder", expected, found, remedy))
        }
        (None, Some(_)) => Listing::of_images(path, top).stored(path),
        _ => Listing::of_classes(path, top)?.stored(path),
    }
}

/// Files of images as they are, by their paths within the folder.
fn contents(path: &Path, files: &[String]) -> Result<Images> {
    let images = files.par_iter().map(|file| {
        let file = path.join(file);
        std::fs::read(&file).map_err(Error::io(&file, "read"))
    });
    Ok(Images::Encoded(images.collect::<Result<_>>()?))
}

/// What is expected of a class folder.
fn images() -> String {
    format!("images ({FORMATS}) in each class folder")
}

/// What to give in place of a folder of IDX files.
const IDX_REMEDY: &str =
    "give the path of the images file itself (*images*idx3*); its labels are found beside it";

const MATLAB_REMEDY: &str = "give the path of the file itself (*_32x32.mat)";

/// What systems leave in folders, in lower case.
const LEFT_BEHIND: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"];

/// What something in a folder of images is, and what to do, where it is no image.
fn unusable(folder: &Path, name: &str) -> Option<(String, &'static str)> {
    let file = folder.join(name);
    Some(if file.is_dir() {
        (
            format!("the folder {name}"),
            "give the folder that directly holds the class folders",
        )
    } else if is_image(name) {
        if !is_no_file(&file) {
            return None;
        }
        (format!("{name}, which is no file"), "remove it")
    } else if name.ends_with(".parquet") {
        (name.to_owned(), "give the path of that Parquet file")
    } else if is_idx(name) {
        (name.to_owned(), IDX_REMEDY)
    } else if is_matlab(name) {
        (name.to_owned(), MATLAB_REMEDY)
    } else {
        (name.to_owned(), "convert or remove it")
    })
}

/// Why something beside the class folders cannot be told from one: a link to what is not there, as a rule.
fn lost(path: &Path, name: &str) -> Option<Error> {
    let reason = path.join(name).metadata().err()?;
    let found = format!("{name}, which cannot be followed ({reason})");
    let remedy = "mend the link or remove it";
    Some(Error::format(path, "folder", images(), found, remedy))
}

/// Something that is there but holds no bytes to read: a folder, a pipe, a device.
fn is_no_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

fn is_idx(name: &str) -> bool {
    !is_image(name) && idx::is_images(&name.to_lowercase())
}

fn is_matlab(name: &str) -> bool {
    has_ending(name, &["mat"])
}

fn is_image(name: &str) -> bool {
    has_ending(
        name,
        &[
            "jpg", "jpeg", "png", "webp", "gif", "bmp", "ppm", "pgm", "pbm", "pnm",
        ],
    )
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    let is_that = |ending: &&str| extension.eq_ignore_ascii_case(ending);
    endings.iter().any(is_that)
}

/// The names in a folder that are not hidden, sorted by their bytes, and what is wrong with those that cannot be written.
fn entries(path: &Path) -> Result<(Vec<String>, Vec<Error>)> {
    let mut found = names_in(path)?;
    found.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    let (mut names, mut unwritable) = (Vec::new(), Vec::new());
    for name in found {
        match written(path, name) {
            Ok(name) => names.push(name),
            Err(fault) => unwritable.push(fault),
        }
    }
    names.retain(|name| !LEFT_BEHIND.contains(&name.to_lowercase().as_str()));
    Ok((names, unwritable))
}

/// A name in a folder as text of one line, which messages and tables hold.
fn written(path: &Path, name: OsString) -> Result<String> {
    let (expected, found) = match name.into_string() {
        Ok(name) if !name.chars().any(char::is_control) => return Ok(name),
        Ok(name) => ("names without control characters", name),
        Err(name) => ("names in UTF-8", name.to_string_lossy().into_owned()),
    };
    let found = found.escape_debug().to_string();
    Err(Error::format(path, "folder", expected, found, "rename it"))
}
