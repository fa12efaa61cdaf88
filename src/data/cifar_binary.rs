//! CIFAR-10 and CIFAR-100 in their binary versions (Krizhevsky 2009).
//!
//! | files | a record |
//! |---|---|
//! | `data_batch_1.bin` … `data_batch_5.bin`, `test_batch.bin` | label, 3072 bytes |
//! | `train.bin`, `test.bin` | coarse label, fine label, 3072 bytes; the fine one is read |
//!
//! The bytes are `[3, 32, 32]`. Class names are in `batches.meta.txt` and `fine_label_names.txt` beside them, where those
//! files are. The folder of CIFAR-10 stands for its five training batches in order.

use super::classes::numbered;
use super::directory::names_in;
use super::stored::{Images, Places, Stored};
use crate::stand_in::found_in;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
const AGAIN: &str = "fetch the file again";
/// Files of CIFAR-10's training images.
const BATCHES: usize = 5;

/// The two sets.
struct Kind {
    format: &'static str,
    /// Bytes before the pixels; the last of them is the label.
    labels: usize,
    classes: usize,
    names: &'static str,
}

const CIFAR10: Kind = Kind {
    format: "CIFAR-10 binary",
    labels: 1,
    classes: 10,
    names: "batches.meta.txt",
};
const CIFAR100: Kind = Kind {
    format: "CIFAR-100 binary",
    labels: 2,
    classes: 100,
    names: "fine_label_names.txt",
};

/// Which set a file of this name (in lower case) belongs to.
fn kind(name: &str) -> Option<&'static Kind> {
    let stem = name.strip_suffix(".bin")?;
    match stem {
        "train" | "test" => Some(&CIFAR100),
        _ if stem == "test_batch" || stem.starts_with("data_batch_") => Some(&CIFAR10),
        _ => None,
    }
}

/// Whether a file of this name (in lower case) is one.
pub(super) fn is_file(name: &str) -> bool {
    kind(name).is_some()
}

/// Whether a folder holds CIFAR-10's training batches or CIFAR-100's files.
pub(super) fn is_folder(path: &Path) -> bool {
    path.join("train.bin").is_file() || batch_numbers(path).is_ok_and(|numbers| !numbers.is_empty())
}

/// Reads the training batches of CIFAR-10.
pub(super) fn read_folder(path: &Path) -> Result<Stored> {
    let batch = |number: usize| path.join(format!("data_batch_{number}.bin"));
    let numbers = batch_numbers(path)?;
    let Some(&last) = numbers.last() else {
        let (expected, found) = ("the path of a file", "a folder of CIFAR-100");
        let remedy = "give train.bin or test.bin in it";
        return Err(Error::format(path, "folder", expected, found, remedy));
    };
    if let Some(missing) = (1..=last.max(BATCHES)).find(|number| !numbers.contains(number)) {
        let expected = format!("data_batch_{missing}.bin beside data_batch_{last}.bin");
        let remedy = "fetch it again, or give the path of one batch";
        return Err(Error::format(
            path,
            "folder",
            expected,
            "no such file",
            remedy,
        ));
    }
    let files: Vec<PathBuf> = numbers.into_iter().map(batch).collect();
    read_all(&files, path, &CIFAR10)
}

/// The numbers of the batches in a folder.
fn batch_numbers(path: &Path) -> Result<BTreeSet<usize>> {
    let number = |name: OsString| {
        let number = name.to_str()?.strip_prefix("data_batch_")?;
        number.strip_suffix(".bin")?.parse::<usize>().ok()
    };
    Ok(names_in(path)?.into_iter().filter_map(number).collect())
}

/// Reads one file.
pub(super) fn read(path: &Path) -> Result<Stored> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let folder = path.parent().unwrap_or(Path::new("."));
    read_all(
        &[path.to_path_buf()],
        folder,
        kind(&name).unwrap_or(&CIFAR10),
    )
}

