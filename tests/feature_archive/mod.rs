//! Features and labels as an archive of NumPy's.

use ndarray::{Array1, Array2};
use ndarray_npy::{NpzWriter, WritableElement};
use std::fs::File;
use std::path::Path;

pub fn write<A: WritableElement>(file: &Path, (features, labels): &(Array2<A>, Array1<i64>)) {
    let mut archive = NpzWriter::new(File::create(file).unwrap());
    archive.add_array("features", features).unwrap();
    archive.add_array("labels", labels).unwrap();
    archive.finish().unwrap();
}
