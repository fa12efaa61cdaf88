//! IDX, the format of MNIST: big-endian header, then bytes; gzip or not.
//!
//! Images: magic `00 00 08 03`, then count, rows, columns (u32 each), then `[N, H, W]` bytes.
//! Labels: magic `00 00 08 01`, then count, then N bytes; found beside the images by name
//! (`train-images-idx3-ubyte.gz` → `train-labels-idx1-ubyte.gz`). The format has no class names.

use super::directory::names_in;
use super::stored::{Images, Labels, Places, Stored};
use crate::artefact::folder_of;
use crate::stand_in::found_in;
use crate::{Error, Result};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Whether a file of this name (in lower case) holds IDX images.
pub(super) fn is_images(name: &str) -> bool {
    name.find("images")
        .is_some_and(|at| name[at..].contains("idx3"))
}

/// Whether a file of this name (in lower case) holds IDX labels.
pub(super) fn is_labels(name: &str) -> bool {
    name.find("labels")
        .is_some_and(|at| name[at..].contains("idx1"))
}

/// Reads the images file and the labels beside it.
pub(super) fn read(path: &Path, labels: Labels) -> Result<Stored> {
    let (sizes, pixels) = read_array::<3>(path)?;
    let [count, height, width] = sizes;
    let labels = match labels {
        Labels::Read => read_labels(path, count)?,
        Labels::Ignored => vec![0; count],
    };
    Ok(Stored {
        format: "IDX",
        images: Images::Planes {
            channels: 1,
            height,
            width,
            pixels,
        },
        places: Places::Rows,
        labels,
        classes: None,
    })
}

/// The labels of so many images, from the file beside theirs.
fn read_labels(path: &Path, count: usize) -> Result<Vec<i64>> {
    let labels_path = labels_beside(path)?;
    let ([label_count], labels) = read_array::<1>(&labels_path)?;
    if label_count != count {
        let what = format!("{}: number of labels", labels_path.display());
        return Err(Error::mismatch(
            what,
            format!("{count} (the images)"),
            label_count,
            "give files that belong together",
        ));
    }
    Ok(labels.into_iter().map(i64::from).collect())
}

fn labels_beside(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let labels = (name.to_lowercase())
        .replace("images", "labels")
        .replace("idx3", "idx1");
    let other = labels
        .strip_suffix(".gz")
        .map_or_else(|| format!("{labels}.gz"), str::to_owned);
    let beside = files_beside(path)?;
    // Names are taken in capitals and without.
    let named = |wanted: &String| {
        let mut files = beside.iter();
        files.find(|file| lower_name(file) == *wanted).cloned()
    };
    [&labels, &other]
        .into_iter()
        .find_map(named)
        .ok_or_else(|| {
            let expected = format!("the labels in {labels} beside it");
            Error::format(
                path,
                "labels",
                expected,
                "no such file",
                "put both files into one folder",
            )
        })
}

fn lower_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().to_lowercase()
}

/// The files of the folder that a file is in, in the order of their names.
fn files_beside(path: &Path) -> Result<Vec<PathBuf>> {
    let names = names_in(folder_of(path))?.into_iter();
    let files = names.map(|name| path.with_file_name(name));
    Ok(files.filter(|file| file.is_file()).collect())
}

/// The sizes and the bytes of an IDX file with `RANK` dimensions.
fn read_array<const RANK: usize>(path: &Path) -> Result<([usize; RANK], Vec<u8>)> {
    let stored = std::fs::read(path).map_err(Error::io(path, "read"))?;
    // Gzip is recognised by its first bytes rather than by the file's name.
    match stored.starts_with(&[0x1f, 0x8b]) {
        true => read_content(path, MultiGzDecoder::new(&stored[..])),
        false => read_content(path, &stored[..]),
    }
}

