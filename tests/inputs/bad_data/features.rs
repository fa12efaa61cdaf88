//! Features and head files.

use super::{cut, half};
use crate::inputs::refusal;
use ascribe::data::{Features, HeadFile};
use ndarray::{Array1, Array2, array};
use ndarray_npy::{NpzWriter, WritableElement};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[test]
fn missing_unknown_or_empty() {
    refusal(
        Features::open(Path::new("nowhere.npz")),
        &["nowhere.npz", "cannot read", "check the path"],
    );
    refusal(
        HeadFile::open(Path::new("nowhere.safetensors")),
        &["nowhere.safetensors", "check the path"],
    );
    let folder = tempdir().unwrap();
    let path = folder.path().join("images.tar");
    fs::write(&path, "x").unwrap();
    refusal(
        Features::open(&path),
        &["images.tar", "not supported", ".npz", ".safetensors"],
    );
    refusal(
        HeadFile::open(&path),
        &[
            "images.tar: this file format is not supported; give weight [C, d] and bias [C] as .npz or .safetensors",
        ],
    );
    let path = npz(
        &folder,
        "features",
        &Array2::<f32>::zeros((0, 4)),
        "labels",
        &Array1::<i64>::zeros(0),
    );
    refusal(
        Features::open(&path),
        &[
            "set.npz",
            "array features",
            "not empty",
            "found shape [0, 4]",
        ],
    );
}

fn npz<A: WritableElement, B: WritableElement>(
    folder: &TempDir,
    first: &str,
    matrix: &Array2<A>,
    second: &str,
    vector: &Array1<B>,
) -> PathBuf {
    let path = folder.path().join("set.npz");
    let mut writer = NpzWriter::new(File::create(&path).unwrap());
    writer.add_array(first, matrix).unwrap();
    writer.add_array(second, vector).unwrap();
    writer.finish().unwrap();
    path
}

fn features(folder: &TempDir, matrix: &Array2<f64>, labels: &Array1<i64>) -> PathBuf {
    npz(folder, "features", matrix, "labels", labels)
}

#[test]
fn features_with_bad_values() {
    let folder = tempdir().unwrap();
    let good = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
    assert_eq!(
        Features::open(&features(&folder, &good, &array![0, 1, 1]))
            .unwrap()
            .len(),
        3
    );
    for bad in [f64::NAN, f64::INFINITY] {
        let mut values = good.clone();
        values[[2, 1]] = bad;
        let parts = [
            "set.npz: array features",
            "not a finite number",
            "row 2, column 1",
            "remove the row",
        ];
        refusal(
            Features::open(&features(&folder, &values, &array![0, 1, 1])),
            &parts,
        );
    }
    refusal(
        Features::open(&features(&folder, &good, &array![0, -1, 1])),
        &["set.npz", "row 1", "expected a label", "found -1"],
    );
    let parts = [
        "array labels",
        "expected 3 (the rows of features)",
        "found 2 labels",
    ];
    refusal(
        Features::open(&features(&folder, &good, &array![0, 1])),
        &parts,
    );
}

#[test]
fn features_of_wrong_names_and_types() {
    let folder = tempdir().unwrap();
    let (floats, whole) = (array![[1.0f32, 2.0]], array![0i64]);
    let path = npz(&folder, "embeddings", &floats, "labels", &whole);
    refusal(
        Features::open(&path),
        &[
            "an array named features",
            "found embeddings, labels",
            "store it",
        ],
    );
    let path = npz(&folder, "features", &array![[1i64, 2]], "labels", &whole);
    refusal(
        Features::open(&path),
        &[
            "array features",
            "expected float32",
            "found integers",
            "astype",
        ],
    );
    let path = npz(&folder, "features", &floats, "labels", &array![0.0f64]);
    refusal(
        Features::open(&path),
        &[
            "array labels",
            "expected integers",
            "found floating-point",
            "astype",
        ],
    );
    let path = npz(
        &folder,
        "labels",
        &array![[0i64]],
        "features",
        &array![1.0f32],
    );
    refusal(
        Features::open(&path),
        &["array features", "expected shape [n, d]", "found shape [1]"],
    );
    let bare = folder.path().join("bare");
    fs::create_dir(&bare).unwrap();
    ndarray_npy::write_npy(bare.join("features.npy"), &floats).unwrap();
    refusal(
        Features::open(&bare),
        &["bare", "an array named labels", "found features"],
    );
    cut(&bare.join("features.npy"), 130);
    refusal(
        Features::open(&bare),
        &["bare", "array features", "expected a whole array"],
    );
}

