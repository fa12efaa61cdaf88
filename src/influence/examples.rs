//! One side of the scores, training images or queries: features, labels, ids, and what the head says about them.

use super::Images;
use crate::data::{Rows, moved};
use crate::derivative::head::{
    HeadCoordinates, HeadInputs, HeadOutputs, SoftmaxHead, outer_product,
};
use crate::operator::Vectors;
use crate::product::tensor_product;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::ops::Range;
use std::path::Path;

/// Labelled features whose rows are images of a larger data set.
#[derive(Debug, Clone, Copy)]
pub struct FeatureSet<'a> {
    /// `[n, d]`, f32 or f64.
    pub features: &'a Rows,
    /// n labels.
    pub labels: &'a [usize],
    /// The image's id in its data set, row by row: a transfer uses a subset of it.
    pub ids: &'a [usize],
}

/// Images at a head: everything that their loss gradients need.
pub struct Examples {
    ids: Vec<usize>,
    inputs: HeadInputs,
    outputs: HeadOutputs,
    /// ∂ℓ/∂(logit axes), `[n, w]`: a gradient is this ⊗ that.
    left: Tensor,
    /// Inputs in feature axes, `[n, d + 1]`.
    right: Rows,
}

impl Examples {
    /// Evaluates `head` on `set`, all in `dtype`.
    ///
    /// # Errors
    /// Features, labels, ids or head that do not fit together, or numbers that are not finite or too large for `dtype`.
    pub fn new(set: &FeatureSet, head: &SoftmaxHead, dtype: DType) -> Result<Self> {
        let inputs = HeadInputs::new(set.features, set.labels, dtype)?;
        if set.ids.len() != inputs.count() {
            return Err(Error::mismatch(
                "ids of the features",
                inputs.count(),
                set.ids.len(),
                "give one id for each row",
            ));
        }
        let head = converted(head, dtype)?.to_device(inputs.rows().device())?;
        let outputs = head.outputs(&inputs)?;
        Ok(Self {
            ids: set.ids.to_vec(),
            left: outputs.residuals.clone(),
            right: inputs.rows().clone(),
            inputs,
            outputs,
        })
    }

    /// The same images with their gradients in `coordinates`.
    ///
    /// # Errors
    /// Sizes that do not fit, or a tensor operation failed.
    pub fn in_coordinates(self, coordinates: &HeadCoordinates) -> Result<Self> {
        self.in_coordinates_within(coordinates, None)
    }

    /// The same; where the features are mapped, inputs in feature axes lie in a file in the folder `scratch`.
    ///
    /// # Errors
    /// As for [`Examples::in_coordinates`]; the file cannot be written.
    pub fn in_coordinates_within(
        self,
        coordinates: &HeadCoordinates,
        scratch: Option<&Path>,
    ) -> Result<Self> {
        Ok(Self {
            left: coordinates.residuals(&self.outputs)?,
            right: coordinates.inputs_within(&self.inputs, scratch)?,
            ..self
        })
    }

