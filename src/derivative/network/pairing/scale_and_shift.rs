//! Parameters that are one number a channel: γ and β of batch norm, and a bias. Their gradients are short and written out.

use super::super::layer::{Layer, Site};
use super::super::planes::{Planes, Scalar};
use super::{Pairing, Rows};
use crate::in_parallel::mapped;

/// The vectors' parts one after the other, and the layer whose they are.
pub(crate) struct ScaleAndShift<'a, T: Scalar> {
    layer: &'a dyn Layer<T>,
    vectors: Vec<Vec<f64>>,
    /// Another part of the same layer.
    beside: Option<Box<dyn Pairing<T> + 'a>>,
}

impl<'a, T: Scalar> ScaleAndShift<'a, T> {
    pub(crate) fn new(
        layer: &'a dyn Layer<T>,
        vectors: &Rows<T>,
        beside: Option<Box<dyn Pairing<T> + 'a>>,
    ) -> Self {
        let places = layer.channelwise();
        let parts: Vec<_> = places.iter().map(|place| vectors.stored(place)).collect();
        let vector = |row: usize| {
            let numbers = parts.iter().flat_map(|part| part[row]);
            numbers.map(|value| value.to_f64()).collect()
        };
        Self {
            layer,
            vectors: (0..vectors.count()).map(vector).collect(),
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
        let rows: Vec<Vec<f64>> = mapped(images, &|image| {
            let own = self.layer.channelwise_gradient(site, gradient, image);
            let product =
                |vector: &Vec<f64>| vector.iter().zip(&own).map(|(a, b)| a * b).sum::<f64>();
            self.vectors.iter().map(product).collect()
        });
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
