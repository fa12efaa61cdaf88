//! What a pass over fixed images at fixed parameters leaves: everything of a product that no vector changes.

use super::planes::{Planes, Scalar};
use super::products::Precision;
use super::rooted::RootGradients;
use crate::Result;
use crate::derivative::head::HeadOutputs;
use std::sync::Arc;

/// Activations, softmax outputs and, where asked for, output gradients of m images.
#[derive(Debug)]
pub struct Linearisation {
    pub(super) kept: Kept,
    pub(super) outputs: HeadOutputs,
}

/// Those of some passes, made or kept, one after the other.
pub type Linearisations<'a> = dyn Iterator<Item = Result<Arc<Linearisation>>> + 'a;

/// What a linearisation holds beside the values of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing: for Gauss–Newton products by tangents.
    Nothing,
    /// The loss's gradients: for Hessian and per-example products.
    Gradients,
    /// What parameters need of the gradients of all rows of the softmax's root, C − 1 an image: for Gauss–Newton products with half
    /// the convolutions.
    RootGradients,
}

/// In the network's precision.
#[derive(Debug)]
pub(super) enum Kept {
    F32(Kit<f32>),
    F64(Kit<f64>),
}

/// The values of all layers, and what was asked for beside them: their gradients, or those of all rows of the softmax's root.
#[derive(Debug)]
pub(super) struct Kit<T: Scalar> {
    pub(super) values: Vec<Planes<T>>,
    pub(super) gradients: Vec<Planes<T>>,
    pub(super) roots: Option<RootGradients<T>>,
}

impl<T: Scalar> Kit<T> {
    fn bytes(&self) -> usize {
        let planes = self.values.iter().chain(&self.gradients);
        let planes = planes.map(|planes| planes.values.len()).sum::<usize>();
        let roots = self.roots.as_ref().map_or(0, RootGradients::bytes);
        planes * T::DTYPE.size_in_bytes() + roots
    }
}

impl Precision for f32 {
    fn kit(linearisation: &Linearisation) -> Option<&Kit<f32>> {
        match &linearisation.kept {
            Kept::F32(kit) => Some(kit),
            Kept::F64(_) => None,
        }
    }

    fn keep(kit: Kit<f32>, outputs: HeadOutputs) -> Linearisation {
        let kept = Kept::F32(kit);
        Linearisation { kept, outputs }
    }
}

impl Precision for f64 {
    fn kit(linearisation: &Linearisation) -> Option<&Kit<f64>> {
        match &linearisation.kept {
            Kept::F64(kit) => Some(kit),
            Kept::F32(_) => None,
        }
    }

    fn keep(kit: Kit<f64>, outputs: HeadOutputs) -> Linearisation {
        let kept = Kept::F64(kit);
        Linearisation { kept, outputs }
    }
}

impl Linearisation {
    /// Losses, probabilities and predictions, by image.
    pub fn outputs(&self) -> &HeadOutputs {
        &self.outputs
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::F32(kit) => kit.bytes(),
            Kept::F64(kit) => kit.bytes(),
        }
    }
}
