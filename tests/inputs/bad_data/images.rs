//! Sets of images: Parquet, class folders, IDX.

use super::{cut, half};
use crate::inputs::refusal;
use arrow::array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Schema};
use ascribe::data::{Dataset, Pixels, check_same_classes, digits_train};
use flate2::{Compression, write::GzEncoder};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ImageFormat, RgbImage};
use parquet::arrow::ArrowWriter;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::{TempDir, tempdir};

fn picture(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let image = RgbImage::from_fn(16, 16, |x, y| image::Rgb([x as u8 * 16, y as u8 * 16, 99]));
    let written = match format {
        ImageFormat::Jpeg => image.write_with_encoder(JpegEncoder::new(&mut bytes)),
        _ => image.write_with_encoder(PngEncoder::new(&mut bytes)),
    };
    written.unwrap();
    bytes
}

fn write_parquet(path: &Path, images: &[Vec<u8>], labels: &[i64], classes: &[&str]) {
    let bytes: ArrayRef = Arc::new(BinaryArray::from_iter_values(images));
    let fields = vec![Field::new("bytes", DataType::Binary, true)];
    let images: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![bytes], None));
    let labels: ArrayRef = Arc::new(Int64Array::from(labels.to_vec()));
    let names = serde_json::json!({"info": {"features": {"label": {"_type": "ClassLabel", "names": classes}}}});
    let fields = vec![
        Field::new("image", images.data_type().clone(), true),
        Field::new("label", DataType::Int64, true),
    ];
    let schema = Schema::new_with_metadata(
        fields,
        HashMap::from([("huggingface".to_string(), names.to_string())]),
    );
    let batch = RecordBatch::try_new(Arc::new(schema), vec![images, labels]).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn parquet_set(folder: &TempDir, name: &str, labels: &[i64], classes: &[&str]) -> PathBuf {
    let path = folder.path().join(name);
    write_parquet(
        &path,
        &vec![picture(ImageFormat::Png); labels.len()],
        labels,
        classes,
    );
    path
}

#[test]
fn missing_file() {
    let parts = ["nowhere.parquet", "cannot read", "check the path"];
    refusal(Dataset::open(Path::new("nowhere.parquet")), &parts);
}

#[test]
fn unknown_format() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("images.tar");
    fs::write(&path, "x").unwrap();
    refusal(
        Dataset::open(&path),
        &[
            "images.tar",
            "not supported",
            ".parquet",
            "class folders",
            "IDX",
        ],
    );
    fs::remove_file(&path).unwrap();
    refusal(
        Dataset::open(folder.path()),
        &["expected class folders", "found neither", "check the path"],
    );
}

#[test]
fn truncated_parquet() {
    let folder = tempdir().unwrap();
    let path = parquet_set(&folder, "train.parquet", &[0, 1], &["cat", "dog"]);
    half(&path);
    refusal(
        Dataset::open(&path),
        &[
            "train.parquet",
            "footer",
            "expected readable Parquet",
            "fetch or write",
        ],
    );
    cut(&path, 0);
    refusal(Dataset::open(&path), &["train.parquet", "footer"]);
}

/// The footer is whole, a data page is not: found out while reading rows.
#[test]
fn damaged_parquet_pages() {
    let folder = tempdir().unwrap();
    let path = parquet_set(&folder, "train.parquet", &[0, 1], &["cat", "dog"]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[4..24].fill(0xff);
    fs::write(&path, bytes).unwrap();
    refusal(
        Dataset::open(&path),
        &[
            "train.parquet",
            "rows from 0 on",
            "expected readable Parquet",
        ],
    );
}

#[test]
fn no_damage_to_a_parquet_file_ends_the_process() {
    let folder = tempdir().unwrap();
    let path = parquet_set(&folder, "train.parquet", &[0, 1, 0], &["cat", "dog"]);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        for value in [0, whole[at] ^ 1, whole[at] ^ 2, whole[at] ^ 4, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            fs::remove_file(&path).unwrap();
            fs::write(&path, damaged).unwrap();
            let _ = Dataset::open(&path);
        }
    }
}

