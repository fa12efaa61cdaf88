//! The softmax classifier head: outputs, loss and gradients in closed form.
//!
//! For an image with features x (d numbers) let a = [x; 1]. The parameters θ are the rows of a matrix `[C, d + 1]`,
//! class-major: each class's d weights, then its bias; p = C·(d + 1) in all. With logits z = θ a, probabilities
//! π = softmax(z) and label y,
//!
//! - loss ℓ = logsumexp(z) − z_y, in nats,
//! - residual r = π − e_y = ∂ℓ/∂z,
//! - gradient ∇ℓ = r ⊗ a, in the parameter order above.
//!
//! The softmax of one row is computed in f64 whatever the precision of the features, and the residual of the label's
//! class as −Σ_{c≠y} π_c: in f32 π_y − 1 would lose all digits for the well-fitted images.

mod coordinates;
mod inputs;
mod outer_product;
mod strong_axes;
#[cfg(test)]
mod tests;

pub use coordinates::{CoordinateError, HeadCoordinates};
pub use inputs::HeadInputs;
pub(crate) use outer_product::outer_product;

use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;

/// A linear softmax classifier: `[C, d]` weights and `[C]` biases.
#[derive(Debug, Clone)]
pub struct SoftmaxHead {
    parameters: Tensor,
}

impl SoftmaxHead {
    /// A head from its `[C, d]` weight and `[C]` bias.
    ///
    /// # Errors
    /// Shapes that do not fit, fewer than two classes, or a value that is not finite.
    pub fn new(weight: &Tensor, bias: &Tensor) -> Result<Self> {
        let (Ok((classes, _)), Ok(biases)) = (weight.dims2(), bias.dims1()) else {
            let found = format!("weight {:?}, bias {:?}", weight.dims(), bias.dims());
            return Err(Error::mismatch(
                "head",
                "weight [C, d] and bias [C]",
                found,
                HEAD_REMEDY,
            ));
        };
        if biases != classes {
            return Err(Error::mismatch("head: bias", classes, biases, HEAD_REMEDY));
        }
        let bias = bias.to_dtype(weight.dtype())?.unsqueeze(1)?;
        Self::from_parameters(&Tensor::cat(&[weight, &bias], 1)?)
    }

    /// A head from its `[C, d + 1]` parameter matrix, the bias in the last column.
    ///
    /// # Errors
    /// Fewer than two classes, or a value that is not finite.
    pub fn from_parameters(parameters: &Tensor) -> Result<Self> {
        let (classes, columns) = parameters.dims2()?;
        if classes < 2 || columns < 2 {
            let found = format!("{classes} classes, {} features", columns.saturating_sub(1));
            return Err(Error::mismatch(
                "head",
                "at least 2 classes and 1 feature",
                found,
                HEAD_REMEDY,
            ));
        }
        if let Some(class) = inputs::first_row_not_finite(parameters)? {
            let remedy = "train it again with a smaller learning rate";
            return Err(Error::non_finite("head", format!("class {class}"), remedy));
        }
        Ok(Self {
            parameters: parameters.contiguous()?,
        })
    }

    /// The head that gives every class the same probability.
    ///
    /// # Errors
    /// Fewer than two classes or no feature.
    pub fn zeros(classes: usize, features: usize, dtype: DType, device: &Device) -> Result<Self> {
        Self::from_parameters(&Tensor::zeros((classes, features + 1), dtype, device)?)
    }

    /// The `[C, d + 1]` parameter matrix, the bias in the last column.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// C.
    pub fn class_count(&self) -> usize {
        self.parameters.dims()[0]
    }

    /// d.
    pub fn feature_count(&self) -> usize {
        self.parameters.dims()[1] - 1
    }

    /// p = C·(d + 1).
    pub fn parameter_count(&self) -> usize {
        self.parameters.elem_count()
    }

    /// The `[C, d]` weights.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn weight(&self) -> Result<Tensor> {
        Ok(self
            .parameters
            .narrow(1, 0, self.feature_count())?
            .contiguous()?)
    }

    /// The `[C]` biases.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn bias(&self) -> Result<Tensor> {
        Ok(self
            .parameters
            .narrow(1, self.feature_count(), 1)?
            .squeeze(1)?
            .contiguous()?)
    }

    /// The same head in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            parameters: self.parameters.to_dtype(dtype)?,
        })
    }

    /// The same head on a device.
    ///
    /// # Errors
    /// It does not fit there.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            parameters: self.parameters.to_device(device)?,
        })
    }

    /// What the head says about every row of `inputs`.
    ///
    /// # Errors
    /// Another number of features, a label outside the classes, or another precision than the inputs'.
    pub fn outputs(&self, inputs: &HeadInputs) -> Result<HeadOutputs> {
        self.check_fits(inputs)?;
        let (rows, weights) = (inputs.rows(), self.parameters.t()?);
        let logits = (rows.steps())
            .map(|step| Ok(rows.chunk(step)?.matmul(&weights)?))
            .collect::<Result<Vec<_>>>()?;
        HeadOutputs::from_logits(&Tensor::cat(&logits, 0)?, inputs.labels())
    }

    /// The longest ‖W_c‖ of a class, bias included.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn longest_row(&self) -> Result<f64> {
        let squares = self.parameters.to_dtype(DType::F64)?.sqr()?.sum(1)?;
        let most = squares.to_vec1::<f64>()?.into_iter().fold(0.0, f64::max);
        Ok(most.sqrt() * (1.0 + 1e-12))
    }

    /// The training objective mean(ℓ) + l2/2·‖θ‖² in nats, weights and biases alike, and its gradient `[C, d + 1]`.
    ///
    /// # Errors
    /// As for [`SoftmaxHead::outputs`].
    pub fn objective(&self, inputs: &HeadInputs, l2: f64) -> Result<(f64, Tensor)> {
        let outputs = self.outputs(inputs)?;
        let squares = self
            .parameters
            .to_dtype(DType::F64)?
            .sqr()?
            .sum_all()?
            .to_scalar::<f64>()?;
        let mut data = self.parameters.zeros_like()?;
        for step in inputs.rows().steps() {
            let residuals = outputs.residuals.narrow(0, step.start, step.len())?;
            data = (data + residuals.t()?.matmul(&inputs.rows().chunk(step)?)?)?;
        }
        let gradient = ((data / inputs.count() as f64)? + (&self.parameters * l2)?)?;
        Ok((outputs.mean_loss() + 0.5 * l2 * squares, gradient))
    }

    fn check_fits(&self, inputs: &HeadInputs) -> Result<()> {
        if inputs.feature_count() != self.feature_count() {
            return Err(Error::mismatch(
                "features and head: feature dimension",
                self.feature_count(),
                inputs.feature_count(),
                "use the features that this head was trained on",
            ));
        }
        match inputs
            .labels()
            .iter()
            .position(|&label| label >= self.class_count())
        {
            None => Ok(()),
            Some(row) => Err(Error::mismatch(
                format!("labels: row {row}"),
                format!("a class below {}", self.class_count()),
                inputs.labels()[row],
                "use the labels that this head was trained on",
            )),
        }
    }
}

