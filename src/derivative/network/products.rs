//! Products of the loss's derivatives with vectors, in one precision.
//!
//! With the logits z(θ) of an image, π their softmax and J = ∂z/∂θ, along a direction v: ż = J v is the tangent of the
//! logits, and the derivative of the logits' gradient π − e_y is s = (diag π − ππᵀ) ż. Then
//!
//! - Gauss–Newton: Jᵀ s, one ordinary backward pass;
//! - Hessian: the tangent of the backward pass, seeded with s.
//!
//! Cost in units of one forward pass, convolutions counted: a gradient 3 (values, and in the backward pass two products for
//! each layer). At a linearisation, a Hessian product 6 (two terms in each of three roles), a Gauss–Newton product 4, or 2 with
//! root gradients ([`rooted`](super::rooted)), all ⟨∇ℓ_i, v⟩ for a single vector 1 ([`pairing`](super::pairing) for more); a
//! linearisation itself 1, with output gradients 2, with root gradients C. The first trained layer is cheaper throughout, as
//! nothing is passed to its input.

use super::linearisation::Kit;
use super::pairing::Pairs;
use super::planes::{Planes, Scalar};
use super::program::Program;
use super::storage::Stored;
use super::{Beside, Curvature, Linearisation, Linearisations};
use crate::derivative::head::HeadOutputs;
use crate::model::op::channels_last::Buffer;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// A program whose linearisations are of its own precision.
pub(super) trait Precision: Stored {
    fn kit(linearisation: &Linearisation) -> Option<&Kit<Self>>;
    fn keep(kit: Kit<Self>, outputs: HeadOutputs) -> Linearisation;
}

pub(super) fn kit_of<T: Precision>(linearisation: &Linearisation) -> Result<&Kit<T>> {
    T::kit(linearisation).ok_or_else(|| {
        Error::mismatch(
            "linearisation",
            "the network's precision",
            "another one",
            "linearise the same network",
        )
    })
}

impl<T: Precision> Program<T> {
    fn outputs(&self, logits: &Planes<T>, labels: &[usize]) -> Result<HeadOutputs> {
        let shape = (logits.images(), logits.shape.channels);
        let logits = Tensor::from_slice(&logits.values, shape, &Device::Cpu)?;
        HeadOutputs::from_logits(&logits, labels)
    }

    fn logits_planes(&self, values: &Tensor, like: &Planes<T>) -> Result<Planes<T>> {
        Ok(Planes {
            shape: like.shape,
            values: values.flatten_all()?.to_vec1()?.into(),
        })
    }

    /// A linearisation, with what is wanted beside the values.
    pub(super) fn linearise(
        &self,
        (input, labels): (Planes<T>, &[usize]),
        beside: Beside,
    ) -> Result<Linearisation> {
        let values = self.values(input);
        let logits = &values[values.len() - 1];
        let outputs = self.outputs(logits, labels)?;
        let gradients = match beside {
            Beside::Gradients => {
                self.gradients(&values, self.logits_planes(&outputs.residuals, logits)?)
            }
            _ => Vec::new(),
        };
        let roots = match beside {
            // A single class has no rows.
            Beside::RootGradients if self.root_rows() > 0 => {
                Some(self.root_gradients_of(&values, &outputs)?)
            }
            _ => None,
        };
        let kit = Kit {
            values,
            gradients,
            roots,
        };
        Ok(T::keep(kit, outputs))
    }

    /// Adds Σ ∇ℓ to `into`; the losses and predictions.
    pub(super) fn add_gradient(
        &self,
        (input, labels): (Planes<T>, &[usize]),
        into: &mut [T],
    ) -> Result<HeadOutputs> {
        let values = self.values(input);
        let logits = &values[values.len() - 1];
        let outputs = self.outputs(logits, labels)?;
        let seed = self.logits_planes(&outputs.residuals, logits)?;
        self.pull_back(&values, seed, into);
        Ok(outputs)
    }

    /// Moves θ to `parameters` `[p]`.
    pub(super) fn move_to(&mut self, parameters: &Tensor) -> Result<()> {
        let rows = parameters.unsqueeze(0)?;
        self.weights = self.directions(&rows)?.remove(0);
        self.parameters = rows.flatten_all()?.to_vec1()?;
        Ok(())
    }

    /// The rows of `vectors` `[k, p]` as directions.
    pub(super) fn directions(&self, vectors: &Tensor) -> Result<Vec<Buffer<T>>> {
        self.check(vectors)?;
        let values = vectors.flatten_all()?.to_vec1::<T>()?;
        let rows = values.chunks_exact(self.space.size().max(1));
        Ok(rows.map(|row| self.space.inward(row)).collect())
    }

    pub(super) fn check(&self, vectors: &Tensor) -> Result<()> {
        let (_, size) = vectors.dims2()?;
        if size == self.space.size() && vectors.dtype() == T::DTYPE {
            return Ok(());
        }
        Err(Error::mismatch(
            "vectors",
            format!("{} numbers of {:?}", self.space.size(), T::DTYPE),
            format!("{size} of {:?}", vectors.dtype()),
            "use vectors over the network's own parameters",
        ))
    }

