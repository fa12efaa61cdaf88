//! A folder of class folders: `root/<class>/<picture>.jpg|jpeg|png`.
//!
//! Classes are the folders' names, sorted; ids follow the paths sorted by class, then by file name. Hidden files and
//! folders (a leading dot) are left out, and so are files beside the class folders; anything else that is no JPEG or
//! PNG is refused rather than skipped.

use super::dataset::{Images, Places, Stored};
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// The one Parquet file directly in a folder, if there is one.
pub(super) fn single_parquet(path: &Path) -> Result<Option<PathBuf>> {
    let mut files: Vec<_> = entries(path)?
        .into_iter()
        .filter(|name| name.ends_with(".parquet"))
        .collect();
    match files.len() {
        0 | 1 => Ok(files.pop().map(|name| path.join(name))),
        _ => {
            let found = files.join(", ");
            Err(Error::format(
                path,
                "folder",
                "one Parquet file",
                found,
                "give the path of one of them",
            ))
        }
    }
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
        let classes: Vec<String> = entries(path)?
            .into_iter()
            .filter(|name| path.join(name).is_dir())
            .collect();
        if classes.is_empty() {
            let expected = "class folders of JPEG or PNG images, or one Parquet file";
            return Err(Error::format(
                path,
                "folder",
                expected,
                "neither",
                "check the path",
            ));
        }
        let (mut files, mut labels, mut faults) = (Vec::new(), Vec::new(), Vec::new());
        for (label, class) in classes.iter().enumerate() {
            let names = entries(&path.join(class))?;
            if names.is_empty() {
                let remedy = "add images or remove the folder";
                faults.push(Error::format(path, class, IMAGES, "none", remedy));
            }
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

/// Reads a folder of class folders.
pub(super) fn read(path: &Path) -> Result<Stored> {
    let listing = Listing::read(path)?;
    let more = listing.faults.len().saturating_sub(1);
    if let Some(first) = listing.faults.into_iter().next() {
        let path = path.display();
        return Err(match more {
            0 => first,
            _ => first.and_remedy(format!(
                "{more} more: ascribe inspect {path} --check lists all"
            )),
        });
    }
    let images = listing.files.par_iter().map(|file| {
        let file = path.join(file);
        std::fs::read(&file).map_err(Error::io(&file, "read"))
    });
    let images = Images::Encoded(images.collect::<Result<_>>()?);
    Ok(Stored {
        format: "folder of class folders",
        images,
        places: Places::Files(listing.files),
        labels: listing.labels,
        classes: Some(listing.classes),
    })
}

const IMAGES: &str = "JPEG or PNG files in each class folder";

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
    } else {
        (name.to_owned(), "convert or remove it")
    };
    Some(Error::format(path, class, IMAGES, found, remedy))
}

/// Something that is there but holds no bytes to read: a folder, a pipe, a device.
fn is_no_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| !found.is_file())
}

fn is_image(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    matches!(extension.as_str(), "jpg" | "jpeg" | "png")
}

/// The names in a folder that are not hidden, sorted by their bytes.
fn entries(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(Error::io(path, "read"))? {
        let name = entry.map_err(Error::io(path, "read"))?.file_name();
        let name = name.into_string().map_err(|name| {
            let found = name.to_string_lossy().into_owned();
            Error::format(
                path,
                "folder",
                "file names in UTF-8",
                found,
                "rename the file",
            )
        })?;
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{create_dir, write};

    #[test]
    fn ids_follow_class_then_name_and_hidden_files_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        // As text "a-b/1.png" sorts before "a/2.jpeg"; as paths class a comes first.
        for class in ["a-b", "a", ".cache"] {
            create_dir(root.join(class)).unwrap();
        }
        for (file, bytes) in [
            ("a-b/1.png", "x"),
            ("a/2.jpeg", "y"),
            ("a/10.JPG", "z"),
            ("a/.DS_Store", ""),
            ("SHA256SUMS", ""),
        ] {
            write(root.join(file), bytes).unwrap();
        }
        let stored = read(root).unwrap();
        assert_eq!(stored.classes.unwrap(), ["a", "a-b"]);
        assert_eq!(stored.labels, [0, 0, 1]);
        let (Images::Encoded(images), Places::Files(files)) = (stored.images, stored.places) else {
            panic!("not files")
        };
        assert_eq!(files, ["a/10.JPG", "a/2.jpeg", "a-b/1.png"]);
        assert_eq!(images, [b"z", b"y", b"x"]);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        create_dir(folder.path().join("cat")).unwrap();
        let _socket =
            std::os::unix::net::UnixListener::bind(folder.path().join("cat/1.png")).unwrap();
        let message = read(folder.path()).err().unwrap().to_string();
        let found = "found 1.png, which is no file; remove it";
        assert!(message.ends_with(found), "{message}");
    }

    #[test]
    fn a_folder_of_one_parquet_file_is_that_file() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(single_parquet(folder.path()).unwrap(), None);
        let file = folder.path().join("train.parquet");
        write(&file, "").unwrap();
        assert_eq!(single_parquet(folder.path()).unwrap(), Some(file));
        write(folder.path().join("test.parquet"), "").unwrap();
        let message = single_parquet(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("found test.parquet, train.parquet; give the path of one"),
            "{message}"
        );
    }
}