#[test]
fn labels_without_a_class() {
    let folder = tempdir().unwrap();
    let path = parquet_set(&folder, "train.parquet", &[0, 1, 2], &["cat", "dog"]);
    refusal(
        Dataset::open(&path),
        &[
            "train.parquet",
            "row 2",
            "expected a label from 0 to 1",
            "found 2",
        ],
    );
    let path = parquet_set(&folder, "test.parquet", &[0, -1], &["cat", "dog"]);
    refusal(
        Dataset::open(&path),
        &["test.parquet", "row 1", "found -1", "without a label"],
    );
    let path = parquet_set(&folder, "unnamed.parquet", &[0, 1 << 40], &[]);
    refusal(
        Dataset::open(&path),
        &["unnamed.parquet", "row 1", "found 1099511627776"],
    );
}

#[test]
fn empty_set() {
    let folder = tempdir().unwrap();
    let path = parquet_set(&folder, "train.parquet", &[], &["cat", "dog"]);
    refusal(
        Dataset::open(&path),
        &["train.parquet", "expected at least one image", "found none"],
    );
    fs::remove_file(path).unwrap();
    fs::create_dir(folder.path().join("cat")).unwrap();
    refusal(
        Dataset::open(folder.path()),
        &[
            "cat",
            "expected images (JPEG, PNG, WebP",
            "found none",
            "remove the folder",
        ],
    );
}

#[test]
fn parts_of_a_split_are_one_set() {
    let folder = tempdir().unwrap();
    let names = ["cat", "dog"];
    parquet_set(&folder, "train-00000-of-00002.parquet", &[0, 1, 1], &names);
    let pattern = folder.path().join("train-*.parquet");
    refusal(
        Dataset::open(&pattern),
        &["train-*.parquet", "the 2 parts of train", "found 1"],
    );
    parquet_set(&folder, "train-00001-of-00002.parquet", &[1, 0], &names);
    let [by_pattern, by_folder] =
        [&pattern, &folder.path().to_path_buf()].map(|path| Dataset::open(path).unwrap());
    assert_eq!(by_pattern.labels(), [0, 1, 1, 1, 0]);
    assert_eq!(by_pattern.digest(), by_folder.digest());
    assert!(by_pattern.get(4).is_ok());
    let whole = parquet_set(&folder, "whole.parquet", &[0, 1, 1, 1, 0], &names);
    assert_eq!(Dataset::open(&whole).unwrap().digest(), by_pattern.digest());
    let other = ["cat", "cow"];
    let second = parquet_set(&folder, "train-00001-of-00002.parquet", &[1, 0], &other);
    refusal(
        Dataset::open(&pattern),
        &[
            "train-00001",
            "2 classes: cat, dog",
            "cat, cow",
            "one split",
        ],
    );
    half(&second);
    refusal(Dataset::open(&pattern), &["train-00001", "Parquet"]);
}

/// Every command that reads the data of an earlier run finds them by the pattern again, also from elsewhere.
#[test]
fn a_run_on_a_split_in_several_files_is_read_again() {
    let folder = tempdir().unwrap();
    let names = ["cat", "dog"];
    for part in [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "test-00000-of-00001",
    ] {
        parquet_set(&folder, &format!("{part}.parquet"), &[0, 1, 0, 1], &names);
    }
    let elsewhere = tempdir().unwrap();
    let run = |directory: &TempDir, words: &str| {
        let mut command = assert_cmd::Command::cargo_bin("ascribe").unwrap();
        let words = words.split_whitespace();
        command.current_dir(directory.path()).args(words).assert()
    };
    let transfer = "transfer --source builtin:natural --train train-*.parquet --test test-*.parquet --blocks 0 --epochs 1 --out model";
    run(&folder, transfer).success();
    run(
        &folder,
        "rank --model model --damping 1e-2 --scores --out run",
    )
    .success();
    let audit = format!("audit {} --out audit", folder.path().join("run").display());
    run(&elsewhere, &audit).success();
    fs::remove_file(folder.path().join("train-00001-of-00002.parquet")).unwrap();
    let refused = run(&folder, "rank --model model --damping 1e-2 --out other").code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("the 2 parts of train, found 1"), "{said}");
}