    /// The same images, everything rounded to another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            ids: self.ids.clone(),
            inputs: self.inputs.to_dtype(dtype)?,
            outputs: self.outputs.to_dtype(dtype)?,
            left: self.left.to_dtype(dtype)?,
            right: self.right.to_dtype(dtype)?,
        })
    }

    /// ∂ℓ/∂(logit axes), `[n, w]`.
    pub fn residuals(&self) -> &Tensor {
        &self.left
    }

    /// The inputs in feature axes, `[n, d + 1]`.
    pub fn axes_inputs(&self) -> &Rows {
        &self.right
    }

    /// Parameters of a gradient, w·(d + 1).
    pub fn parameter_count(&self) -> usize {
        self.left.dims()[1] * self.right.columns()
    }

    /// How many images.
    pub fn count(&self) -> usize {
        self.ids.len()
    }

    /// Ids in the data set, row by row.
    pub fn ids(&self) -> &[usize] {
        &self.ids
    }

    /// Labels, row by row.
    pub fn labels(&self) -> &[usize] {
        self.inputs.labels()
    }

    /// What rankings say of them.
    pub fn images(&self) -> Images<'_> {
        Images {
            ids: self.ids(),
            labels: self.labels(),
            predictions: &self.outputs.predictions,
        }
    }

    /// Features with a constant 1 appended, and labels.
    pub fn inputs(&self) -> &HeadInputs {
        &self.inputs
    }

    /// What the head says about them.
    pub fn outputs(&self) -> &HeadOutputs {
        &self.outputs
    }

    /// Loss gradients of the rows in `range`, `[range.len(), p]`.
    pub(super) fn gradients(&self, range: Range<usize>) -> Result<Tensor> {
        outer_product(
            &self.left.narrow(0, range.start, range.len())?,
            &self.right.chunk(range)?,
        )
    }

    /// Loss gradients of the rows at `positions`, `[positions.len(), p]`.
    pub(super) fn gradients_at(&self, positions: &[u32]) -> Result<Tensor> {
        let index = Tensor::new(positions, self.left.device())?;
        outer_product(
            &self.left.index_select(&index, 0)?,
            &self.right.select(positions)?,
        )
    }

    /// The mean of the loss gradients at `positions`, `[p]`: r̃ᵀã over them, divided by their number.
    pub(super) fn mean_gradient(&self, positions: &[usize]) -> Result<Tensor> {
        let positions: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
        let right = self.right.select(&positions)?;
        let index = Tensor::new(&positions[..], self.left.device())?;
        let left = self.left.index_select(&index, 0)?;
        let sum = left.t()?.matmul(&right)?.flatten_all()?;
        Ok((sum / positions.len() as f64)?)
    }

    /// The factors of the loss gradients in `range`.
    pub(super) fn factors(&self, range: Range<usize>) -> Result<Factors> {
        let left = self.left.narrow(0, range.start, range.len())?;
        Ok(Factors {
            residuals: left.to_dtype(DType::F64)?,
            inputs: self.right.chunk(range)?.to_dtype(DType::F64)?,
        })
    }

    /// The same at `positions`.
    pub(super) fn factors_at(&self, positions: &[u32]) -> Result<Factors> {
        let index = Tensor::new(positions, self.left.device())?;
        Ok(Factors {
            residuals: self.left.index_select(&index, 0)?.to_dtype(DType::F64)?,
            inputs: self.right.select(positions)?.to_dtype(DType::F64)?,
        })
    }

    /// e_c ⊗ a for every output axis c of the rows in `range`, `[range.len()·w, p]`: what a unit of each output would change.
    pub(super) fn output_gradients(&self, range: Range<usize>) -> Result<Tensor> {
        let width = self.left.dims()[1];
        let units = Tensor::eye(width, self.left.dtype(), self.left.device())?;
        let units = units.repeat((range.len(), 1))?;
        let inputs = self.right.chunk(range.clone())?;
        let columns = inputs.dims()[1];
        let inputs = inputs
            .unsqueeze(1)?
            .broadcast_as((range.len(), width, columns))?;
        outer_product(&units, &inputs.reshape((range.len() * width, columns))?)
    }

    /// The images at `positions`.
    pub(super) fn at(&self, positions: &[usize]) -> Result<Self> {
        let places: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
        let index = Tensor::new(&places[..], self.left.device())?;
        Ok(Self {
            ids: positions.iter().map(|&at| self.ids[at]).collect(),
            inputs: self.inputs.at(positions)?,
            outputs: self.outputs.at(positions)?,
            left: self.left.index_select(&index, 0)?,
            right: self.right.select(&places)?.into(),
        })
    }

    /// The same images with other derivatives in their outputs, `[n, w]`.
    pub(super) fn with_residuals(&self, residuals: Tensor) -> Self {
        Self {
            ids: self.ids.clone(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            left: residuals,
            right: self.right.clone(),
        }
    }

    /// The same images with residuals of length 1 in the same directions; one of 0 stays.
    pub(super) fn of_unit_residuals(&self) -> Result<Self> {
        let residuals = Vectors::new(self.left.to_dtype(DType::F64)?)?;
        let factors: Vec<f64> = (lengths(&residuals)?.into_iter())
            .map(|length| length.recip().min(f64::MAX))
            .collect();
        let units = residuals.scaled_to(&factors, self.left.dtype())?;
        Ok(self.with_residuals(units.tensor().clone()))
    }

    /// The same images with gradients of this length in the same directions; one of 0 stays.
    pub(super) fn of_gradient_length(&self, length: f64) -> Result<Self> {
        let mut factors = Vec::with_capacity(self.count());
        for step in self.right.steps() {
            let inputs = lengths(&Vectors::new(self.right.chunk(step)?)?)?;
            factors.extend(inputs.into_iter().map(|input| length / input));
        }
        let units = Vectors::new(self.of_unit_residuals()?.left)?;
        Ok(self.with_residuals(units.scaled(&factors)?.tensor().clone()))
    }

    /// Inner products of the gradients of the rows in `range` with those of `other` in `columns`: (R Rᵀ) ∘ (A Aᵀ), 2(w + d + 1)
    /// operations each where gradients written out would take 2w(d + 1).
    pub(super) fn gradient_products(
        &self,
        range: Range<usize>,
        other: &Self,
        columns: Range<usize>,
    ) -> Result<Tensor> {
        let left = self.left.narrow(0, range.start, range.len())?;
        let other_left = other.left.narrow(0, columns.start, columns.len())?;
        let right = self.right.chunk(range)?;
        let other_right = other.right.chunk(columns)?;
        let outputs = tensor_product(&left, &other_left.t()?)?;
        Ok((outputs * tensor_product(&right, &other_right.t()?)?)?)
    }
}