const HEAD_REMEDY: &str = "a head file holds weight [classes, features] and bias [classes]";

/// What a head says about a set of images; row i belongs to row i of the inputs.
#[derive(Debug, Clone)]
pub struct HeadOutputs {
    /// π, `[n, C]`.
    pub probabilities: Tensor,
    /// r = π − e_y, `[n, C]`.
    pub residuals: Tensor,
    /// ℓ in nats.
    pub losses: Vec<f64>,
    /// The most probable class, the first one at a tie.
    pub predictions: Vec<usize>,
}

impl HeadOutputs {
    /// Those of the images at `positions`.
    ///
    /// # Errors
    /// A position beyond the images.
    pub(crate) fn at(&self, positions: &[usize]) -> Result<Self> {
        let places: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
        let index = Tensor::new(places, self.residuals.device())?;
        Ok(Self {
            probabilities: self.probabilities.index_select(&index, 0)?,
            residuals: self.residuals.index_select(&index, 0)?,
            losses: positions.iter().map(|&at| self.losses[at]).collect(),
            predictions: positions.iter().map(|&at| self.predictions[at]).collect(),
        })
    }

    /// The same in another precision.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            probabilities: self.probabilities.to_dtype(dtype)?,
            residuals: self.residuals.to_dtype(dtype)?,
            ..self.clone()
        })
    }

    pub(crate) fn from_logits(logits: &Tensor, labels: &[usize]) -> Result<Self> {
        let (count, classes) = logits.dims2()?;
        let mut probabilities = logits
            .to_dtype(DType::F64)?
            .flatten_all()?
            .to_vec1::<f64>()?;
        let mut residuals = Vec::with_capacity(probabilities.len());
        let mut losses = Vec::with_capacity(count);
        let mut predictions = Vec::with_capacity(count);
        for (row, &label) in probabilities.chunks_exact_mut(classes).zip(labels) {
            let (top, loss) = softmax_in_place(row, label);
            let others: f64 = row
                .iter()
                .enumerate()
                .filter(|&(class, _)| class != label)
                .map(|(_, p)| p)
                .sum();
            residuals.extend(
                row.iter()
                    .enumerate()
                    .map(|(class, &p)| if class == label { -others } else { p }),
            );
            losses.push(loss);
            predictions.push(top);
        }
        let tensor = |values| {
            Tensor::from_vec(values, (count, classes), logits.device())?.to_dtype(logits.dtype())
        };
        Ok(Self {
            probabilities: tensor(probabilities)?,
            residuals: tensor(residuals)?,
            losses,
            predictions,
        })
    }

    /// C.
    pub fn class_count(&self) -> usize {
        self.probabilities.dims()[1]
    }

    /// Gradients r ⊗ a of the losses of the rows in `range`, `[range.len(), p]`.
    ///
    /// # Errors
    /// A tensor operation failed.
    pub fn gradients(&self, inputs: &HeadInputs, range: Range<usize>) -> Result<Tensor> {
        let residuals = self.residuals.narrow(0, range.start, range.len())?;
        outer_product(&residuals, &inputs.rows().chunk(range)?)
    }

    /// The mean loss in nats.
    pub fn mean_loss(&self) -> f64 {
        self.losses.iter().sum::<f64>() / self.losses.len() as f64
    }

    /// The share of rows whose prediction is the label.
    pub fn accuracy(&self, labels: &[usize]) -> f64 {
        let hits = self
            .predictions
            .iter()
            .zip(labels)
            .filter(|(prediction, label)| prediction == label)
            .count();
        hits as f64 / labels.len() as f64
    }
}

/// Turns one row of logits into probabilities; returns the most probable class and the loss at `label`.
fn softmax_in_place(row: &mut [f64], label: usize) -> (usize, f64) {
    let top = (1..row.len()).fold(
        0,
        |best, class| if row[class] > row[best] { class } else { best },
    );
    let (maximum, at_label) = (row[top], row[label]);
    let mut rest = 0.0;
    for (class, value) in row.iter_mut().enumerate() {
        *value = (*value - maximum).exp();
        if class != top {
            rest += *value;
        }
    }
    row.iter_mut().for_each(|value| *value /= 1.0 + rest);
    (top, rest.ln_1p() + (maximum - at_label))
}