#[test]
fn truncated_npz_and_safetensors() {
    let folder = tempdir().unwrap();
    let path = npz(
        &folder,
        "features",
        &array![[1.0f32, 2.0]],
        "labels",
        &array![0i64],
    );
    half(&path);
    refusal(
        Features::open(&path),
        &[
            "set.npz",
            "expected a whole .npz archive",
            "write the file again",
        ],
    );
    let path = folder.path().join("set.safetensors");
    let header = r#"{"features":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&[0; 8]);
    for keep in [bytes.len() - 1, 20, 3, 0] {
        fs::write(&path, &bytes[..keep]).unwrap();
        refusal(
            Features::open(&path),
            &[
                "set.safetensors",
                "header",
                "expected a whole safetensors file",
                "fetch or",
            ],
        );
    }
    fs::write(&path, &bytes).unwrap();
    refusal(
        Features::open(&path),
        &["set.safetensors", "an array named labels", "found features"],
    );
}

/// An array whose header says this, above `numbers` bytes.
fn npy(descr: &str, shape: &str, numbers: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&118_u16.to_le_bytes());
    bytes.extend_from_slice(format!("{header:<117}\n").as_bytes());
    bytes.resize(bytes.len() + numbers, 0);
    bytes
}

#[test]
fn a_header_that_claims_more_than_there_is() {
    let folder = tempdir().unwrap();
    let set = folder.path().join("set");
    fs::create_dir(&set).unwrap();
    ndarray_npy::write_npy(set.join("labels.npy"), &array![0i64, 1]).unwrap();
    let archive = folder.path().join("set.npz");
    for descr in ["<f4", ">f4", "<f8", "<f2", "<i8", "|b1", "|S3"] {
        for shape in [
            "(400000000, 200)",
            "(0, 4611686018427387904, 4)",
            "(9223372036854775807, 2)",
        ] {
            let bytes = npy(descr, shape, 64);
            fs::write(set.join("features.npy"), &bytes).unwrap();
            let expected = if descr == "|S3" {
                "convert it to"
            } else {
                "write the file again with numpy.save"
            };
            for resident in [None, Some(100)] {
                refusal(
                    Features::open_within(&set, resident),
                    &["features", expected],
                );
            }
            for compression in [CompressionMethod::Stored, CompressionMethod::Deflated] {
                let mut zip = ZipWriter::new(File::create(&archive).unwrap());
                let options = SimpleFileOptions::default().compression_method(compression);
                zip.start_file("features.npy", options).unwrap();
                zip.write_all(&bytes).unwrap();
                zip.start_file("labels.npy", options).unwrap();
                zip.write_all(&npy("<i8", "(2,)", 16)).unwrap();
                zip.finish().unwrap();
                refusal(
                    Features::open(&archive),
                    &["set.npz: array features", expected],
                );
            }
        }
    }
}

#[test]
fn no_damage_to_an_array_or_archive_ends_the_process() {
    let folder = tempdir().unwrap();
    let [file, archive] = ["set/features.npy", "set.npz"].map(|name| folder.path().join(name));
    fs::create_dir(folder.path().join("set")).unwrap();
    ndarray_npy::write_npy(folder.path().join("set/labels.npy"), &array![0i64, 1]).unwrap();
    ndarray_npy::write_npy(&file, &array![[1.0f32, 2.0], [3.0, 4.0]]).unwrap();
    let path = features(&folder, &array![[1.0, 2.0], [3.0, 4.0]], &array![0, 1]);
    assert_eq!(path, archive);
    for (path, opened) in [
        (&file, folder.path().join("set")),
        (&archive, archive.clone()),
    ] {
        let whole = fs::read(path).unwrap();
        // A new file each time: some systems write an old one that is cut short and filled again to the disk at once.
        let write = |bytes: &[u8]| {
            fs::remove_file(path).unwrap();
            fs::write(path, bytes).unwrap();
        };
        for at in 0..whole.len() {
            for value in [0, 0x39, 0x7f, 0xff, whole[at] ^ 1, whole[at] ^ 0x80] {
                let mut damaged = whole.clone();
                damaged[at] = value;
                write(&damaged);
                let _ = Features::open(&opened);
                let _ = Features::open_within(&opened, Some(0));
            }
            write(&whole[..at]);
            assert!(
                Features::open(&opened).is_err(),
                "{}: {at} bytes",
                path.display()
            );
        }
        write(&whole);
        Features::open(&opened).unwrap();
    }
}

