//! Many heads at once: the objective and gradient of K heads, each on its own part of the training images.
//!
//! F(φ) = (1/N) Σ_{i ∈ S} ℓ_i(φ) + l2/2·‖φ‖², S the images kept and N the divisor. Heads are in the C − 1 class axes and
//! the feature axes of [`HeadCoordinates`], φ `[w, d + 1]` row by row: the minimiser has no part along (1, …, 1), which
//! l2 alone would move.
//!
//! All K heads go through the same two matrix products with a chunk of images, Z = Ã Φᵀ `[m, K·w]` and R̃ᵀÃ `[K·w, d + 1]`,
//! 4·n·w·(d + 1) operations a head; a left-out image is a residual of zero. Chunks are fixed and rows independent, so that
//! numbers do not depend on threads.

use crate::Result;
use crate::data::Rows;
use crate::derivative::head::HeadCoordinates;
use crate::product::product;
use candle_core::DType;
use faer::{Accum, MatMut, MatRef};
use rayon::prelude::*;
use std::ops::Range;

/// Images that go through one matrix product.
const ROW_CHUNK: usize = 1024;
/// By how much of it a probability is larger than another that it is not equal to: classes without images have the same, but for what a
/// fit leaves.
const TIE: f64 = 1e-6;

/// What a head is fitted to again: the images that are kept, and what their losses are divided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// By position: whether the image is kept.
    pub images: Vec<bool>,
    /// N.
    pub divisor: usize,
}

impl Kept {
    /// All of `count` images.
    pub fn all(count: usize) -> Self {
        Self {
            images: vec![true; count],
            divisor: count,
        }
    }

    /// All but those at `positions`, the divisor staying `count`: their weight is taken away, that of the others stays.
    pub fn without(count: usize, positions: &[usize]) -> Self {
        let mut kept = Self::all(count);
        positions.iter().for_each(|&at| kept.images[at] = false);
        kept
    }

    /// The images at `positions`, their mean loss: training on that subset.
    pub fn subset(count: usize, positions: &[usize]) -> Self {
        let mut images = vec![false; count];
        positions.iter().for_each(|&at| images[at] = true);
        Self {
            divisor: images.iter().filter(|&&kept| kept).count().max(1),
            images,
        }
    }

    /// Positions of the images that are kept.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        let numbered = self.images.iter().enumerate();
        numbered.filter_map(|(at, &kept)| kept.then_some(at))
    }

    /// How many are kept.
    pub(super) fn count(&self) -> usize {
        self.images.iter().filter(|&&kept| kept).count()
    }

    /// Positions of the images that are not kept.
    pub fn left_out(&self) -> Vec<usize> {
        let numbered = self.images.iter().enumerate();
        numbered
            .filter_map(|(at, &kept)| (!kept).then_some(at))
            .collect()
    }
}

/// Images in feature axes with their labels.
pub(super) struct Images<'a> {
    /// ã `[n, d + 1]`, f64.
    pub(super) rows: &'a Rows,
    pub(super) labels: &'a [usize],
}

/// Everything that the objectives of all heads share.
pub(super) struct Heads<'a> {
    pub(super) images: Images<'a>,
    pub(super) l2: f64,
    pub(super) axes: ClassAxes,
}

/// U `[C, w]`, row by row.
pub(super) struct ClassAxes {
    values: Vec<f64>,
    width: usize,
}

impl ClassAxes {
    pub(super) fn of(coordinates: &HeadCoordinates) -> Result<Self> {
        let classes = coordinates.classes();
        Ok(Self {
            width: classes.dims()[1],
            values: classes.flatten_all()?.to_vec1()?,
        })
    }

    /// w = C − 1.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    fn classes(&self) -> usize {
        self.values.len() / self.width
    }

    /// The loss at `label` in nats of logits in axes `[w]`, which become the residual r̃ = Uᵀ(π − e_y); `room` `[C]`.
    fn residual(&self, logits: &mut [f64], label: usize, room: &mut [f64]) -> f64 {
        for (logit, axis) in room.iter_mut().zip(self.values.chunks_exact(self.width)) {
            *logit = axis.iter().zip(&*logits).map(|(u, z)| u * z).sum();
        }
        let loss = softmax_residual(room, label);
        logits.fill(0.0);
        for (&residual, axis) in room.iter().zip(self.values.chunks_exact(self.width)) {
            (logits.iter_mut().zip(axis)).for_each(|(sum, u)| *sum += residual * u);
        }
        loss
    }
}

/// Logits become π − e_y; the loss in nats comes back. π_y − 1 is taken as minus the others' sum, which keeps its digits.
fn softmax_residual(logits: &mut [f64], label: usize) -> f64 {
    let most = logits
        .iter()
        .fold(f64::NEG_INFINITY, |most, &logit| most.max(logit));
    let at_label = logits[label];
    logits
        .iter_mut()
        .for_each(|logit| *logit = (*logit - most).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= sum);
    logits[label] = 0.0;
    let others: f64 = logits.iter().sum();
    logits[label] = -others;
    // −ln π_y = −ln(1 − others) where π_y is near 1.
    match others < 0.5 {
        true => -(-others).ln_1p(),
        false => sum.ln() + most - at_label,
    }
}

/// Values `[K]` and gradients `[K·w·(d + 1)]`.
pub(super) struct Objectives {
    pub(super) values: Vec<f64>,
    pub(super) gradients: Vec<f64>,
}