/// The head in another precision, all finite there.
fn converted(head: &SoftmaxHead, dtype: DType) -> Result<SoftmaxHead> {
    let head = head.to_dtype(dtype)?;
    let largest = Vectors::new(head.parameters().clone())?.largest_elements()?;
    match largest.iter().position(|most| most.is_infinite()) {
        None => Ok(head),
        Some(class) => Err(Error::beyond_f32(format!("head: class {class}"))),
    }
}

/// The length of each row, which is one of its numbers where its square is none.
fn lengths(rows: &Vectors) -> Result<Vec<f64>> {
    let largest = rows.largest_elements()?;
    let scales: Vec<f64> = (largest.iter())
        .map(|most| most.recip().min(f64::MAX))
        .collect();
    let scaled = rows.scaled(&scales)?.norms()?;
    Ok((scaled.iter().zip(&scales))
        .map(|(length, scale)| length / scale)
        .collect())
}

/// Of loss gradients r ⊗ a, row by row in f64, on the device of the examples.
pub(super) struct Factors {
    /// ∂ℓ/∂(logit axes), `[k, w]`.
    pub(super) residuals: Tensor,
    /// Inputs in feature axes, `[k, d + 1]`.
    pub(super) inputs: Tensor,
}

impl Factors {
    /// The numbers themselves.
    pub(super) fn on_host(&self) -> Result<HostFactors> {
        let values = |rows: &Tensor| -> Result<Vec<f64>> {
            let rows = moved(rows, &candle_core::Device::Cpu)?;
            Ok(rows.flatten_all()?.to_vec1()?)
        };
        Ok(HostFactors {
            residuals: values(&self.residuals)?,
            inputs: values(&self.inputs)?,
        })
    }
}

impl Factors {
    /// Calls `body` with the residuals and inputs of factors on the host, without a copy.
    pub(super) fn with_values<R>(&self, body: impl FnOnce(&[f64], &[f64]) -> R) -> Result<R> {
        let inputs = Vectors::new(self.inputs.clone())?;
        Vectors::new(self.residuals.clone())?
            .with_values(|residuals| inputs.with_values(|inputs| body(residuals, inputs)))?
    }
}

/// [`Factors`] on the host.
pub(super) struct HostFactors {
    pub(super) residuals: Vec<f64>,
    pub(super) inputs: Vec<f64>,
}
