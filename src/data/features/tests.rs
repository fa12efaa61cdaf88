use super::*;
use crate::data::HeadFile;
use ::safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use candle_core::DType;
use ndarray::{Array1, Array2, ShapeBuilder, array};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt, write_npy};
use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use tempfile::{TempDir, tempdir};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn features() -> Array2<f32> {
    array![[1.0, 2.0, 3.0], [4.0, 5.0, -6.5]]
}

fn npz<T: WritableElement>(
    folder: &TempDir,
    features: &Array2<f32>,
    labels: &Array1<T>,
) -> PathBuf {
    let path = folder.path().join("set.npz");
    let mut writer = NpzWriter::new_compressed(File::create(&path).unwrap());
    writer.add_array("features", features).unwrap();
    writer.add_array("labels", labels).unwrap();
    writer.finish().unwrap();
    path
}

fn safetensors(folder: &TempDir, metadata: Option<HashMap<String, String>>) -> PathBuf {
    let path = folder.path().join("set.safetensors");
    let values: Vec<u8> = features()
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let labels: Vec<u8> = [1i32, 0]
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let tensors = [
        (
            "features",
            TensorView::new(Dtype::F32, vec![2, 3], &values).unwrap(),
        ),
        (
            "labels",
            TensorView::new(Dtype::I32, vec![2], &labels).unwrap(),
        ),
    ];
    serialize_to_file(tensors, metadata, &path).unwrap();
    path
}

/// All of these numbers are ones of either half precision.
#[test]
fn halves_become_single_precision() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("set.safetensors");
    let values = features();
    let f16: Vec<u8> = (values.iter())
        .flat_map(|&value| half::f16::from_f32(value).to_le_bytes())
        .collect();
    let bf16: Vec<u8> = (values.iter())
        .flat_map(|&value| half::bf16::from_f32(value).to_le_bytes())
        .collect();
    for (dtype, bytes) in [(Dtype::F16, &f16), (Dtype::BF16, &bf16)] {
        let tensors = [
            (
                "features",
                TensorView::new(dtype, vec![2, 3], bytes).unwrap(),
            ),
            (
                "labels",
                TensorView::new(Dtype::U8, vec![2], &[1, 0]).unwrap(),
            ),
        ];
        serialize_to_file(tensors, None, &path).unwrap();
        let read = Features::open(&path).unwrap().values.all().unwrap();
        assert_eq!(read.dtype(), DType::F32);
        assert_eq!(
            read.to_vec2::<f32>().unwrap(),
            [[1.0, 2.0, 3.0], [4.0, 5.0, -6.5]]
        );
    }
}

#[test]
fn every_container_gives_the_same_set() {
    let folder = tempdir().unwrap();
    let from_npz = Features::open(&npz(&folder, &features(), &array![1i64, 0])).unwrap();
    assert_eq!(
        from_npz.values.all().unwrap().to_vec2::<f32>().unwrap(),
        [[1.0, 2.0, 3.0], [4.0, 5.0, -6.5]]
    );
    assert_eq!(
        (from_npz.len(), from_npz.dimension(), from_npz.class_count()),
        (2, 3, 2)
    );
    assert_eq!(from_npz.labels, [1, 0]);
    let from_safetensors = Features::open(&safetensors(&folder, None)).unwrap();
    assert_eq!(from_npz.digest, from_safetensors.digest);
    features()
        .write_npy(File::create(folder.path().join("features.npy")).unwrap())
        .unwrap();
    array![1u8, 0]
        .write_npy(File::create(folder.path().join("labels.npy")).unwrap())
        .unwrap();
    assert_eq!(
        from_npz.digest,
        Features::open(folder.path()).unwrap().digest
    );
    assert!(Features::recognises(folder.path()) && !Features::recognises(Path::new("set.parquet")));
}

#[test]
fn fortran_order_reads_as_well() {
    let folder = tempdir().unwrap();
    let columns_first =
        Array2::from_shape_vec((2, 3).f(), vec![1.0, 4.0, 2.0, 5.0, 3.0, -6.5]).unwrap();
    assert_eq!(columns_first, features());
    let set = Features::open(&npz(&folder, &columns_first, &array![1u16, 0])).unwrap();
    assert_eq!(
        set.values.all().unwrap().to_vec2::<f32>().unwrap(),
        [[1.0, 2.0, 3.0], [4.0, 5.0, -6.5]]
    );
}

#[test]
fn every_integer_type_serves_as_label() {
    fn labels<T: WritableElement>(labels: Array1<T>) -> Vec<usize> {
        let folder = tempdir().unwrap();
        Features::open(&npz(&folder, &features(), &labels))
            .unwrap()
            .labels
    }
    assert_eq!(labels(array![1i8, 0]), [1, 0]);
    assert_eq!(labels(array![1i16, 0]), [1, 0]);
    assert_eq!(labels(array![1i32, 0]), [1, 0]);
    assert_eq!(labels(array![1u32, 0]), [1, 0]);
    assert_eq!(labels(array![1u64, 0]), [1, 0]);
    assert_eq!(labels(array![true, false]), [1, 0]);
}

