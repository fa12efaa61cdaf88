//! The handwritten digits that the program carries along: real 8×8 images, so that a first run needs no download.
//!
//! *Optical Recognition of Handwritten Digits* (E. Alpaydin, C. Kaynak, UCI, CC BY 4.0); `fixtures/digits/README.md`
//! has the full attribution. A byte is `round(value · 255 / 16)` of the original value from 0 to 16.

use super::Dataset;
use crate::Result;
use std::path::Path;

/// The name under which [`Dataset::open`] gives the training digits.
const TRAIN: &str = "builtin:digits-train";
/// The name under which [`Dataset::open`] gives the test digits.
const TEST: &str = "builtin:digits-test";

/// Whether a path is a name of data or of a model that the program carries along, or begins as one.
pub(crate) fn is_built_in(path: &Path) -> bool {
    (path.to_str()).is_some_and(|name| name.starts_with("builtin:"))
}

/// The Parquet file that a name stands for.
pub(super) fn embedded(path: &Path) -> Option<&'static [u8]> {
    match path.to_str()? {
        TRAIN => Some(include_bytes!("../../fixtures/digits/train.parquet")),
        TEST => Some(include_bytes!("../../fixtures/digits/test.parquet")),
        _ => None,
    }
}

/// The training digits: 1,000 images, rows 0–999 of scikit-learn's `load_digits`.
///
/// # Errors
/// None that a user could cause; reading is the same as for any file.
pub fn digits_train() -> Result<Dataset> {
    Dataset::open(Path::new(TRAIN))
}

/// The test digits: 797 images, rows 1000–1796 of scikit-learn's `load_digits`.
///
/// # Errors
/// None that a user could cause; reading is the same as for any file.
pub fn digits_test() -> Result<Dataset> {
    Dataset::open(Path::new(TEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hold_the_published_values() {
        let (train, test) = (digits_train().unwrap(), digits_test().unwrap());
        assert_eq!((train.len(), test.len()), (1000, 797));
        assert_eq!(
            train.classes(),
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
        assert_eq!(&train.labels()[..12], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]);
        let image = train.get(0).unwrap().image;
        assert_eq!((image.channels, image.height, image.width), (1, 8, 8));
        let values: Vec<_> = image
            .pixels
            .iter()
            .map(|&byte| (f64::from(byte) * 16.0 / 255.0).round() as u8)
            .collect();
        // The first two rows of load_digits().images[0].
        assert_eq!(
            values[..16],
            [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
        );
        let sum = |set: &Dataset| -> f64 {
            let images = (0..set.len()).flat_map(|id| set.get(id).unwrap().image.pixels);
            images
                .map(|byte| (f64::from(byte) * 16.0 / 255.0).round())
                .sum()
        };
        assert_eq!(sum(&train) + sum(&test), 561_718.0);
    }
}
