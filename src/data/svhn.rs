//! SVHN's cropped digits, `train_32x32.mat` and `test_32x32.mat` (Netzer et al. 2011): a MATLAB 5 file with
//!
//! - `X`, uint8 `[32, 32, 3, N]`, first index fastest: rows, columns, channels, images;
//! - `y`, `[N, 1]`, numbers of any type, the digits, with 10 for zero.

use super::classes::numbered;
use super::matlab::{Numbers, is_hdf5, matrices};
use super::stored::{Images, Places, Stored};
use crate::{Error, Result};
use std::path::Path;

const AGAIN: &str = "fetch the file again";
const SAVE: &str = "save it with -v7 in MATLAB, or scipy.io.savemat in Python";

/// Reads the images and their digits.
pub(super) fn read(path: &Path) -> Result<Stored> {
    let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
    let refuse = |place: &str, expected: &str, found: String| {
        Error::format(path, place, expected, found, AGAIN)
    };
    if is_hdf5(&bytes) {
        let (expected, found) = ("a MATLAB 5 file", "HDF5, MATLAB's format 7.3");
        return Err(Error::format(path, "header", expected, found, SAVE));
    }
    let matrices = matrices(&bytes).map_err(|(place, found)| {
        let damaged = refuse(&place, "a whole MATLAB 5 file", found);
        match place == "header" {
            true => damaged.and_remedy(format!("or {SAVE}")),
            false => damaged,
        }
    })?;
    let matrix = |name: &str| {
        let found = matrices.iter().find(|matrix| matrix.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = matrices.iter().map(|it| it.name.as_str()).collect();
            refuse("variables", "X (images) and y (digits)", names.join(", "))
        })
    };
    let (x, y) = (matrix("X")?, matrix("y")?);
    let expected = "bytes of sizes [height, width, 3, images]";
    let &[height, width, 3, count] = x.sizes.as_slice() else {
        return Err(refuse("variable X", expected, x.describe()));
    };
    let Numbers::Bytes(pixels) = &x.numbers else {
        let (found, remedy) = (x.describe(), "store X as uint8");
        return Err(Error::format(path, "variable X", expected, found, remedy));
    };
    if height * width * count == 0 {
        let expected = "at least one image of one pixel";
        return Err(refuse("variable X", expected, x.describe()));
    }
    if y.len() != count {
        let expected = format!("{count} digits, one an image");
        return Err(refuse("variable y", &expected, y.describe()));
    }
    let digit = |number: f64| {
        if number.fract() == 0.0 {
            number as i64
        } else {
            0
        }
    };
    let labels: Vec<i64> = (0..count).map(|row| digit(y.number(row))).collect();
    if let Some(row) = labels.iter().position(|label| !(1..=10).contains(label)) {
        let expected = "a digit from 1 to 10 (for 0)";
        let found = y.number(row).to_string();
        return Err(refuse(&format!("variable y, row {row}"), expected, found));
    }
    Ok(Stored {
        format: "SVHN (MATLAB 5)",
        images: Images::Planes {
            channels: 3,
            height,
            width,
            pixels: by_image(pixels, [height, width, count]),
        },
        places: Places::Rows,
        labels: labels.iter().map(|label| label % 10).collect(),
        classes: Some(numbered(10)),
    })
}

/// From rows fastest, images slowest (`[H, W, 3, N]` in MATLAB's order) to `[N, 3, H, W]`, columns fastest.
fn by_image(stored: &[u8], [height, width, count]: [usize; 3]) -> Vec<u8> {
    let plane = height * width;
    let mut pixels = Vec::with_capacity(stored.len());
    for image in stored.chunks_exact(plane).take(3 * count) {
        for row in 0..height {
            pixels.extend((0..width).map(|column| image[column * height + row]));
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_the_fastest() {
        // Two images of 2 rows and 3 columns; in MATLAB's order each number is 100 image + 30 channel + 10 row + column.
        let (mut stored, mut expected) = (Vec::new(), Vec::new());
        for image in 0..2 {
            for channel in 0..3 {
                let number = |row: u8, column: u8| 100 * image + 30 * channel + 10 * row + column;
                stored.extend((0..3).flat_map(|column| [number(0, column), number(1, column)]));
                expected
                    .extend((0..2).flat_map(|row| (0..3).map(move |column| number(row, column))));
            }
        }
        assert_eq!(by_image(&stored, [2, 3, 2]), expected);
    }
}
