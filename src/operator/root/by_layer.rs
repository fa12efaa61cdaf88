//! Rows whose gradients are held layer by layer: nothing is written out, C − 1 rows an image.
//!
//! Where not all of them have room, passes over images are made anew, some for the matrix between the rows and all of those that are
//! not kept for every product. To make one takes about as long as products with C/2 vectors.

use super::super::{LinearOperator, NetworkCurvature, SquareMatrix};
use super::{RootPasses, RootRows, root_rows};
use crate::Result;
use candle_core::{Device, Tensor};
use std::ops::Range;

/// Of the passes of a curvature.
pub(super) struct RowsByLayer<'a>(pub(super) &'a NetworkCurvature<'a>);

impl RowsByLayer<'_> {
    fn rows_of(&self, images: usize) -> usize {
        root_rows(images, self.0.network().class_count())
    }

    /// Where the rows of some passes are.
    fn rows(&self, passes: &Range<usize>) -> Range<usize> {
        let first = |pass: usize| {
            let images = pass * self.0.root_passes().images;
            self.rows_of(images.min(self.0.image_count()))
        };
        first(passes.start)..first(passes.end)
    }
}

impl RootRows for RowsByLayer<'_> {
    fn count(&self) -> usize {
        self.rows_of(self.0.image_count())
    }

    fn device(&self) -> Device {
        Device::Cpu
    }

    fn products(&self, vectors: &Tensor) -> Result<Tensor> {
        let mut passes = self.0.root_linearisations(0);
        self.0.network().root_products(vectors, &mut passes)
    }

    fn sums(&self, weights: &Tensor) -> Result<Tensor> {
        let mut passes = self.0.root_linearisations(0);
        self.0.network().root_sums(weights, &mut passes)
    }

    fn add_gram(&self, matrix: &mut SquareMatrix<f64>) -> Result<()> {
        let network = self.0.network();
        let RootPasses { images, held } = self.0.root_passes();
        let all = self.0.image_count().div_ceil(images);
        let at_once = held.div_ceil(images).max(1);
        // The first ones, which may be kept, come last, when no others are held.
        for first in (0..all).step_by(at_once).rev() {
            let own = first..all.min(first + at_once);
            let mut passes = self.0.root_linearisations(first);
            let held = passes
                .by_ref()
                .take(own.len())
                .collect::<Result<Vec<_>>>()?;
            let columns = self.rows(&own);
            let part = matrix.part_mut(columns.clone(), columns.clone());
            network.add_root_gram(&held, part)?;
            for (pass, other) in (own.end..all).zip(passes) {
                let part = matrix.part_mut(self.rows(&(pass..pass + 1)), columns.clone());
                network.add_root_gram_with((&[other?], &held), part)?;
            }
        }
        Ok(())
    }
}
