//! Batch norm in evaluation mode, with what follows it in one pass over memory: a residual sum and a rectifier.
//!
//! y = max(γ ∘ x̂ + β + r, 0), x̂ = (x − μ)/√(σ² + ε) with the running μ and σ², which are constants; r (the shortcut) and
//! the rectifier where the network has them. The rectifier's derivative at 0 is 0.
//!
//! With g = ȳ where y > 0, else 0: x̄ = s ∘ g with s = γ/√(σ² + ε), r̄ = g, β̄ = Σ g, γ̄ = Σ g ∘ x̂; sums over images and pixels.

use super::super::pairing::{Pairing, Rows, ScaleAndShift, Way};
use super::super::planes::{PART, Planes, Scalar, Shape};
use super::{Along, Layer, Site, Slot};
use crate::in_parallel::for_each_row;
use crate::model::op::channels_last::Buffer;
use rayon::prelude::*;
use std::ops::Range;

/// Batch norm in evaluation mode; the second input, where there is one, is r.
#[derive(Debug)]
pub(crate) struct Affine<T> {
    /// Place of γ in the parameter vector.
    pub(crate) gamma: Range<usize>,
    /// Place of β.
    pub(crate) beta: Range<usize>,
    /// μ, one for each channel.
    pub(crate) mean: Vec<T>,
    /// 1/√(σ² + ε).
    pub(crate) inverse_deviation: Vec<T>,
    /// Whether the rectifier follows.
    pub(crate) rectified: bool,
}

/// Σ g and Σ g (x − μ) (or their tangents) of a run of rows.
type Sums<T> = (Vec<T>, Vec<T>);

impl<T: Scalar> Affine<T> {
    fn channels(&self) -> usize {
        self.mean.len()
    }

    /// Elements of a task: whole rows.
    fn part(&self) -> usize {
        (PART / self.channels()).max(1) * self.channels()
    }

    /// γ/√(σ² + ε) of a parameter vector or direction.
    fn scale(&self, weights: &[T]) -> Vec<T> {
        let gamma = weights[self.gamma.clone()].iter();
        gamma
            .zip(&self.inverse_deviation)
            .map(|(&gamma, &inverse)| gamma * inverse)
            .collect()
    }

    /// `out = 0` where `y ≤ 0`.
    fn gate(&self, out: &mut [T], y: &[T]) {
        if self.rectified {
            let zero = T::default();
            for (out, &y) in out.iter_mut().zip(y) {
                *out = if y > zero { *out } else { zero };
            }
        }
    }

    /// g, and its sums where they are wanted.
    fn gated(&self, site: &Site<T>, gradient: &Planes<T>, sums: bool) -> (Planes<T>, Vec<Sums<T>>) {
        let (x, part, width) = (site.inputs[0], self.part(), self.channels());
        let mut gated = gradient.clone();
        let tasks = gated.values.par_chunks_mut(part).enumerate();
        let of_part = |(index, gated): (usize, &mut [T])| {
            let range = index * part..index * part + gated.len();
            self.gate(gated, &site.output.values[range.clone()]);
            let mut found = (vec![T::default(); width], vec![T::default(); width]);
            if sums {
                by_rows(width, gated, &x.values[range], |(g, x)| {
                    for c in 0..width {
                        found.0[c] += g[c];
                        found.1[c] += g[c] * (x[c] - self.mean[c]);
                    }
                });
            }
            found
        };
        let found = tasks.map(of_part).collect();
        (gated, found)
    }

    /// Adds γ̄ and β̄ of ȳ to `into`, without x̄.
    pub(super) fn add_parameters_of(&self, site: &Site<T>, gradient: &Planes<T>, into: &mut [T]) {
        let (_, sums) = self.gated(site, gradient, true);
        self.add_parameters(sums, into);
    }

