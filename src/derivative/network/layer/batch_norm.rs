//! Batch norm in training mode, with what follows it: each channel is normalised by the batch's own moments.
//!
//! y = max(γ ∘ (x − μ)/√(τ + ε) + β + r, 0) as in [`Affine`], with μ and τ what [`Moments`](super::Moments) gives of the batch: the
//! second input. With s = 1/√(τ + ε), g the gated ȳ, G₀ = Σ g and G₁ = Σ g ∘ (x − μ) there is beside what the affine map has
//!
//! - along a direction: ṡ = −s³ τ̇/2; μ̇ and ṡ act like γ̇ + γ ṡ/s and β̇ − γ s μ̇;
//! - back: μ̄ = −γ s G₀ and τ̄ = −γ s³ G₁/2;
//! - their derivatives, with Ġ₁ = Σ ġ ∘ (x − μ) + Σ g ∘ ẋ − μ̇ G₀.
//!
//! So every pass over memory is the affine map's, and this layer is what happens to a number a channel.

use super::super::planes::{Planes, Scalar, Shape};
use super::{Affine, Along, Layer, Site, Slot};
use crate::model::EPSILON;
use std::ops::Range;

/// Batch norm in training mode; inputs are x, its moments and, where there is one, r.
#[derive(Debug)]
pub(crate) struct BatchNorm {
    /// Place of γ in the parameter vector.
    pub(crate) gamma: Range<usize>,
    /// Place of β.
    pub(crate) beta: Range<usize>,
    /// Whether the rectifier follows.
    pub(crate) rectified: bool,
}

/// The affine map that the layer is at one batch, over γ and β alone, and what it is made of.
struct Map<T> {
    affine: Affine<T>,
    /// γ, then β.
    weights: Vec<T>,
    gamma: Vec<f64>,
    /// s.
    inverse: Vec<f64>,
}

/// What a direction does to the map.
struct Moved<T> {
    /// What acts like γ̇, then what acts like β̇.
    direction: Vec<T>,
    gamma: Vec<f64>,
    mean: Vec<f64>,
    /// ṡ.
    inverse: Vec<f64>,
}

fn number<T: Scalar>(value: f64) -> T {
    <T as candle_core::WithDType>::from_f64(value)
}

fn numbers<T: Scalar>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64()).collect()
}

impl BatchNorm {
    fn map<T: Scalar>(&self, weights: &[T], moments: &Planes<T>) -> Map<T> {
        let channels = self.gamma.len();
        let (mean, variance) = moments.values.split_at(channels);
        let inverse = (variance.iter())
            .map(|variance| 1.0 / (variance.to_f64() + EPSILON).sqrt())
            .collect::<Vec<f64>>();
        let (gamma, beta) = (&weights[self.gamma.clone()], &weights[self.beta.clone()]);
        Map {
            affine: Affine {
                gamma: 0..channels,
                beta: channels..2 * channels,
                mean: mean.to_vec(),
                inverse_deviation: inverse.iter().map(|&inverse| number(inverse)).collect(),
                rectified: self.rectified,
            },
            weights: [gamma, beta].concat(),
            gamma: numbers(gamma),
            inverse,
        }
    }

    fn moved<T: Scalar>(&self, map: &Map<T>, along: &Along<T>) -> Moved<T> {
        let channels = self.gamma.len();
        let moments = along.tangents[1].map_or(vec![0.0; 2 * channels], |m| numbers(&m.values));
        let (mean, variance) = moments.split_at(channels);
        let gamma = numbers(&along.direction[self.gamma.clone()]);
        let beta = numbers(&along.direction[self.beta.clone()]);
        let inverse: Vec<f64> = (map.inverse.iter().zip(variance))
            .map(|(s, variance)| -0.5 * s.powi(3) * variance)
            .collect();
        let scale = (0..channels).map(|c| gamma[c] + map.gamma[c] * inverse[c] / map.inverse[c]);
        let shift = (0..channels).map(|c| beta[c] - map.gamma[c] * map.inverse[c] * mean[c]);
        Moved {
            direction: scale.chain(shift).map(number).collect(),
            mean: mean.to_vec(),
            gamma,
            inverse,
        }
    }

    /// Adds to the parameters' gradients, of γ and of β.
    fn add<T: Scalar>(&self, into: &mut [T], gamma: &[f64], beta: &[f64]) {
        for (place, values) in [(&self.gamma, gamma), (&self.beta, beta)] {
            let sums = into[place.clone()].iter_mut().zip(values);
            sums.for_each(|(sum, &value)| *sum += number::<T>(value));
        }
    }
}

/// What the affine map sees of a layer: everything but the moments.
fn without_moments<I: Copy>(inputs: &[I]) -> Vec<I> {
    let others = inputs.iter().enumerate().filter(|(index, _)| *index != 1);
    others.map(|(_, &input)| input).collect()
}