#[test]
fn what_stands_in_for_a_file_is_named() {
    let folder = tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
    for name in [
        "train.parquet",
        "train-images-idx3-ubyte",
        "data_batch_1.bin",
    ] {
        let path = folder.path().join(name);
        fs::write(&path, pointer).unwrap();
        fs::write(folder.path().join("train-labels-idx1-ubyte"), pointer).unwrap();
        refusal(Dataset::open(&path), &[name, "a Git LFS pointer"]);
    }
    for name in ["features.npz", "features.safetensors"] {
        let path = folder.path().join(name);
        fs::write(&path, "<!DOCTYPE html><html></html>").unwrap();
        refusal(ascribe::data::Features::open(&path), &[name, "a web page"]);
    }
    for name in ["model.safetensors", "model.pt"] {
        let path = folder.path().join(name);
        fs::write(&path, pointer).unwrap();
        let opened = ascribe::model::open_source(&path, Default::default());
        refusal(opened, &[name, "a Git LFS pointer"]);
    }
}

#[test]
fn picture_that_does_not_decode_in_parquet() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("train.parquet");
    let mut images = vec![picture(ImageFormat::Jpeg); 30];
    images[17].truncate(200);
    images[23] = b"not a picture".to_vec();
    write_parquet(&path, &images, &[0; 30], &["cat"]);
    let set = Dataset::open(&path).unwrap();
    let parts = [
        "train.parquet",
        "row 17",
        "expected an image (JPEG, PNG",
        "breaks off after 200 bytes",
        "replace or remove",
    ];
    refusal(set.get(17), &parts);
    let (images, faults) = ascribe::data::faults(&path, &|_, _| {}).unwrap();
    assert_eq!((images, faults.len()), (30, 2));
    assert!(faults[1].to_string().contains("row 23"), "{}", faults[1]);
    // Of several the first is named, whatever the number of threads.
    let all: Vec<usize> = (0..30).collect();
    refusal(Pixels::decode(&set, &all, 16), &parts);
    refusal(
        Pixels::decode(&set, &all[18..], 16),
        &["row 23", "found none (it starts"],
    );
    refusal(
        set.get(30),
        &["train.parquet", "example id", "at most 29", "found 30"],
    );
    let parts = ["train.parquet", "example id", "at most 29", "found 30"];
    refusal(Pixels::decode(&set, &[0, 30], 16), &parts);
    refusal(Pixels::on_demand(&set, &[30], 16), &parts);
    refusal(
        Pixels::decode(&set, &all[..2], (0, 16)),
        &["image size", "0 x 16"],
    );
}

/// A part of a PNG, with its checksum.
fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let named = [&name[..], content].concat();
    let mut checksum = flate2::Crc::new();
    checksum.update(&named);
    let length = content.len() as u32;
    [
        &length.to_be_bytes()[..],
        &named,
        &checksum.sum().to_be_bytes(),
    ]
    .concat()
}

#[test]
fn a_palette_that_breaks_off_within_a_colour_is_no_panic() {
    let place = tempdir().unwrap();
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&[0, 0]).unwrap();
    // One pixel, of eight bits that stand for a colour.
    let size = [0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0];
    let parts = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &size),
        chunk(b"PLTE", &[255, 0]),
        chunk(b"IDAT", &packed.finish().unwrap()),
        chunk(b"IEND", b""),
    ];
    let folder = place.path().join("set");
    fs::create_dir_all(folder.join("cat")).unwrap();
    fs::write(folder.join("cat/1.png"), parts.concat()).unwrap();
    let output = assert_cmd::Command::cargo_bin("ascribe")
        .unwrap()
        .args(["inspect", "--check"])
        .arg(&folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let [said, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    assert!(
        said.contains("1.png") && !error.contains("panicked"),
        "{said}{error}"
    );
}

#[test]
fn pictures_in_class_folders() {
    let folder = tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        fs::write(
            folder.path().join(class).join("1.jpg"),
            picture(ImageFormat::Jpeg),
        )
        .unwrap();
    }
    half(&folder.path().join("dog/1.jpg"));
    let set = Dataset::open(folder.path()).unwrap();
    assert!(set.get(0).is_ok());
    refusal(
        set.get(1),
        &[
            ": dog/1.jpg: expected an image (JPEG, PNG, WebP, GIF, BMP or PNM) that decodes",
            "breaks off",
        ],
    );
    fs::write(folder.path().join("dog/notes.txt"), "x").unwrap();
    refusal(
        Dataset::open(folder.path()),
        &["dog", "found notes.txt", "convert or remove it"],
    );
    // All at once.
    fs::write(folder.path().join("cat/readme.md"), "x").unwrap();
    fs::create_dir(folder.path().join("eel")).unwrap();
    refusal(
        Dataset::open(folder.path()),
        &["cat", "found readme.md", "2 more", "--check"],
    );
    listed(
        folder.path(),
        &["readme.md", "notes.txt", "eel: expected", "dog/1.jpg"],
    );
    let outer = tempdir().unwrap();
    fs::create_dir_all(outer.path().join("train/cat")).unwrap();
    refusal(
        Dataset::open(outer.path()),
        &[
            "train",
            "found the folder cat",
            "directly holds the class folders",
        ],
    );
}

