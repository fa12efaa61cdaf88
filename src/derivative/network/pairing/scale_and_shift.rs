//! Parameters that are one number a channel: γ and β of batch norm, and a bias. Their gradients are short and written out.

use super::super::layer::Site;
use super::super::planes::{Planes, Scalar};
use super::Pairing;
use rayon::prelude::*;

/// What an image's gradients are, `[C]` each, in the order of the vectors' parts.
type Gradients<'a, T> = Box<dyn Fn(&Site<T>, &Planes<T>, usize) -> Vec<f64> + Send + Sync + 'a>;

/// The vectors' parts one after the other, and how an image's gradient with respect to them is made.
pub(crate) struct ScaleAndShift<'a, T: Scalar> {
    vectors: Vec<Vec<f64>>,
    gradients: Gradients<'a, T>,
    /// Another part of the same layer.
    beside: Option<Box<dyn Pairing<T> + 'a>>,
}

impl<'a, T: Scalar> ScaleAndShift<'a, T> {
    /// `parts` are those of the vectors in each tensor; `gradients(site, ȳ, image)` one image's in the same order.
    pub(crate) fn new(
        parts: &[Vec<&[T]>],
        gradients: impl Fn(&Site<T>, &Planes<T>, usize) -> Vec<f64> + Send + Sync + 'a,
        beside: Option<Box<dyn Pairing<T> + 'a>>,
    ) -> Self {
        let count = parts.first().map_or(0, Vec::len);
        let vector = |row: usize| {
            let numbers = parts.iter().flat_map(|part| part[row]);
            numbers.map(|value| value.to_f64()).collect()
        };
        Self {
            vectors: (0..count).map(vector).collect(),
            gradients: Box::new(gradients),
            beside,
        }
    }
}

impl<T: Scalar> Pairing<T> for ScaleAndShift<'_, T> {
    fn add(&self, site: &Site<T>, gradient: &Planes<T>, sums: &mut [f64]) {
        if let Some(beside) = &self.beside {
            beside.add(site, gradient, sums);
        }
        let images = gradient.images();
        let rows: Vec<Vec<f64>> = (0..images)
            .into_par_iter()
            .map(|image| {
                let own = (self.gradients)(site, gradient, image);
                let product =
                    |vector: &Vec<f64>| vector.iter().zip(&own).map(|(a, b)| a * b).sum::<f64>();
                self.vectors.iter().map(product).collect()
            })
            .collect();
        for (image, row) in rows.into_iter().enumerate() {
            for (vector, product) in row.into_iter().enumerate() {
                sums[vector * images + image] += product;
            }
        }
    }

    fn squared_errors(&self) -> &[f64] {
        self.beside
            .as_ref()
            .map_or(&[], |beside| beside.squared_errors())
    }
}