    /// Σ over the images of all linearisations, for every row of `vectors` `[k, p]`.
    pub(super) fn curvature_products(
        &self,
        curvature: Curvature,
        vectors: &Tensor,
        parts: &mut Linearisations,
    ) -> Result<Tensor> {
        let directions = self.directions(vectors)?;
        let zeros = |_| Buffer::zeros(self.space.inner_size());
        let mut sums: Vec<_> = (0..directions.len()).map(zeros).collect();
        for part in parts {
            let part = part?;
            for (direction, sum) in directions.iter().zip(&mut sums) {
                self.add_product(curvature, &part, direction, sum)?;
            }
        }
        self.outward(sums)
    }

    /// Vectors of inner parameters as rows of stored ones, `[k, p]`.
    pub(super) fn outward(&self, vectors: Vec<Buffer<T>>) -> Result<Tensor> {
        let shape = (vectors.len(), self.space.size());
        let mut rows = Vec::with_capacity(shape.0 * shape.1);
        for vector in vectors {
            rows.extend_from_slice(&self.space.outward(&vector));
        }
        Ok(Tensor::from_vec(rows, shape, &Device::Cpu)?)
    }

    fn add_product(
        &self,
        curvature: Curvature,
        part: &Linearisation,
        direction: &[T],
        into: &mut [T],
    ) -> Result<()> {
        let kit = kit_of::<T>(part)?;
        if let (Curvature::GaussNewton, Some(gradients)) = (curvature, &kit.roots) {
            let at = (&kit.values[..], gradients);
            self.add_root_sum(at, &self.root_products(at, direction), into);
            return Ok(());
        }
        let mut tangents = self.tangents(&kit.values, direction);
        let logits = tangents.pop().flatten();
        let Some(logits) = logits else { return Ok(()) };
        let seed = softmax_curvature(&part.outputs, logits)?;
        match curvature {
            Curvature::GaussNewton => self.pull_back(&kit.values, seed, into),
            Curvature::Hessian => {
                let state = (&kit.values[..], gradients_of(kit)?);
                self.pull_back_tangent(state, (&tangents, direction), (seed, Vec::new()), into);
            }
        }
        Ok(())
    }

    /// Σ_c π_c (∇ℓ(c))² of one image, `[p]` in f64.
    pub(super) fn squared_gradients(&self, input: Planes<T>) -> Result<Vec<f64>> {
        let values = self.values(input);
        let logits = &values[values.len() - 1];
        let classes = logits.shape.channels;
        let mut squares = vec![0.0; self.space.size()];
        for class in 0..classes {
            let outputs = self.outputs(logits, &[class])?;
            let weight = outputs.probabilities.flatten_all()?.to_vec1::<T>()?[class].to_f64();
            let seed = self.logits_planes(&outputs.residuals, logits)?;
            let mut gradient = Buffer::zeros(self.space.inner_size());
            self.pull_back(&values, seed, &mut gradient);
            for (sum, value) in squares.iter_mut().zip(&*self.space.outward(&gradient)) {
                *sum += weight * value.to_f64() * value.to_f64();
            }
        }
        Ok(squares)
    }

    /// Prepares the products of every image's gradient with the rows of `vectors` `[k, p]`.
    pub(super) fn pairs(&self, vectors: &Tensor, rank: Option<usize>) -> Result<Pairs<'_, T>> {
        self.check(vectors)?;
        Ok(Pairs::new(self, &vectors.flatten_all()?.to_vec1()?, rank))
    }

    /// These products for the images of a linearisation, `[segments, k, m]`.
    pub(super) fn image_products(pairs: &Pairs<T>, part: &Linearisation) -> Result<Vec<f64>> {
        let kit = kit_of::<T>(part)?;
        Ok(pairs.products(&kit.values, gradients_of(kit)?))
    }
}

pub(super) fn gradients_of<T: Scalar>(kit: &Kit<T>) -> Result<&[Planes<T>]> {
    if kit.gradients.is_empty() {
        return Err(Error::mismatch(
            "linearisation",
            "output gradients",
            "none",
            "linearise with gradients",
        ));
    }
    Ok(&kit.gradients)
}

/// (diag π − ππᵀ) ż for every image, in f64. ż is shifted to 0 at the most probable class, which the matrix does not see, so
/// that no difference of nearly equal numbers is left where one π is close to 1.
pub(super) fn softmax_curvature<T: Scalar>(
    outputs: &HeadOutputs,
    mut directions: Planes<T>,
) -> Result<Planes<T>> {
    let probabilities = outputs.probabilities.flatten_all()?.to_vec1::<T>()?;
    let classes = directions.shape.channels;
    let number = <T as candle_core::WithDType>::from_f64;
    let rows = directions.values.chunks_exact_mut(classes);
    let images = rows.zip(probabilities.chunks_exact(classes));
    for ((row, weights), &top) in images.zip(&outputs.predictions) {
        let shift = row[top].to_f64();
        let pairs = row.iter().zip(weights);
        let mean: f64 = pairs
            .map(|(z, weight)| weight.to_f64() * (z.to_f64() - shift))
            .sum();
        for (z, weight) in row.iter_mut().zip(weights) {
            *z = number(weight.to_f64() * (z.to_f64() - shift - mean));
        }
    }
    Ok(directions)
}