/// The command that is recommended where an image does not decode lists it, whether the images have labels or not.
#[test]
fn images_without_labels_are_gone_through_as_others_are() {
    let place = tempdir().unwrap();
    let folder = place.path().join("new");
    fs::create_dir(&folder).unwrap();
    let pictures = [picture(ImageFormat::Png), b"x".to_vec()];
    for (name, bytes) in ["1.png", "2.png"].iter().zip(&pictures) {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let file = place.path().join("new.parquet");
    write_parquet(&file, &pictures, &[-1, -1], &["cat"]);
    for (path, image) in [(&folder, "2.png"), (&file, "row 1")] {
        let set = Dataset::open_unlabelled(path, &["cat".to_owned()]).unwrap();
        refusal(set.get(1), &[image, "--check lists all such"]);
    }
    fs::write(folder.join("notes.pdf"), "x").unwrap();
    let alone = "found images alone; put them into class folders; test images without labels are";
    listed(&folder, &[alone, "found notes.pdf; convert", ": 2.png: "]);
    let none =
        "labels: expected a label from 0 to 0, found none (-1 or null of each image); test images";
    listed(&file, &["row 1: expected an image", none]);
}

#[test]
fn weights_beside_class_folders_do_not_make_a_model_of_them() {
    let folder = tempdir().unwrap();
    for class in ["cat", "dog"] {
        let class = folder.path().join(class);
        fs::create_dir(&class).unwrap();
        for name in ["1.png", "2.png"] {
            fs::write(class.join(name), picture(ImageFormat::Png)).unwrap();
        }
    }
    fs::write(folder.path().join("x.pt"), "x").unwrap();
    let inspect = || {
        let mut command = assert_cmd::Command::cargo_bin("ascribe").unwrap();
        let output = command.arg("inspect").arg(folder.path()).output().unwrap();
        [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap())
    };
    let [said, error] = inspect();
    for part in ["(folder of class folders)", "2; 2 examples each"] {
        assert!(said.contains(part), "{said}{error}");
    }
    fs::write(folder.path().join("dog/2.png"), "x").unwrap();
    let [_, error] = inspect();
    assert!(error.contains("dog/2.png: expected"), "{error}");
    assert!(error.contains("--check lists all such"), "{error}");
}

/// What `inspect --check` says of two images, fault by fault.
fn listed(folder: &Path, named: &[&str]) {
    let output = assert_cmd::Command::cargo_bin("ascribe")
        .unwrap()
        .args(["inspect", "--check", "--json"])
        .arg(folder)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["images"], 2);
    let faults = found["faults"].as_array().unwrap();
    assert_eq!(faults.len(), named.len(), "{faults:?}");
    for (fault, part) in faults.iter().zip(named) {
        assert!(fault.as_str().unwrap().contains(part), "{fault}");
    }
}

/// macOS has no such names.
#[cfg(all(unix, not(target_os = "macos")))]
#[test]
fn names_that_are_no_text_are_listed_with_what_else_cannot_be_used() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempdir().unwrap();
    let cat = folder.path().join("cat");
    fs::create_dir(&cat).unwrap();
    fs::create_dir(folder.path().join(OsStr::from_bytes(b"caf\xe9"))).unwrap();
    for name in [&b"1.png"[..], b"2\xff.png"] {
        let file = cat.join(OsStr::from_bytes(name));
        fs::write(file, picture(ImageFormat::Png)).unwrap();
    }
    fs::write(cat.join("3.png"), "x").unwrap();
    let name = folder.path().to_str().unwrap();
    let class = "folder: expected names in UTF-8, found caf\u{fffd}; rename it";
    refusal(
        Dataset::open(folder.path()),
        &[name, class, "1 more", "--check"],
    );
    listed(
        folder.path(),
        &[class, "found 2\u{fffd}.png; rename it", "cat/3.png"],
    );
}

