//! Pixels of the embedded digits as features.

use ascribe::data::{digits_test, digits_train};
use ndarray::Array2;
use std::path::Path;

/// The first `count` of both sets, as `train.npz` and `test.npz`.
pub fn write_features(folder: &Path, count: usize) {
    for (name, set) in [
        ("train.npz", digits_train().unwrap()),
        ("test.npz", digits_test().unwrap()),
    ] {
        let images: Vec<_> = (0..count).map(|id| set.get(id).unwrap()).collect();
        let features = Array2::from_shape_fn((count, 64), |(row, column)| {
            f32::from(images[row].image.pixels[column]) / 255.0
        });
        let labels = images.iter().map(|image| image.label as i64).collect();
        crate::feature_archive::write(&folder.join(name), &(features, labels));
    }
}
