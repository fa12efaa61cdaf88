//! A folder of class folders: `root/<class>/<picture>.jpg` and so on.
//!
//! Classes are the folders' names, sorted; ids follow the paths sorted by class, then by file name. Hidden files and
//! folders (a leading dot, or what Windows and macOS leave behind) are left out, and so are files beside the class folders that
//! are no images; anything else is refused rather than skipped. Among images alone, notes of other endings may lie (`.txt`, `.json`).

#[cfg(test)]
mod tests;

use super::dataset::{Images, Places, Stored, UNLABELLED};
use super::idx;
use super::image::FORMATS;
use super::shards::{are_one_split, is_one_of_several};
use crate::artefact::quoted;
use crate::{Error, Result};
use rayon::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

/// What is in a folder of class folders.
pub(super) struct Listing {
    classes: Vec<String>,
    /// Paths within the folder, by id.
    pub(super) files: Vec<String>,
    labels: Vec<i64>,
    /// What should not be there, or is missing.
    pub(super) faults: Vec<Error>,
}

impl Listing {
    /// Lists a folder of class folders; no image is read.
    ///
    /// # Errors
    /// A folder that cannot be read, or holds no folders.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let (names, mut faults) = entries(path)?;
        let (classes, beside): (Vec<String>, Vec<String>) =
            (names.into_iter()).partition(|name| path.join(name).is_dir());
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
            let (names, unwritable) = entries(&path.join(class))?;
            if names.is_empty() && unwritable.is_empty() {
                let remedy = "add images or remove the folder";
                faults.push(Error::format(path, class, images(), "none", remedy));
            }
            faults.extend(unwritable);
            for name in names {
                match fault(path, class, &name) {
                    Some(fault) => faults.push(fault),
                    None => {
                        files.push(format!("{class}/{name}"));
                        labels.push(label as i64);
                    }
                }
            }
        }
        Ok(Self {
            classes,
            files,
            labels,
            faults,
        })
    }
}

/// Why a folder of these files alone is no data set.
fn no_classes(path: &Path, files: &[String]) -> Error {
    let expected = "class folders of images, or one Parquet file";
    let refused = |found, remedy| Error::format(path, "folder", expected, found, remedy);
    if files.iter().any(|name| is_idx(name)) {
        return refused("IDX files", IDX_REMEDY);
    }
    match files.iter().any(|name| is_image(name)) {
        true => refused("images alone", "put them into class folders").and_remedy(UNLABELLED),
        false => refused("neither", "check the path"),
    }
}

/// Reads a folder of class folders.
pub(super) fn read(path: &Path) -> Result<Stored> {
    let listing = Listing::read(path)?;
    let more = listing.faults.len().saturating_sub(1);
    if let Some(first) = listing.faults.into_iter().next() {
        let path = quoted(&path.to_string_lossy());
        return Err(match more {
            0 => first,
            _ => first.and_remedy(format!(
                "{more} more: ascribe inspect {path} --check lists all"
            )),
        });
    }
    Ok(Stored {
        format: "folder of class folders",
        images: contents(path, &listing.files)?,
        places: Places::Files(listing.files),
        labels: listing.labels,
        classes: Some(listing.classes),
    })
}

/// Reads a folder of images, or of class folders, whose names are of no matter then.
pub(super) fn read_unlabelled(path: &Path) -> Result<Stored> {
    let (names, unwritable) = entries(path)?;
    let is_other = |name: &String| path.join(name).is_dir() || is_idx(name);
    if names.is_empty() || names.iter().any(is_other) {
        return read(path);
    }
    unwritable.into_iter().next().map_or(Ok(()), Err)?;
    let mut others = names.iter().filter(|name| is_perhaps_image(name));
    if let Some(name) = others.next() {
        let found = match others.count() {
            0 => name.clone(),
            more => format!("{name} and {more} more like it"),
        };
        let expected = format!("images ({FORMATS}) by their endings");
        let remedy = "convert, rename or remove it";
        return Err(Error::format(path, "folder", expected, found, remedy));
    }
    let files: Vec<String> = names.into_iter().filter(|name| is_image(name)).collect();
    if let Some(name) = files.iter().find(|name| is_no_file(&path.join(name))) {
        let found = format!("{name}, which is no file");
        return Err(Error::format(path, "folder", images(), found, "remove it"));
    }
    Ok(Stored {
        format: "folder of images",
        images: contents(path, &files)?,
        labels: vec![0; files.len()],
        places: Places::Files(files),
        classes: None,
    })
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

/// What systems leave in folders, in lower case.
const LEFT_BEHIND: [&str; 4] = ["thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"];

/// Why something in a class folder is no image.
fn fault(path: &Path, class: &str, name: &str) -> Option<Error> {
    let file = path.join(class).join(name);
    let (found, remedy) = if file.is_dir() {
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
    } else {
        (name.to_owned(), "convert or remove it")
    };
    Some(Error::format(path, class, images(), found, remedy))
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

fn is_image(name: &str) -> bool {
    has_ending(
        name,
        &[
            "jpg", "jpeg", "png", "webp", "gif", "bmp", "ppm", "pgm", "pbm", "pnm",
        ],
    )
}

/// A name of a picture of another format, or one that does not say what it is of.
fn is_perhaps_image(name: &str) -> bool {
    let others = [
        "apng", "avif", "cr2", "dcm", "dds", "dng", "exr", "hdr", "heic", "heif", "ico", "j2k",
        "jfif", "jp2", "jpe", "jxl", "nef", "pam", "pfm", "psd", "qoi", "svg", "tga", "tif",
        "tiff",
    ];
    Path::new(name).extension().is_none() || has_ending(name, &others)
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let extension = Path::new(name).extension().unwrap_or_default();
    let is_that = |ending: &&str| extension.eq_ignore_ascii_case(ending);
    endings.iter().any(is_that)
}

/// The names in a folder that are not hidden, sorted by their bytes, and what is wrong with those that cannot be written.
fn entries(path: &Path) -> Result<(Vec<String>, Vec<Error>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path, "read"))? {
        found.push(entry.map_err(Error::io(path, "read"))?.file_name());
    }
    found.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
    found.sort_unstable();
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