/// The same of what a file holds, which is unpacked no further than its header promises.
fn read_content<const RANK: usize>(
    path: &Path,
    mut content: impl Read,
) -> Result<([usize; RANK], Vec<u8>)> {
    let header = 4 + 4 * RANK;
    let again = "fetch or write the file again";
    let magic = [0, 0, 8, RANK as u8];
    let bytes = next(path, &mut content, 0, header)?;
    if bytes.len() < header || bytes[..4] != magic {
        let start = &bytes[..bytes.len().min(4)];
        let found = format!("{} bytes that start with {start:02x?}", bytes.len());
        let found = found_in(path, found);
        let expected = format!("an IDX header of {header} bytes that starts with {magic:02x?}");
        return Err(Error::format(path, "header", expected, found, again));
    }
    let mut sizes = [0; RANK];
    for (size, raw) in sizes.iter_mut().zip(bytes[4..].chunks_exact(4)) {
        *size = u32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]) as usize;
    }
    if sizes[1..].contains(&0) {
        return Err(Error::format(
            path,
            "header",
            "images of at least one pixel",
            format!("sizes {sizes:?}"),
            again,
        ));
    }
    // What is too large for a number is too large for a file.
    let promised = sizes
        .iter()
        .fold(1, |product: usize, &size| product.saturating_mul(size));
    let mut data = next(path, &mut content, header, promised.saturating_add(1))?;
    if data.len() != promised {
        let found = match data.len() > promised {
            true => "more bytes than its header promises".to_owned(),
            false => format!("{} bytes", data.len()),
        };
        let expected = format!("data for the sizes {sizes:?} of the header");
        let place = format!("after byte {header}");
        return Err(Error::format(path, place, expected, found, again));
    }
    data.shrink_to_fit();
    Ok((sizes, data))
}

/// The bytes from `from` on, at most so many; memory grows as they come, for a header may promise what is not there.
fn next(path: &Path, content: &mut impl Read, from: usize, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = content.take(most as u64).read_to_end(&mut bytes);
    read.map_err(|error| {
        let place = format!("after byte {} unpacked", from + bytes.len());
        Error::format(
            path,
            place,
            "whole gzip data",
            error.to_string(),
            "fetch the file again",
        )
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn reads_plain_and_packed_files_with_labels_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let images = [
            0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6,
        ];
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 7, 9];
        let path = folder.path().join("t10k-images.idx3-ubyte");
        std::fs::write(&path, images).unwrap();
        let capitals = folder.path().join("capitals");
        std::fs::create_dir(&capitals).unwrap();
        std::fs::write(capitals.join("T10k-Images.IDX3-ubyte"), images).unwrap();
        std::fs::write(capitals.join("T10k-Labels.IDX1-ubyte"), labels).unwrap();
        let stored = read(&capitals.join("T10k-Images.IDX3-ubyte"), Labels::Read).unwrap();
        assert_eq!(stored.labels, [7, 9]);
        let alone = read(&path, Labels::Read).err().unwrap().to_string();
        assert!(
            alone.contains("the labels in t10k-labels.idx1-ubyte beside it"),
            "{alone}"
        );
        assert_eq!(read(&path, Labels::Ignored).unwrap().labels, [0, 0]);
        // The labels may be packed where the images are not.
        std::fs::write(folder.path().join("t10k-labels.idx1-ubyte.gz"), gz(&labels)).unwrap();
        let stored = read(&path, Labels::Read).unwrap();
        assert_eq!(stored.labels, [7, 9]);
        let Images::Planes {
            channels: 1,
            height,
            width,
            pixels,
        } = stored.images
        else {
            panic!("not greyscale")
        };
        assert_eq!((height, width, pixels), (1, 3, vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn no_more_is_unpacked_than_the_header_promises() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images-idx3-ubyte.gz");
        let refused = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read(&path, Labels::Ignored).err().unwrap().to_string()
        };
        let header = [0u8, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3];
        // What lies behind the 64 MiB is no gzip data: to have come there would be another error.
        let zeros = gz(&vec![0; 1 << 20]).repeat(64);
        let message = refused(&[gz(&header), zeros, b"behind".to_vec()].concat());
        assert!(
            message.contains("[2, 1, 3] of the header, found more bytes than its header promises"),
            "{message}"
        );
        // 4 TiB, and more than a number holds.
        for sizes in [[0u8, 16, 0, 0, 0, 16, 0, 0, 0, 0, 0, 4], [0xff; 12]] {
            let content = [&header[..4], &sizes, &[0; 6]].concat();
            for content in [gz(&content), content] {
                let message = refused(&content);
                assert!(message.contains("header, found 6 bytes"), "{message}");
            }
        }
    }

    #[test]
    fn names_are_recognised() {
        assert!(
            is_images("train-images-idx3-ubyte.gz")
                && is_images("emnist-letters-test-images.idx3-ubyte")
        );
        assert!(
            !is_images("train-labels-idx1-ubyte.gz") && is_labels("train-labels-idx1-ubyte.gz")
        );
    }
}
