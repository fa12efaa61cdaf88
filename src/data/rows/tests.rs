//! Mapped rows are the resident ones; a file that changed under the mapping is refused by name.

use super::*;
use crate::data::Features;
use ndarray::{Array1, Array2, ShapeBuilder};
use ndarray_npy::{WritableElement, WriteNpyExt};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;
use tempfile::{TempDir, tempdir};

const COUNT: usize = 37;
const COLUMNS: usize = 5;

fn values<T: From<f32>>() -> Array2<T> {
    let wave = |(row, column)| T::from(((row * COLUMNS + column) as f32 * 0.7).sin());
    Array2::from_shape_fn((COUNT, COLUMNS), wave)
}

fn folder<T: WritableElement>(features: &Array2<T>) -> TempDir {
    let folder = tempdir().unwrap();
    let file = |name: &str| File::create(folder.path().join(name)).unwrap();
    features.write_npy(file("features.npy")).unwrap();
    let labels: Array1<i64> = (0..COUNT as i64).map(|row| row % 3).collect();
    labels.write_npy(file("labels.npy")).unwrap();
    folder
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn both(folder: &TempDir) -> (Features, Features) {
    let mapped = Features::open_within(folder.path(), Some(0)).unwrap();
    let resident = Features::open(folder.path()).unwrap();
    assert!(mapped.values.is_mapped() && !resident.values.is_mapped());
    (mapped, resident)
}

#[test]
fn mapped_rows_are_the_resident_ones_in_either_precision() {
    for folder in [folder(&values::<f32>()), folder(&values::<f64>())] {
        let (mapped, resident) = both(&folder);
        assert_eq!(mapped.digest, resident.digest);
        for dtype in [DType::F32, DType::F64] {
            let in_form = |features: &Features| {
                let rows = features.values.to_dtype(dtype).unwrap();
                rows.with_constant().unwrap()
            };
            let (mapped, resident) = (in_form(&mapped), in_form(&resident));
            assert!(mapped.is_mapped() && mapped.dtype() == dtype);
            assert_eq!(mapped.dims(), [COUNT, COLUMNS + 1]);
            let same = |a: Tensor, b: Tensor| {
                assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()));
                assert_eq!(numbers(&a), numbers(&b));
            };
            same(mapped.all().unwrap(), resident.all().unwrap());
            same(mapped.chunk(7..19).unwrap(), resident.chunk(7..19).unwrap());
            let select = |rows: &Rows| rows.select(&[30, 2, 2]).unwrap();
            same(select(&mapped), select(&resident));
        }
    }
}

#[test]
fn small_files_and_other_orders_are_read() {
    let rows = folder(&values::<f32>());
    let length = rows.path().join("features.npy").metadata().unwrap().len();
    let open = |folder: &TempDir, resident| Features::open_within(folder.path(), Some(resident));
    assert!(!open(&rows, length).unwrap().values.is_mapped());
    assert!(open(&rows, length - 1).unwrap().values.is_mapped());
    let standard = values::<f32>();
    let mut columns_first = Array2::zeros((COUNT, COLUMNS).f());
    columns_first.assign(&standard);
    let read = open(&folder(&columns_first), 0).unwrap().values;
    assert!(!read.is_mapped());
    let expected: Vec<f64> = standard.iter().map(|&value| f64::from(value)).collect();
    assert_eq!(numbers(&read.all().unwrap()), expected);
}

#[test]
fn damage_is_named_when_opened() {
    let message = |folder: &TempDir| {
        let opened = Features::open_within(folder.path(), Some(0));
        opened.unwrap_err().to_string()
    };
    let mut bad = values::<f64>();
    bad[[20, 3]] = f64::NAN;
    let found = message(&folder(&bad));
    assert!(
        found.contains("row 20, column 3") && found.contains("not a finite"),
        "{found}"
    );
    for change in [-3i64, 8] {
        let cut = folder(&values::<f64>());
        let path = cut.path().join("features.npy");
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.strict_add_signed(change)).unwrap();
        let found = message(&cut);
        assert!(
            found.starts_with(&format!("{}: ", path.display())) && found.contains("its header"),
            "{found}"
        );
    }
    let whole = folder(&Array2::<i64>::zeros((COUNT, COLUMNS)));
    assert!(message(&whole).contains("integers"));
}

#[test]
fn a_file_that_changes_under_the_mapping_is_refused() {
    let folder = folder(&values::<f32>());
    let rows = both(&folder).0.values;
    let path = folder.path().join("features.npy");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(200).unwrap();
    let message = rows.chunk(20..30).unwrap_err().to_string();
    assert!(
        message.starts_with(&path.display().to_string()) && message.contains("200 now"),
        "{message}"
    );
}

/// What is read then would be neither the one file nor the other.
#[test]
fn a_file_that_is_written_over_at_the_same_length_is_refused() {
    let folder = folder(&values::<f32>());
    let rows = both(&folder).0.values;
    rows.chunk(20..30).unwrap();
    let path = folder.path().join("features.npy");
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    file.write_all(b"\x93NUMPY").unwrap();
    file.set_modified(time + Duration::from_secs(2)).unwrap();
    let message = rows.chunk(20..30).unwrap_err().to_string();
    assert!(
        message.starts_with(&path.display().to_string())
            && message.contains("has changed while it was in use"),
        "{message}"
    );
    file.set_modified(time).unwrap();
    rows.chunk(20..30).unwrap();
}

#[test]
fn written_rows_come_back_from_memory_and_from_a_file_without_a_name() {
    let folder = tempdir().unwrap();
    for dtype in [DType::F32, DType::F64] {
        let whole = values::<f64>();
        let whole = Tensor::from_vec(
            whole.into_raw_vec_and_offset().0,
            (COUNT, COLUMNS),
            &Device::Cpu,
        );
        let whole = whole.unwrap().to_dtype(dtype).unwrap();
        for scratch in [None, Some(folder.path())] {
            let mut writer =
                RowWriter::new((COUNT, COLUMNS), dtype, &Device::Cpu, scratch).unwrap();
            for start in (0..COUNT).step_by(10) {
                let count = 10.min(COUNT - start);
                writer
                    .push(&whole.narrow(0, start, count).unwrap())
                    .unwrap();
            }
            let rows = writer.finish().unwrap();
            assert_eq!(rows.is_mapped(), scratch.is_some());
            assert_eq!(numbers(&rows.all().unwrap()), numbers(&whole));
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
    let absent = folder.path().join("absent");
    let refused = RowWriter::new((1, 1), DType::F32, &Device::Cpu, Some(&absent));
    assert!(refused.err().unwrap().to_string().contains("absent"));
}
