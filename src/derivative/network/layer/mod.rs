//! Layers: value, tangent, gradient and the tangent of the gradient.
//!
//! At fixed images a layer is y = f(x, θ). Along a direction (ẋ, θ̇) its *tangent* is ẏ = f_x ẋ + f_θ θ̇; its *backward* step
//! takes ȳ = ∂L/∂y to x̄ = f_xᵀ ȳ and θ̄ = f_θᵀ ȳ; its *backward tangent* is the derivative of that step along the
//! direction, with ȳ˙ that of ȳ (Pearlmutter 1994, the R operator). Parameter vectors and directions are in the
//! computation's order ([`ParameterSpace`](super::ParameterSpace)).

mod affine;
mod batch_norm;
mod convolution;
mod global_mean;
mod max_pool;
mod moments;

pub(crate) use affine::Affine;
pub(crate) use batch_norm::BatchNorm;
pub(crate) use convolution::Convolution;
pub(crate) use global_mean::GlobalMean;
pub(crate) use max_pool::MaxPool;
pub(crate) use moments::Moments;

use super::pairing::{Pairing, Rows, Way};
use super::planes::{Planes, Scalar, Shape};
use std::ops::Range;

/// What a layer saw at the fixed parameters.
pub(crate) struct Site<'a, T: Scalar> {
    pub(crate) inputs: Vec<&'a Planes<T>>,
    pub(crate) output: &'a Planes<T>,
    pub(crate) weights: &'a [T],
}

/// What a layer saw of a direction: the tangents of its inputs (none: zero) and the direction itself.
pub(crate) struct Along<'a, T: Scalar> {
    pub(crate) tangents: Vec<Option<&'a Planes<T>>>,
    pub(crate) direction: &'a [T],
}

/// Where the gradient of an input is summed over the layers that read it.
#[derive(Debug)]
pub(crate) struct Slot<T: Scalar> {
    /// Whether anybody needs it.
    pub(crate) wanted: bool,
    /// The sum so far.
    pub(crate) sum: Option<Planes<T>>,
}

impl<T: Scalar> Slot<T> {
    pub(crate) fn add(&mut self, gradient: Planes<T>) {
        match &mut self.sum {
            None => self.sum = Some(gradient),
            Some(sum) => sum.add(&gradient),
        }
    }
}

/// One layer; parameter gradients are summed over images and added to `into`, p numbers.
pub(crate) trait Layer<T: Scalar>: Send + Sync {
    /// The shape of y.
    fn shape(&self, inputs: &[Shape]) -> Shape;

    /// y.
    fn value(&self, weights: &[T], inputs: &[&Planes<T>]) -> Planes<T>;

    /// ẏ.
    fn tangent(&self, site: &Site<T>, along: &Along<T>) -> Planes<T>;

    /// x̄ into `slots`, one for each input, and θ̄ into `into`.
    fn backward(
        &self,
        site: &Site<T>,
        gradient: &Planes<T>,
        into: Option<&mut [T]>,
        slots: &mut [Slot<T>],
    );

    /// x̄˙ into `slots` and θ̄˙ into `into`, from ȳ and ȳ˙.
    fn backward_tangent(
        &self,
        site: &Site<T>,
        along: &Along<T>,
        gradients: (&Planes<T>, &Planes<T>),
        into: &mut [T],
        slots: &mut [Slot<T>],
    );

    /// The place of its first tensor in the computation; none without parameters.
    fn place(&self) -> Option<Range<usize>> {
        None
    }

    /// The ways to ⟨θ̄_i, v⟩ for `count` vectors, with their multiplications for an image, the cheapest first.
    fn ways(&self, count: usize, rank: Option<usize>) -> Vec<(Way, f64)> {
        let _ = (count, rank);
        Vec::new()
    }

    /// These products in one of the ways; none without parameters.
    fn pairing(&self, vectors: &Rows<T>, way: Way) -> Option<Box<dyn Pairing<T> + '_>> {
        let _ = (vectors, way);
        None
    }

    /// The layer as one matrix that multiplies patches, where it is that.
    fn as_convolution(&self) -> Option<&Convolution> {
        None
    }

    /// The places of its parameters that are a number a channel.
    fn channelwise(&self) -> Vec<Range<usize>> {
        Vec::new()
    }

    /// An image's gradients with respect to these, one after the other.
    fn channelwise_gradient(&self, site: &Site<T>, gradient: &Planes<T>, image: usize) -> Vec<f64> {
        let _ = (site, gradient, image);
        Vec::new()
    }
}
