//! Labelled features in f64: made up, of small tables (`fixtures/small`), and of the digits.

use ascribe::data::{Dataset, Rows, digits_test, digits_train};
use ascribe::derivative::head::{HeadInputs, SoftmaxHead};
use ascribe::influence::FeatureSet;
use candle_core::{DType, Device, Tensor};
use ndarray::{Array1, Array2, Axis};
use ndarray_npy::NpzReader;
use std::fs::File;
use std::path::Path;

pub struct Set {
    pub features: Array2<f64>,
    pub labels: Vec<usize>,
    pub rows: Rows,
    pub ids: Vec<usize>,
}

impl Set {
    pub fn new(features: Array2<f64>, labels: Vec<usize>) -> Self {
        Self {
            ids: (0..labels.len()).collect(),
            rows: tensor(&features).into(),
            features,
            labels,
        }
    }

    pub fn inputs(&self) -> HeadInputs {
        HeadInputs::new(&self.rows, &self.labels, DType::F64).unwrap()
    }

    pub fn part(&self, rows: &[usize]) -> Self {
        let labels = rows.iter().map(|&row| self.labels[row]).collect();
        Self::new(self.features.select(Axis(0), rows), labels)
    }

    pub fn set(&self) -> FeatureSet<'_> {
        FeatureSet {
            features: &self.rows,
            labels: &self.labels,
            ids: &self.ids,
        }
    }

    pub fn zeros(&self, classes: usize) -> SoftmaxHead {
        SoftmaxHead::zeros(classes, self.features.ncols(), DType::F64, &Device::Cpu).unwrap()
    }
}

pub fn tensor(matrix: &Array2<f64>) -> Tensor {
    let values: Vec<f64> = matrix.iter().copied().collect();
    Tensor::from_vec(values, matrix.dim(), &Device::Cpu).unwrap()
}

/// Smooth made-up features in overlapping classes.
pub fn made_up(count: usize, dimension: usize, classes: usize, phase: f64) -> Set {
    let labels: Vec<usize> = (0..count)
        .map(|row| (row * row + row / 3) % classes)
        .collect();
    let features = Array2::from_shape_fn((count, dimension), |(row, column)| {
        let class = labels[row] as f64;
        (1.3 * class * (column as f64 + 1.0)).cos()
            + 1.5 * (12.9898 * (row as f64 + phase) + 78.233 * column as f64).sin()
    });
    Set::new(features, labels)
}

/// The file of a small table.
pub fn archive(name: &str) -> NpzReader<File> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/small");
    NpzReader::new(File::open(folder.join(name)).unwrap()).unwrap()
}

/// Columns of mean 0 and deviation 1.
pub fn standardised(mut features: Array2<f64>) -> Array2<f64> {
    for mut column in features.columns_mut() {
        let (mean, deviation) = (column.mean().unwrap(), column.std(0.0));
        column.mapv_inplace(|value| (value - mean) / deviation);
    }
    features
}

/// A small table, standardised over all rows: training rows and those with i % 5 = 0.
pub fn table(name: &str) -> (Set, Set) {
    let mut file = archive(name);
    let features = standardised(file.by_name("features").unwrap());
    let labels: Array1<i64> = file.by_name("labels").unwrap();
    let labels = labels.iter().map(|&label| label as usize).collect();
    let whole = Set::new(features, labels);
    let rows = |wanted: bool| -> Vec<usize> {
        (0..whole.labels.len())
            .filter(|row| (row % 5 != 0) == wanted)
            .collect()
    };
    (whole.part(&rows(true)), whole.part(&rows(false)))
}

/// The digits with values 0, 1/16, … 1.
pub fn digits() -> (Set, Set) {
    let read = |dataset: Dataset| {
        let mut values = Vec::new();
        for id in 0..dataset.len() {
            let pixels = dataset.get(id).unwrap().image.pixels;
            values.extend(
                pixels
                    .iter()
                    .map(|&byte| (f64::from(byte) * 16.0 / 255.0).round() / 16.0),
            );
        }
        let features = Array2::from_shape_vec((dataset.len(), 64), values).unwrap();
        Set::new(features, dataset.labels().to_vec())
    };
    (read(digits_train().unwrap()), read(digits_test().unwrap()))
}