#[test]
fn heads_of_wrong_shape() {
    let folder = tempdir().unwrap();
    let set = Features::open(&features(
        &folder,
        &array![[1.0, 2.0], [3.0, 4.0]],
        &array![0, 2],
    ))
    .unwrap();
    let head_folder = tempdir().unwrap();
    let head = |weight: Array2<f32>, bias: Array1<f32>| {
        npz(&head_folder, "weight", &weight, "bias", &bias)
    };
    HeadFile::open(&head(Array2::ones((3, 2)), Array1::ones(3)))
        .unwrap()
        .check_against(&set)
        .unwrap();
    let parts = [
        "array bias",
        "expected shape [3] (the rows of weight)",
        "found shape [2]",
        "same layer",
    ];
    refusal(
        HeadFile::open(&head(Array2::ones((3, 2)), Array1::ones(2))),
        &parts,
    );
    let bad = HeadFile::open(&head(Array2::ones((3, 5)), Array1::ones(3)))
        .unwrap()
        .check_against(&set);
    refusal(
        bad,
        &[
            "array weight",
            "expected 2 columns",
            "found 5",
            "belongs to these features",
        ],
    );
    let bad = HeadFile::open(&head(Array2::ones((2, 2)), Array1::ones(2)))
        .unwrap()
        .check_against(&set);
    refusal(
        bad,
        &["set.npz", "row 1", "expected a label below 2", "found 2"],
    );
    refusal(
        HeadFile::open(&head(Array2::ones((3, 2)), array![0.0, f32::NAN, 0.0])),
        &["array bias", "not a finite", "row 1"],
    );
}

/// Arrays of zeros, by name, type, shape and bytes, and one entry of metadata.
fn with_metadata(
    path: &Path,
    arrays: [(&str, Dtype, &[usize], usize); 2],
    (key, text): (&str, &str),
) {
    let zeros = [0; 64];
    let arrays = arrays.map(|(name, kind, shape, bytes)| {
        let array = TensorView::new(kind, shape.to_vec(), &zeros[..bytes]).unwrap();
        (name, array)
    });
    let metadata = HashMap::from([(key.to_owned(), text.to_owned())]);
    serialize_to_file(arrays, Some(metadata), path).unwrap();
}

/// A head of two features.
fn head_with(folder: &TempDir, classes: usize, metadata: (&str, &str)) -> PathBuf {
    let path = folder.path().join("head.safetensors");
    let arrays = [
        ("weight", Dtype::F32, &[classes, 2][..], 8 * classes),
        ("bias", Dtype::F32, &[classes], 4 * classes),
    ];
    with_metadata(&path, arrays, metadata);
    path
}

#[test]
fn heads_whose_l2_is_none() {
    let folder = tempdir().unwrap();
    for (text, expected) in [("0", 0.0), ("1e-3", 1e-3), ("0.5", 0.5)] {
        let head = HeadFile::open(&head_with(&folder, 3, ("l2", text))).unwrap();
        assert_eq!(head.l2, Some(expected));
    }
    let other = HeadFile::open(&head_with(&folder, 3, ("epochs", "-1"))).unwrap();
    assert_eq!(other.l2, None);
    for text in ["-1e-3", "NaN", "inf", "little", ""] {
        let parts = [
            "head.safetensors: metadata l2: expected a number of 0 or more",
            &format!("found {text:?}"),
            "write it as in 1e-3",
        ];
        refusal(HeadFile::open(&head_with(&folder, 3, ("l2", text))), &parts);
    }
}

#[test]
fn heads_of_more_or_fewer_classes_than_have_names() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("set.safetensors");
    let arrays = [
        ("features", Dtype::F32, &[2, 2][..], 16),
        ("labels", Dtype::U8, &[2], 2),
    ];
    let names = ("classes", r#"["cat", "dog", "frog"]"#);
    with_metadata(&path, arrays, names);
    let set = Features::open(&path).unwrap();
    let against = |classes: usize| {
        let head = HeadFile::open(&head_with(&folder, classes, ("l2", "0"))).unwrap();
        head.check_against(&set)
    };
    against(3).unwrap();
    for classes in [2, 4] {
        let parts = [
            "head.safetensors: array weight: expected 3 rows (the classes of ",
            &format!("found {classes}"),
            "belongs to these features",
        ];
        refusal(against(classes), &parts);
    }
}

#[test]
fn arrays_with_more_bytes_than_their_headers_say() {
    let folder = tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    ndarray_npy::write_npy(file("features.npy"), &array![[1.0f32, 2.0]]).unwrap();
    ndarray_npy::write_npy(file("labels.npy"), &array![0i64]).unwrap();
    Features::open(folder.path()).unwrap();
    for name in ["features", "labels"] {
        let path = file(&format!("{name}.npy"));
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        let parts = [
            "expected a whole array, found more bytes than its header says",
            &format!("array {name}: "),
            "write the file again with numpy.save",
        ];
        refusal(Features::open(folder.path()), &parts);
        fs::write(&path, whole).unwrap();
    }
}