impl<'a> Heads<'a> {
    pub(super) fn new(images: Images<'a>, axes: ClassAxes, l2: f64) -> Self {
        Self { images, l2, axes }
    }

    /// p = w·(d + 1).
    pub(super) fn size(&self) -> usize {
        self.axes.width() * self.images.rows.columns()
    }

    /// Objectives of the heads `parameters` `[K, p]` on what each keeps.
    pub(super) fn objectives(&self, parameters: &[f64], kept: &[&Kept]) -> Result<Objectives> {
        let (count, size) = (kept.len(), self.size());
        let (columns, width) = (self.images.rows.columns(), self.axes.width());
        let mut values = vec![0.0; count];
        let mut gradients = vec![0.0; count * size];
        let mut losses = Vec::new();
        self.images.chunks(|range, inputs| {
            let mut directions = logits(inputs, columns, parameters, count * width);
            losses.clear();
            losses.resize(range.len() * count, 0.0);
            self.residuals(range.clone(), &mut directions, &mut losses, kept);
            for row in losses.chunks_exact(count) {
                (values.iter_mut().zip(row)).for_each(|(sum, loss)| *sum += loss);
            }
            product(
                MatMut::from_column_major_slice_mut(&mut gradients, columns, count * width),
                Accum::Add,
                MatRef::from_column_major_slice(inputs, columns, range.len()),
                MatRef::from_row_major_slice(&directions, range.len(), count * width),
                1.0,
            );
        })?;
        let heads = parameters
            .par_chunks_exact(size)
            .zip(gradients.par_chunks_exact_mut(size));
        (heads.zip(&mut values).zip(kept)).for_each(|(((head, gradient), value), kept)| {
            let scale = 1.0 / kept.divisor as f64;
            let mut squares = 0.0;
            for (slope, parameter) in gradient.iter_mut().zip(head) {
                *slope = *slope * scale + self.l2 * parameter;
                squares += parameter * parameter;
            }
            *value = *value * scale + 0.5 * self.l2 * squares;
        });
        Ok(Objectives { values, gradients })
    }

    /// Logits `[m, K·w]` become residuals, zero where the image is not kept; losses `[m, K]` likewise.
    fn residuals(
        &self,
        range: Range<usize>,
        logits: &mut [f64],
        losses: &mut [f64],
        kept: &[&Kept],
    ) {
        let (count, width, start) = (kept.len(), self.axes.width(), range.start);
        let rows = logits.par_chunks_exact_mut(count * width);
        rows.zip(losses.par_chunks_exact_mut(count))
            .enumerate()
            .for_each_init(
                || vec![0.0; self.axes.classes()],
                |room, (row, (logits, losses))| {
                    let image = start + row;
                    let heads = logits.chunks_exact_mut(width).zip(losses).zip(kept);
                    for ((logits, loss), kept) in heads {
                        if kept.images[image] {
                            *loss = self.axes.residual(logits, self.images.labels[image], room);
                        } else {
                            logits.fill(0.0);
                        }
                    }
                },
            );
    }
}

impl Images<'_> {
    /// Calls `body` with every chunk of rows, in order.
    fn chunks(&self, mut body: impl FnMut(Range<usize>, &[f64])) -> Result<()> {
        let count = self.rows.count();
        for start in (0..count).step_by(ROW_CHUNK) {
            let range = start..count.min(start + ROW_CHUNK);
            let chunk = self.rows.chunk(range.clone())?.to_dtype(DType::F64)?;
            body(range, &chunk.flatten_all()?.to_vec1::<f64>()?);
        }
        Ok(())
    }

    /// The losses in nats and the predictions, the first class at a tie, of the images under the heads `parameters` `[K, p]`:
    /// both `[K, n]`.
    pub(super) fn outputs(
        &self,
        parameters: &[f64],
        axes: &ClassAxes,
    ) -> Result<(Vec<f64>, Vec<usize>)> {
        let (columns, width) = (self.rows.columns(), axes.width());
        let heads = parameters.len() / (columns * width);
        let images = self.rows.count();
        let mut losses = vec![0.0; heads * images];
        let mut predictions = vec![0; heads * images];
        let mut room = vec![0.0; axes.classes()];
        self.chunks(|range, inputs| {
            let mut logits = logits(inputs, columns, parameters, heads * width);
            for (row, logits) in logits.chunks_exact_mut(heads * width).enumerate() {
                let (image, label) = (range.start + row, self.labels[range.start + row]);
                for (head, logits) in logits.chunks_exact_mut(width).enumerate() {
                    losses[head * images + image] = axes.residual(logits, label, &mut room);
                    // room is π − e_y.
                    room[label] += 1.0;
                    let better = |best, class| {
                        if room[class] > room[best] * (1.0 + TIE) {
                            class
                        } else {
                            best
                        }
                    };
                    predictions[head * images + image] = (1..room.len()).fold(0, better);
                }
            }
        })?;
        Ok((losses, predictions))
    }
}

/// Z `[m, heads]` for rows of `inputs` and of `parameters`, both `columns` wide.
fn logits(inputs: &[f64], columns: usize, parameters: &[f64], heads: usize) -> Vec<f64> {
    let rows = inputs.len() / columns;
    let mut logits = vec![0.0; rows * heads];
    // Row-major [m, heads] is column-major [heads, m].
    product(
        MatMut::from_column_major_slice_mut(&mut logits, heads, rows),
        Accum::Replace,
        MatRef::from_row_major_slice(parameters, heads, columns),
        MatRef::from_column_major_slice(inputs, columns, rows),
        1.0,
    );
    logits
}