#[test]
fn class_names_come_from_the_metadata() {
    let folder = tempdir().unwrap();
    let metadata = |text: &str| Some(HashMap::from([("classes".into(), text.into())]));
    let set = Features::open(&safetensors(&folder, metadata(r#"["cat", "dog", "frog"]"#))).unwrap();
    assert_eq!(
        (set.class_count(), set.classes.unwrap()[2].as_str()),
        (3, "frog")
    );
    let message = Features::open(&safetensors(&folder, metadata("cat")))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("metadata classes: expected a JSON list"),
        "{message}"
    );
    let message = Features::open(&safetensors(&folder, metadata(r#"["cat"]"#)))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("row 0: expected a label from 0 to 0, found 1"),
        "{message}"
    );
}

/// A folder whose features are those of [`features`], as bytes of that type.
fn folder_of(descr: &str, column_major: bool, encode: impl Fn(f32) -> Vec<u8>) -> TempDir {
    let folder = tempdir().unwrap();
    let order = if column_major { "True" } else { "False" };
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    let values = match column_major {
        true => {
            features()
                .t()
                .as_standard_layout()
                .into_owned()
                .into_raw_vec_and_offset()
                .0
        }
        false => features().into_raw_vec_and_offset().0,
    };
    bytes.extend(values.into_iter().flat_map(encode));
    std::fs::write(folder.path().join("features.npy"), bytes).unwrap();
    write_npy(folder.path().join("labels.npy"), &array![1i64, 0]).unwrap();
    folder
}

#[test]
fn every_type_and_order_of_numpy_is_read_alike() {
    let expected: Vec<Vec<f64>> = (features().rows().into_iter())
        .map(|row| row.iter().map(|&value| f64::from(value)).collect())
        .collect();
    for column_major in [false, true] {
        let folders = [
            folder_of("<f4", column_major, |value| value.to_le_bytes().to_vec()),
            folder_of(">f4", column_major, |value| value.to_be_bytes().to_vec()),
            folder_of("<f8", column_major, |value| {
                f64::from(value).to_le_bytes().to_vec()
            }),
            folder_of(">f8", column_major, |value| {
                f64::from(value).to_be_bytes().to_vec()
            }),
            folder_of("<f2", column_major, |value| {
                half::f16::from_f32(value).to_le_bytes().to_vec()
            }),
            folder_of(">f2", column_major, |value| {
                half::f16::from_f32(value).to_be_bytes().to_vec()
            }),
        ];
        for (folder, resident) in folders
            .iter()
            .flat_map(|folder| [(folder, None), (folder, Some(0))])
        {
            let read = Features::open_within(folder.path(), resident).unwrap();
            let values = read
                .values
                .chunk(0..2)
                .unwrap()
                .to_dtype(DType::F64)
                .unwrap();
            assert_eq!(values.to_vec2::<f64>().unwrap(), expected);
        }
    }
}

#[test]
fn a_head_takes_the_higher_precision() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("head.npz");
    let mut writer = NpzWriter::new(File::create(&path).unwrap());
    writer
        .add_array("weight", &Array2::<f32>::ones((4, 3)))
        .unwrap();
    writer.add_array("bias", &Array1::<f64>::ones(4)).unwrap();
    writer.finish().unwrap();
    let head = HeadFile::open(&path).unwrap();
    assert_eq!((head.class_count(), head.dimension()), (4, 3));
    assert_eq!(
        (head.weight.dtype(), head.bias.dtype()),
        (DType::F64, DType::F64)
    );
    head.check_against(&Features::open(&npz(&folder, &features(), &array![3i64, 0])).unwrap())
        .unwrap();
}

#[test]
fn features_alone_need_no_labels_and_take_no_notice_of_wrong_ones() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("alone.npz");
    let mut writer = NpzWriter::new(File::create(&path).unwrap());
    writer.add_array("features", &features()).unwrap();
    writer.finish().unwrap();
    let message = Features::open(&path).unwrap_err().to_string();
    assert!(message.contains("an array named labels"), "{message}");
    let alone = Features::open_unlabelled(&path, None).unwrap();
    assert_eq!((&alone.labels[..], alone.len()), (&[0, 0][..], 2));
    // As many are there as may be, of whatever type.
    let wrong = npz(&folder, &features(), &array![0.5, -1.0, 7.0]);
    let wrong = Features::open_unlabelled(&wrong, None).unwrap();
    assert_eq!((wrong.labels, wrong.digest), (alone.labels, alone.digest));
    let none = npz(&folder, &Array2::zeros((0, 3)), &array![0]);
    assert!(Features::open_unlabelled(&none, None).is_err());
}

/// A header is enough to see that there are too many: here the labels that it announces are not even there.
#[test]
fn labels_are_counted_before_they_are_read() {
    let folder = tempdir().unwrap();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    features().write_npy(&mut values).unwrap();
    array![1i64, 0, 1].write_npy(&mut labels).unwrap();
    labels.truncate(labels.len() - 8);
    let files = [("features.npy", values), ("labels.npy", labels)];
    let archive = folder.path().join("set.npz");
    let mut writer = ZipWriter::new(File::create(&archive).unwrap());
    for (name, bytes) in &files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
    for path in [folder.path(), archive.as_path()] {
        let message = Features::open(path).unwrap_err().to_string();
        let said = "array labels: expected 2 (the rows of features), found 3 labels; ";
        assert!(message.contains(said), "{message}");
    }
}
