//! Mean and variance of every channel over all images and pixels of a batch: `[m, H, W, C]` → two rows of C.
//!
//! With N = m·H·W: μ = Σ x / N, τ = Σ (x − μ)² / N. Along ẋ: μ̇ = Σ ẋ / N, τ̇ = 2 Σ (x − μ) ẋ / N. Back: x̄ = (μ̄ + 2 τ̄ (x − μ)) / N.
//! Sums are in f64. Images of a batch meet here, so that nothing that lies behind it is an image's own.

use super::super::planes::{PART, Planes, Scalar, Shape};
use super::{Along, Layer, Site, Slot};
use crate::in_parallel::{for_each_row, mapped};

/// μ and τ of the batch; as activations those of one image with two pixels.
#[derive(Debug)]
pub(crate) struct Moments;

impl Moments {
    /// N, the numbers of a channel in `x`.
    pub(crate) fn count<T: Scalar>(x: &Planes<T>) -> usize {
        x.values.len() / x.shape.channels.max(1)
    }

    fn planes<T: Scalar>(rows: [Vec<f64>; 2]) -> Planes<T> {
        let shape = Shape {
            height: 1,
            width: 2,
            channels: rows[0].len(),
        };
        let number = <T as candle_core::WithDType>::from_f64;
        let values: Vec<T> = rows.concat().into_iter().map(number).collect();
        Planes {
            shape,
            values: values.into(),
        }
    }
}

/// Numbers of a task: whole pixels.
fn part(channels: usize) -> usize {
    (PART / channels).max(1) * channels
}

/// For every channel Σ `of(channel, x, y)` over all images and pixels, divided by their number.
fn mean<T: Scalar>(
    (x, y): (&Planes<T>, &Planes<T>),
    of: &(dyn Fn(usize, f64, f64) -> f64 + Sync),
) -> Vec<f64> {
    let width = x.shape.channels;
    let part = part(width);
    let sums = mapped(x.values.len().div_ceil(part), &|index| {
        let range = index * part..x.values.len().min((index + 1) * part);
        let rows = x.values[range.clone()].chunks_exact(width);
        let mut sums = vec![0.0; width];
        for (x, y) in rows.zip(y.values[range].chunks_exact(width)) {
            for c in 0..width {
                sums[c] += of(c, x[c].to_f64(), y[c].to_f64());
            }
        }
        sums
    });
    let mut total = vec![0.0; width];
    for sums in sums {
        total.iter_mut().zip(sums).for_each(|(t, sum)| *t += sum);
    }
    let count = Moments::count(x) as f64;
    total.into_iter().map(|sum| sum / count).collect()
}

/// Two rows in f64.
fn rows<T: Scalar>(planes: &Planes<T>) -> [Vec<f64>; 2] {
    let (first, second) = planes.values.split_at(planes.shape.channels);
    [first, second].map(|row| row.iter().map(|value| value.to_f64()).collect())
}

impl<T: Scalar> Layer<T> for Moments {
    fn shape(&self, inputs: &[Shape]) -> Shape {
        Shape {
            height: 1,
            width: 2,
            ..inputs[0]
        }
    }

    fn value(&self, _weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        let x = inputs[0];
        let means = mean((x, x), &|_, x, _| x);
        let variances = mean((x, x), &|c, x, _| (x - means[c]) * (x - means[c]));
        Self::planes([means, variances])
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        let (x, [means, _]) = (site.inputs[0], rows(site.output));
        let Some(tangent) = along.tangents[0] else {
            return Planes::zeros(1, site.output.shape);
        };
        Self::planes([
            mean((x, tangent), &|_, _, tangent| tangent),
            mean((x, tangent), &|c, x, tangent| {
                2.0 * (x - means[c]) * tangent
            }),
        ])
    }

    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        _into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    ) {
        let x = site.inputs[0];
        let [means, _] = rows(site.output);
        let count = Self::count(x) as f64;
        let [of_mean, of_variance] = rows(gradient).map(|row| scaled(row, 1.0 / count));
        let (width, part) = (x.shape.channels, part(x.shape.channels));
        let number = <T as candle_core::WithDType>::from_f64;
        let mut out = Planes::stale(x.images(), x.shape);
        for_each_row(&mut out.values, part, &|index, out| {
            let x = x.values[index * part..][..out.len()].chunks_exact(width);
            for (out, x) in out.chunks_exact_mut(width).zip(x) {
                for c in 0..width {
                    let centred = x[c].to_f64() - means[c];
                    out[c] = number(of_mean[c] + 2.0 * of_variance[c] * centred);
                }
            }
        });
        slots[0].add(out);
    }

    /// x̄˙ = (μ̄˙ + 2 τ̄˙ (x − μ) + 2 τ̄ (ẋ − μ̇)) / N.
    fn backward_tangent(
        &self,
        site: &Site<T>,
        along: &Along<T>,
        (gradient, tangent): (&Planes<T>, &Planes<T>),
        into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        self.backward(site, tangent, Some(into), slots);
        let (x, Some(x_tangent)) = (site.inputs[0], along.tangents[0]) else {
            return;
        };
        let count = Self::count(x) as f64;
        let [_, of_variance] = rows(gradient).map(|row| scaled(row, 2.0 / count));
        let moved = mean((x, x_tangent), &|_, _, tangent| tangent);
        let (width, part) = (x.shape.channels, part(x.shape.channels));
        let number = <T as candle_core::WithDType>::from_f64;
        let mut out = Planes::stale(x.images(), x.shape);
        for_each_row(&mut out.values, part, &|index, out| {
            let tangent = x_tangent.values[index * part..][..out.len()].chunks_exact(width);
            for (out, tangent) in out.chunks_exact_mut(width).zip(tangent) {
                for c in 0..width {
                    out[c] = number(of_variance[c] * (tangent[c].to_f64() - moved[c]));
                }
            }
        });
        slots[0].add(out);
    }
}

fn scaled(mut row: Vec<f64>, factor: f64) -> Vec<f64> {
    row.iter_mut().for_each(|value| *value *= factor);
    row
}