fn read_all(files: &[PathBuf], folder: &Path, kind: &Kind) -> Result<Stored> {
    let (mut labels, mut pixels) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = std::fs::read(file).map_err(Error::io(file, "read"))?;
        let record = kind.labels + PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let place = format!("after {} whole images", bytes.len() / record);
            let expected = format!("{} in records of {record} bytes", kind.format);
            let left = bytes.len() % record;
            let found = format!("{left} bytes left over of {}", bytes.len());
            let found = found_in(file, found);
            return Err(Error::format(file, place, expected, found, AGAIN));
        }
        for (row, record) in bytes.chunks_exact(record).enumerate() {
            let label = record[kind.labels - 1];
            if usize::from(label) >= kind.classes {
                let expected = format!("a label from 0 to {}", kind.classes - 1);
                let place = format!("image {row}");
                return Err(Error::format(
                    file,
                    place,
                    expected,
                    label.to_string(),
                    AGAIN,
                ));
            }
            labels.push(i64::from(label));
            pixels.extend_from_slice(&record[kind.labels..]);
        }
    }
    Ok(Stored {
        format: kind.format,
        images: Images::Planes {
            channels: 3,
            height: SIDE,
            width: SIDE,
            pixels,
        },
        places: Places::Rows,
        labels,
        classes: Some(class_names(folder, kind)?),
    })
}

/// The names beside the images; numbers where the file is not there.
fn class_names(folder: &Path, kind: &Kind) -> Result<Vec<String>> {
    let path = folder.join(kind.names);
    if !path.is_file() {
        return Ok(numbered(kind.classes));
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if names.len() != kind.classes {
        let (expected, found) = (format!("{} names", kind.classes), names.len().to_string());
        return Err(Error::format(&path, "lines", expected, found, AGAIN));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` images whose pixels are their number, whose label is their number modulo `classes`.
    pub(super) fn records(from: usize, count: usize, kind: &Kind) -> Vec<u8> {
        let image = |number: usize| {
            let label = [7, (number % kind.classes) as u8];
            let pixels = (0..PIXELS).map(move |at| (number + at / (SIDE * SIDE)) as u8);
            label[2 - kind.labels..]
                .iter()
                .copied()
                .chain(pixels)
                .collect::<Vec<u8>>()
        };
        (from..from + count).flat_map(image).collect()
    }

    #[test]
    fn a_folder_is_its_training_batches_in_order_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=5 {
            let file = folder.path().join(format!("data_batch_{number}.bin"));
            std::fs::write(file, records(2 * number, 2, &CIFAR10)).unwrap();
        }
        assert!(is_folder(folder.path()));
        let stored = read_folder(folder.path()).unwrap();
        assert_eq!(stored.labels, [2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        assert_eq!(stored.classes.unwrap()[9], "9");
        let Images::Planes {
            channels, pixels, ..
        } = stored.images
        else {
            panic!("not planes")
        };
        assert_eq!((channels, pixels.len()), (3, 10 * PIXELS));
        // Red, green and blue of the last image.
        let last = &pixels[9 * PIXELS..];
        assert_eq!([last[0], last[1024], last[2048]], [11, 12, 13]);

        let names: Vec<String> = (0..10).map(|class| format!("class {class}\n")).collect();
        std::fs::write(folder.path().join(CIFAR10.names), names.concat() + "\n").unwrap();
        let classes = read(&folder.path().join("data_batch_1.bin"))
            .unwrap()
            .classes
            .unwrap();
        assert_eq!(classes[3], "class 3");

        let batch = |number| folder.path().join(format!("data_batch_{number}.bin"));
        let refused = |missing: usize, last: usize| {
            assert!(is_folder(folder.path()));
            let message = read_folder(folder.path()).err().unwrap().to_string();
            let found = format!(
                "expected data_batch_{missing}.bin beside data_batch_{last}.bin, found no such file"
            );
            assert!(message.contains(&found), "{message}");
        };
        for (from, to, missing) in [(2, 10, 2), (1, 2, 1)] {
            std::fs::rename(batch(from), batch(to)).unwrap();
            refused(missing, 10);
        }
        // The last of them is missing, and no gap tells.
        std::fs::rename(batch(10), batch(1)).unwrap();
        std::fs::remove_file(batch(5)).unwrap();
        refused(5, 4);
    }

    #[test]
    fn cifar_100_has_its_fine_labels() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("train.bin");
        std::fs::write(&file, records(97, 3, &CIFAR100)).unwrap();
        assert_eq!(read(&file).unwrap().labels, [97, 98, 99]);
        let message = read_folder(folder.path()).err().unwrap().to_string();
        assert!(
            message.ends_with("give train.bin or test.bin in it"),
            "{message}"
        );
    }

    #[test]
    fn files_are_told_apart_by_name() {
        assert!(is_file("data_batch_3.bin") && is_file("test_batch.bin") && is_file("train.bin"));
        assert!(!is_file("pytorch_model.bin") && !is_file("data_batch_1"));
    }
}
