//! Second moments of patches and of output gradients, summed pass by pass: in the network's precision within a tile of rows, in
//! f64 over tiles.

use super::super::layer::Convolution;
use super::super::planes::{Planes, Scalar, rows};
use super::{KroneckerFactors, KroneckerLayer};
use crate::in_parallel::for_each_row;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::unfold;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat};

/// Patches that are unfolded at once.
const TILE: usize = 4096;
/// Of these, in one task.
const TASK: usize = 256;

/// Σ a aᵀ and Σ ds dsᵀ, lower triangles, in the computation's order: taps before inputs.
pub(super) struct MomentSums {
    inputs: Mat<f64>,
    outputs: Mat<f64>,
}

impl MomentSums {
    pub(super) fn new(layer: &Convolution) -> Self {
        let inputs = layer.geometry.columns() + usize::from(layer.bias.is_some());
        let outputs = layer.geometry.c_out;
        Self {
            inputs: Mat::zeros(inputs, inputs),
            outputs: Mat::zeros(outputs, outputs),
        }
    }

    /// The patches of the images in `input`.
    pub(super) fn add_inputs<T: Scalar>(&mut self, layer: &Convolution, input: &Planes<T>) {
        let g = &layer.geometry;
        let (total, columns) = (input.images() * g.output().positions(), g.columns());
        for start in (0..total).step_by(TILE) {
            let count = TILE.min(total - start);
            let mut patches = Buffer::stale(count * columns);
            for_each_row(&mut patches, TASK * columns, &|task, patches| {
                let first = start + task * TASK;
                let places = first..first + patches.len() / columns;
                unfold(g, &input.values, places, patches);
            });
            match layer.bias {
                Some(_) => add_moment(&with_ones(&patches, columns), columns + 1, &mut self.inputs),
                None => add_moment(&patches, columns, &mut self.inputs),
            }
        }
    }

    /// The gradients of the layer's output.
    pub(super) fn add_outputs<T: Scalar>(&mut self, gradients: &Planes<T>) {
        let columns = gradients.shape.channels;
        for tile in gradients.values.chunks(TILE * columns) {
            add_moment(tile, columns, &mut self.outputs);
        }
    }

    /// Means over `images`, in the order of the stored weights.
    pub(super) fn finish(
        self,
        layer: &Convolution,
        place: KroneckerLayer,
        images: usize,
    ) -> KroneckerFactors {
        let g = &layer.geometry;
        let (taps, channels) = (g.taps(), g.input.channels);
        // Column `input · taps + tap` as stored, `tap · channels + input` here.
        let computed = |stored: usize| match stored < g.columns() {
            true => stored % taps * channels + stored / taps,
            false => stored,
        };
        let images = images.max(1) as f64;
        let mean = |sums: &Mat<f64>, (i, j): (usize, usize), count: f64| {
            sums[(i.max(j), i.min(j))] / count
        };
        let places = g.output().positions() as f64;
        KroneckerFactors {
            inputs: Mat::from_fn(place.inputs, place.inputs, |i, j| {
                mean(&self.inputs, (computed(i), computed(j)), images)
            }),
            outputs: Mat::from_fn(place.outputs, place.outputs, |i, j| {
                mean(&self.outputs, (i, j), images * places)
            }),
            layer: place,
        }
    }
}

/// Adds XᵀX of the rows X to the lower triangle of `sum`.
fn add_moment<T: Scalar>(values: &[T], columns: usize, sum: &mut Mat<f64>) {
    let x = rows(values, columns);
    let zero = T::default();
    let mut product = Mat::from_fn(columns, columns, |_, _| zero);
    triangular::matmul(
        product.as_mut(),
        BlockStructure::TriangularLower,
        Accum::Replace,
        x.transpose(),
        BlockStructure::Rectangular,
        x,
        BlockStructure::Rectangular,
        <T as candle_core::WithDType>::from_f64(1.0),
        faer::get_global_parallelism(),
    );
    for column in 0..columns {
        for row in column..columns {
            sum[(row, column)] += product[(row, column)].to_f64();
        }
    }
}

/// The rows with a 1 after each.
fn with_ones<T: Scalar>(values: &[T], columns: usize) -> Vec<T> {
    let one = <T as candle_core::WithDType>::from_f64(1.0);
    let rows = values.chunks_exact(columns);
    rows.flat_map(|row| row.iter().copied().chain(std::iter::once(one)))
        .collect()
}
