//! CIFAR binary and SVHN: what they hold, and every way in which they can be broken.

use super::{cut, half};
use crate::inputs::refusal;
use ascribe::data::Dataset;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::tempdir;

fn svhn(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/svhn")
        .join(name)
}

#[test]
fn svhn_files_packed_and_plain() {
    let mut digests = Vec::new();
    for name in ["packed_32x32.mat", "plain_32x32.mat"] {
        let set = Dataset::open(&svhn(name)).unwrap();
        assert_eq!(set.labels(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1], "{name}");
        assert_eq!((set.classes()[0].as_str(), set.classes().len()), ("0", 10));
        assert_eq!(
            (set.format(), set.image_size(3).unwrap()),
            ("SVHN (MATLAB 5)", (4, 5))
        );
        let image = set.get(7).unwrap().image;
        assert_eq!((image.channels, image.height, image.width), (3, 4, 5));
        for channel in 0..3 {
            for row in 0..4 {
                for column in 0..5 {
                    let expected = (7 * row + 13 * column + 31 * channel + 101 * 7) % 256;
                    let found = image.pixels[(channel * 4 + row) * 5 + column];
                    assert_eq!(
                        usize::from(found),
                        expected,
                        "{name}: {channel} {row} {column}"
                    );
                }
            }
        }
        digests.push(set.digest().to_owned());
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn svhn_files_with_something_else_in_them() {
    for (name, parts) in [
        (
            "other.mat",
            [
                "variables",
                "expected X (images) and y (digits), found images, y",
            ],
        ),
        (
            "grey.mat",
            ["variable X", "found bytes of sizes [4, 5, 12]"],
        ),
        (
            "few.mat",
            [
                "variable y",
                "12 digits, one an image, found bytes of sizes [11, 1]",
            ],
        ),
        (
            "digits.mat",
            [
                "variable y, row 7",
                "a digit from 1 to 10 (for 0), found 11",
            ],
        ),
        (
            "none.mat",
            ["variable X", "at least one image of one pixel"],
        ),
    ] {
        refusal(
            Dataset::open(&svhn(name)),
            &[&[name, "fetch the file again"], &parts[..]].concat(),
        );
    }
}

#[test]
fn svhn_files_cut_short_or_altered() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("train_32x32.mat");
    for name in ["packed_32x32.mat", "plain_32x32.mat"] {
        let whole = fs::read(svhn(name)).unwrap();
        for keep in (0..40).map(|part| part * whole.len() / 40) {
            fs::write(&path, &whole[..keep]).unwrap();
            refusal(
                Dataset::open(&path),
                &["train_32x32.mat", "fetch the file again"],
            );
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            fs::write(&path, bytes).unwrap();
            if let Err(error) = Dataset::open(&path) {
                assert!(!error.to_string().contains('\n'), "byte {at}: {error}");
            }
        }
    }
    let hdf5 = [&b"\x89HDF\r\n\x1a\n"[..], &[0; 600]].concat();
    let mut text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".to_vec();
    text.resize(124, b' ');
    text.extend(b"\x00\x02IM");
    text.resize(512, 0);
    for bytes in [hdf5.clone(), [text, hdf5].concat()] {
        fs::write(&path, bytes).unwrap();
        refusal(
            Dataset::open(&path),
            &["header", "HDF5", "; save it with -v7"],
        );
    }
}

/// An element of a MATLAB file.
fn element(kind: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = [kind.to_le_bytes(), (data.len() as u32).to_le_bytes()].concat();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A variable: its name, its class and the type its numbers are stored in.
fn variable(name: &str, (class, kind): (u8, u32), sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
    let parts = [
        element(6, &[class, 0, 0, 0, 0, 0, 0, 0]),
        element(5, &sizes),
        element(1, name.as_bytes()),
        element(kind, data),
    ];
    element(14, &parts.concat())
}

#[test]
fn svhn_digits_of_any_type_and_pixels_of_bytes_alone() {
    let single = Dataset::open(&svhn("single.mat")).unwrap();
    assert_eq!(&single.labels()[..3], [0, 1, 2]);
    let folder = tempdir().unwrap();
    let path = folder.path().join("own_32x32.mat");
    let open = |variables: &[Vec<u8>]| {
        let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
        bytes.resize(124, b' ');
        bytes.extend(b"\x00\x01IM");
        fs::write(&path, [bytes, variables.concat()].concat()).unwrap();
        Dataset::open(&path)
    };
    let x = variable("X", (9, 2), &[1, 1, 3, 2], &[1, 2, 3, 4, 5, 6]);
    let [ten, three] = [10_u64, 3].map(u64::to_le_bytes);
    // Type, bytes and class of signed and unsigned integers.
    for (kind, size, class) in [
        (1, 1, 8),
        (3, 2, 10),
        (4, 2, 11),
        (5, 4, 12),
        (6, 4, 13),
        (12, 8, 14),
        (13, 8, 15),
    ] {
        let digits = [&ten[..size], &three[..size]].concat();
        let y = variable("y", (class, kind), &[2, 1], &digits);
        assert_eq!(open(&[x.clone(), y]).unwrap().labels(), [0, 3], "{kind}");
    }
    // Row numbers of a sparse matrix are no numbers of its sizes.
    let sparse = variable("s", (5, 5), &[3, 3], &[0; 4]);
    let y = variable("y", (9, 2), &[2, 1], &[10, 3]);
    assert_eq!(open(&[sparse, x, y.clone()]).unwrap().len(), 2);
    let wide = variable("X", (11, 4), &[1, 1, 3, 2], &[0; 12]);
    let parts = [
        "variable X",
        "found other numbers of sizes [1, 1, 3, 2]; store X as uint8",
    ];
    refusal(open(&[wide, y]), &parts);
}

/// Records of label and pixels.
fn batch(labels: &[u8], bytes_before: usize) -> Vec<u8> {
    let record = |&label: &u8| [vec![0; bytes_before], vec![label], vec![label; 3072]].concat();
    labels.iter().flat_map(record).collect()
}

#[test]
fn cifar_files_cut_short_with_wrong_labels_or_empty() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("data_batch_1.bin");
    fs::write(&path, batch(&[3, 9], 0)).unwrap();
    let set = Dataset::open(&path).unwrap();
    assert_eq!(
        (set.labels(), set.format()),
        (&[3, 9][..], "CIFAR-10 binary")
    );
    assert_eq!(set.image_size(0).unwrap(), (32, 32));

    cut(&path, 3073 + 5);
    refusal(
        Dataset::open(&path),
        &["data_batch_1.bin", "after 1 whole images", "5 bytes left"],
    );
    half(&path);
    refusal(
        Dataset::open(&path),
        &["after 0 whole images", "fetch the file again"],
    );
    cut(&path, 0);
    refusal(
        Dataset::open(&path),
        &["after 0 whole images", "0 bytes left over of 0"],
    );
    fs::write(&path, batch(&[3, 10], 0)).unwrap();
    let parts = [
        "data_batch_1.bin",
        "image 1",
        "a label from 0 to 9, found 10",
    ];
    refusal(Dataset::open(&path), &parts);
    // A second batch that is broken, of a folder.
    for number in [1, 3, 4, 5] {
        let file = folder.path().join(format!("data_batch_{number}.bin"));
        fs::write(file, batch(&[3], 0)).unwrap();
    }
    fs::write(folder.path().join("data_batch_2.bin"), b"x").unwrap();
    refusal(
        Dataset::open(folder.path()),
        &["data_batch_2.bin", "after 0 whole images"],
    );

    let path = folder.path().join("test.bin");
    fs::write(&path, batch(&[99, 100], 1)).unwrap();
    refusal(
        Dataset::open(&path),
        &["test.bin", "image 1", "a label from 0 to 99, found 100"],
    );
    fs::write(&path, batch(&[99], 1)).unwrap();
    fs::write(folder.path().join("fine_label_names.txt"), "apple\n").unwrap();
    refusal(
        Dataset::open(&path),
        &["fine_label_names.txt", "100 names, found 1"],
    );
}