/// Runs `step` with the slots of x and r.
fn with_slots<T: Scalar>(slots: &mut [Slot<T>], step: impl FnOnce(&mut [Slot<T>])) {
    let taken = |slot: &mut Slot<T>| Slot {
        wanted: slot.wanted,
        sum: slot.sum.take(),
    };
    let places: Vec<usize> = without_moments(&(0..slots.len()).collect::<Vec<_>>());
    let mut inner: Vec<Slot<T>> = places.iter().map(|&at| taken(&mut slots[at])).collect();
    step(&mut inner);
    for (at, slot) in places.into_iter().zip(inner) {
        slots[at] = slot;
    }
}

fn moments<T: Scalar>(of_mean: Vec<f64>, of_variance: Vec<f64>, shape: Shape) -> Planes<T> {
    let both = of_mean.into_iter().chain(of_variance);
    Planes {
        shape,
        values: both.map(number).collect::<Vec<T>>().into(),
    }
}

impl<T: Scalar> Layer<T> for BatchNorm {
    fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    fn value(&self, weights: &[T], inputs: &[&Planes<T>]) -> Planes<T> {
        let map = self.map(weights, inputs[1]);
        (map.affine).value(&map.weights, &without_moments(inputs))
    }

    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T> {
        let map = self.map(site.weights, site.inputs[1]);
        let moved = self.moved(&map, along);
        map.affine.tangent(
            &map.site(site),
            &Along {
                tangents: without_moments(&along.tangents),
                direction: &moved.direction,
            },
        )
    }

    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    ) {
        let map = self.map(site.weights, site.inputs[1]);
        let channels = self.gamma.len();
        let mut own = vec![T::default(); 2 * channels];
        with_slots(slots, |slots| {
            (map.affine).backward(&map.site(site), gradient, Some(&mut own), slots);
        });
        let (of_gamma, of_beta) = (numbers(&own[..channels]), numbers(&own[channels..]));
        // γ̄ = s G₁.
        let each = |of: &dyn Fn(usize) -> f64| (0..channels).map(of).collect::<Vec<f64>>();
        let of_mean = each(&|c| -map.gamma[c] * map.inverse[c] * of_beta[c]);
        let of_variance = each(&|c| -0.5 * map.gamma[c] * map.inverse[c].powi(2) * of_gamma[c]);
        slots[1].add(moments(of_mean, of_variance, site.inputs[1].shape));
        if let Some(into) = into {
            self.add(into, &of_gamma, &of_beta);
        }
    }

    fn backward_tangent(
        &self,
        site: &Site<T>,
        along: &Along<T>,
        (gradient, tangent): (&Planes<T>, &Planes<T>),
        into: &mut [T],
        slots: &mut [Slot<T>],
    ) {
        let map = self.map(site.weights, site.inputs[1]);
        let moved = self.moved(&map, along);
        let channels = self.gamma.len();
        // G₀ and G₁ at the point itself, whose ways on are not wanted.
        let mut still = vec![T::default(); 2 * channels];
        (map.affine).add_parameters_of(&map.site(site), gradient, &mut still);
        let mut own = vec![T::default(); 2 * channels];
        let along = Along {
            tangents: without_moments(&along.tangents),
            direction: &moved.direction,
        };
        with_slots(slots, |slots| {
            let pair = (gradient, tangent);
            (map.affine).backward_tangent(&map.site(site), &along, pair, &mut own, slots);
        });
        let (s, s_dot) = (&map.inverse, &moved.inverse);
        let (gamma, gamma_dot) = (&map.gamma, &moved.gamma);
        let [g0, g0_dot] = [&still, &own].map(|sums| numbers(&sums[channels..]));
        let each = |of: &dyn Fn(usize) -> f64| (0..channels).map(of).collect::<Vec<f64>>();
        let g1 = each(&|c| still[c].to_f64() / s[c]);
        let g1_dot = each(&|c| own[c].to_f64() / s[c] - moved.mean[c] * g0[c]);
        let scale_dot = each(&|c| gamma_dot[c] * s[c] + gamma[c] * s_dot[c]);
        let of_mean = each(&|c| -scale_dot[c] * g0[c] - gamma[c] * s[c] * g0_dot[c]);
        let of_variance = each(&|c| {
            let cube_dot = 3.0 * s[c].powi(2) * s_dot[c] * gamma[c] + s[c].powi(3) * gamma_dot[c];
            -0.5 * (cube_dot * g1[c] + s[c].powi(3) * gamma[c] * g1_dot[c])
        });
        slots[1].add(moments(of_mean, of_variance, site.inputs[1].shape));
        let of_gamma = each(&|c| s_dot[c] * g1[c] + s[c] * g1_dot[c]);
        self.add(into, &of_gamma, &g0_dot);
    }
}

impl<T: Scalar> Map<T> {
    fn site<'a>(&'a self, site: &Site<'a, T>) -> Site<'a, T> {
        Site {
            inputs: without_moments(&site.inputs),
            output: site.output,
            weights: &self.weights,
        }
    }
}