    fn add_parameters(&self, sums: Vec<Sums<T>>, into: &mut [T]) {
        let mut totals = [vec![0.0; self.channels()], vec![0.0; self.channels()]];
        for (plain, weighted) in &sums {
            for (totals, part) in totals.iter_mut().zip([plain, weighted]) {
                let pairs = totals.iter_mut().zip(part);
                pairs.for_each(|(total, value)| *total += value.to_f64());
            }
        }
        let [plain, weighted] = totals;
        let number = <T as candle_core::WithDType>::from_f64;
        for (sum, total) in into[self.beta.clone()].iter_mut().zip(plain) {
            *sum += number(total);
        }
        let targets = into[self.gamma.clone()].iter_mut();
        for ((sum, total), inverse) in targets.zip(weighted).zip(&self.inverse_deviation) {
            *sum += number(total * inverse.to_f64());
        }
    }
}

/// Calls `visit(row of out, row of x)` for rows of `width`.
fn by_rows<'a, T>(
    width: usize,
    out: &'a mut [T],
    x: &'a [T],
    visit: impl FnMut((&'a mut [T], &'a [T])),
) {
    out.chunks_exact_mut(width)
        .zip(x.chunks_exact(width))
        .for_each(visit);
}

impl<T: Scalar> Layer<T> for Affine<T> {
    fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    fn value(&self, weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        let (scale, beta) = (self.scale(weights), &weights[self.beta.clone()]);
        let (x, part, width) = (inputs[0], self.part(), self.channels());
        let mut out = Planes::stale(x.images(), x.shape);
        for_each_row(&mut out.values, part, &|index, out| {
            let range = index * part..index * part + out.len();
            by_rows(width, out, &x.values[range.clone()], |(out, x)| {
                for c in 0..width {
                    out[c] = scale[c] * (x[c] - self.mean[c]) + beta[c];
                }
            });
            if let Some(shortcut) = inputs.get(1) {
                let pairs = out.iter_mut().zip(&shortcut.values[range]);
                pairs.for_each(|(out, &r)| *out += r);
            }
            if self.rectified {
                let zero = T::default();
                // `max` of NaN would hide it; this comparison passes it on.
                for out in out {
                    *out = if *out < zero { zero } else { *out };
                }
            }
        });
        out
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        let (scale, slope) = (self.scale(site.weights), self.scale(along.direction));
        let shift = &along.direction[self.beta.clone()];
        let (x, part, width) = (site.inputs[0], self.part(), self.channels());
        let mut out = Planes::stale(x.images(), x.shape);
        for_each_row(&mut out.values, part, &|index, out| {
            let range = index * part..index * part + out.len();
            by_rows(width, out, &x.values[range.clone()], |(out, x)| {
                for c in 0..width {
                    out[c] = slope[c] * (x[c] - self.mean[c]) + shift[c];
                }
            });
            if let Some(tangent) = along.tangents[0] {
                by_rows(width, out, &tangent.values[range.clone()], |(out, x)| {
                    for c in 0..width {
                        out[c] += scale[c] * x[c];
                    }
                });
            }
            if let Some(Some(shortcut)) = along.tangents.get(1) {
                let pairs = out.iter_mut().zip(&shortcut.values[range.clone()]);
                pairs.for_each(|(out, &r)| *out += r);
            }
            self.gate(out, &site.output.values[range]);
        });
        out
    }

    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    ) {
        let (scale, part, width) = (self.scale(site.weights), self.part(), self.channels());
        let (mut gated, sums) = self.gated(site, gradient, into.is_some());
        if let Some(into) = into {
            self.add_parameters(sums, into);
        }
        if slots.get(1).is_some_and(|slot| slot.wanted) {
            slots[1].add(gated.clone());
        }
        for_each_row(&mut gated.values, part, &|_, gated| {
            for row in gated.chunks_exact_mut(width) {
                row.iter_mut().zip(&scale).for_each(|(g, &s)| *g *= s);
            }
        });
        slots[0].add(gated);
    }

    fn backward_tangent(
        &self,
        site: &Site<T>,
        along: &Along<T>,
        (gradient, tangent): (&Planes<T>, &Planes<T>),
        into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        let (scale, slope) = (self.scale(site.weights), self.scale(along.direction));
        let (x, part, width) = (site.inputs[0], self.part(), self.channels());
        let shortcut = slots.get(1).is_some_and(|slot| slot.wanted);
        let mut out = tangent.clone();
        let mut gated = shortcut.then(|| Planes::stale(x.images(), x.shape));
        let gated_parts: Vec<Option<&mut [T]>> = match &mut gated {
            Some(gated) => gated.values.chunks_mut(part).map(Some).collect(),
            None => (0..out.values.len().div_ceil(part)).map(|_| None).collect(),
        };
        let tasks = out.values.par_chunks_mut(part).zip(gated_parts).enumerate();
        let sums: Vec<Sums<T>> = tasks
            .map(|(index, (out, gated))| {
                let range = index * part..index * part + out.len();
                let y = &site.output.values[range.clone()];
                self.gate(out, y);
                if let Some(gated) = gated {
                    gated.copy_from_slice(out);
                }
                let mut g = Buffer::stale(range.len());
                g.copy_from_slice(&gradient.values[range.clone()]);
                self.gate(&mut g, y);
                let mut sums = (vec![T::default(); width], vec![T::default(); width]);
                by_rows(width, out, &x.values[range.clone()], |(g_dot, x)| {
                    for c in 0..width {
                        sums.0[c] += g_dot[c];
                        sums.1[c] += g_dot[c] * (x[c] - self.mean[c]);
                    }
                });
                if let Some(tangent) = along.tangents[0] {
                    by_rows(width, &mut g, &tangent.values[range], |(g, x_dot)| {
                        for c in 0..width {
                            sums.1[c] += g[c] * x_dot[c];
                        }
                    });
                }
                by_rows(width, out, &g, |(out, g)| {
                    for c in 0..width {
                        out[c] = scale[c] * out[c] + slope[c] * g[c];
                    }
                });
                sums
            })
            .collect();
        self.add_parameters(sums, into);
        if let Some(gated) = gated {
            slots[1].add(gated);
        }
        slots[0].add(out);
    }

    fn place(&self) -> Option<Range<usize>> {
        Some(self.gamma.clone())
    }

    fn channelwise(&self) -> Vec<Range<usize>> {
        vec![self.gamma.clone(), self.beta.clone()]
    }

    fn channelwise_gradient(&self, site: &Site<T>, gradient: &Planes<T>, image: usize) -> Vec<f64> {
        let (size, width) = (gradient.shape.elements(), self.channels());
        let range = image * size..(image + 1) * size;
        let mut gated = Buffer::stale(size);
        gated.copy_from_slice(&gradient.values[range.clone()]);
        self.gate(&mut gated, &site.output.values[range.clone()]);
        let mut sums = vec![0.0; 2 * width];
        let (scale, shift) = sums.split_at_mut(width);
        by_rows(
            width,
            &mut gated,
            &site.inputs[0].values[range],
            |(g, x)| {
                for c in 0..width {
                    scale[c] += g[c].to_f64() * (x[c] - self.mean[c]).to_f64();
                    shift[c] += g[c].to_f64();
                }
            },
        );
        let inverse = self.inverse_deviation.iter();
        (scale.iter_mut().zip(inverse)).for_each(|(sum, inverse)| *sum *= inverse.to_f64());
        sums
    }

    fn ways(&self, count: usize, _rank: Option<usize>) -> Vec<(Way, f64)> {
        let vectors = 2 * count * self.channels();
        vec![(Way::Gradients, vectors as f64)]
    }

    fn pairing(&self, vectors: &Rows<T>, _way: Way) -> Option<Box<dyn Pairing<T> + '_>> {
        Some(Box::new(ScaleAndShift::new(self, vectors, None)))
    }
}