fn idx(folder: &TempDir, images: &[u8], labels: &[u8]) -> PathBuf {
    fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    let path = folder.path().join("train-images-idx3-ubyte");
    fs::write(&path, images).unwrap();
    path
}

const IMAGES: [u8; 20] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4];
const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 1, 0];

#[test]
fn idx_files() {
    let folder = tempdir().unwrap();
    assert_eq!(
        Dataset::open(&idx(&folder, &IMAGES, &LABELS))
            .unwrap()
            .len(),
        2
    );
    let images = "train-images-idx3-ubyte";
    let parts = [
        images,
        "after byte 16",
        "expected data for the sizes [2, 1, 2]",
        "found 3 bytes",
        "fetch or write",
    ];
    refusal(Dataset::open(&idx(&folder, &IMAGES[..19], &LABELS)), &parts);
    refusal(
        Dataset::open(&idx(&folder, &IMAGES[..9], &LABELS)),
        &[images, "header", "found 9 bytes"],
    );
    refusal(
        Dataset::open(&idx(&folder, &LABELS, &LABELS)),
        &[images, "header", "08, 01"],
    );
    let parts = [
        "train-labels-idx1-ubyte",
        "expected 2 (the images)",
        "found 1",
        "belong together",
    ];
    refusal(
        Dataset::open(&idx(&folder, &IMAGES, &[0, 0, 8, 1, 0, 0, 0, 1, 1])),
        &parts,
    );
    let labels = folder.path().join("train-labels-idx1-ubyte");
    refusal(
        Dataset::open(&labels),
        &["expected the images", "found the labels", "beside it"],
    );
    fs::remove_file(labels).unwrap();
    let path = folder.path().join(images);
    refusal(
        Dataset::open(&path),
        &[
            images,
            "train-labels-idx1-ubyte",
            "no such file",
            "into one folder",
        ],
    );
}

#[test]
fn truncated_gzip() {
    let folder = tempdir().unwrap();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&IMAGES).unwrap();
    let packed = encoder.finish().unwrap();
    let path = idx(&folder, &packed, &LABELS);
    assert_eq!(Dataset::open(&path).unwrap().len(), 2);
    cut(&path, packed.len() - 6);
    refusal(
        Dataset::open(&path),
        &[
            "train-images-idx3-ubyte",
            "expected whole gzip data",
            "fetch the file again",
        ],
    );
}

#[test]
fn train_and_test_of_different_classes() {
    let folder = tempdir().unwrap();
    let open = |name, labels: &[i64], classes: &[&str]| {
        Dataset::open(&parquet_set(&folder, name, labels, classes)).unwrap()
    };
    let train = open("train.parquet", &[0, 1], &["cat", "dog"]);
    check_same_classes(&train, &open("same.parquet", &[1], &["cat", "dog"])).unwrap();
    let parts = [
        "test.parquet: classes",
        "train.parquet",
        "without dog and with frog",
        "; give train and test",
    ];
    refusal(
        check_same_classes(&train, &open("test.parquet", &[0], &["cat", "frog"])),
        &parts,
    );
    let parts = ["in another order", "class 0 is dog instead of cat"];
    refusal(
        check_same_classes(&train, &open("test.parquet", &[0], &["dog", "cat"])),
        &parts,
    );
    refusal(
        check_same_classes(&train, &digits_train().unwrap()),
        &[
            "builtin:digits-train: classes",
            "found 10 classes",
            "5 more",
        ],
    );
    // Without names, a test set may lack the last classes, but not have more.
    let (more, fewer) = (
        open("three.parquet", &[0, 2], &[]),
        open("two.parquet", &[1], &[]),
    );
    check_same_classes(&more, &fewer).unwrap();
    refusal(
        check_same_classes(&fewer, &more),
        &["three.parquet", "two.parquet", "with 2"],
    );
}
