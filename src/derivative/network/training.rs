//! A step of training as a function of its parameters: batch norm in training mode, so that the images of a batch meet in its
//! moments.
//!
//! With ℓ_i the loss of image i of a batch of B, L = Σ ℓ_i / B, and r the means and unbiased variances that the running statistics of
//! the batch norms move towards, the way back through a step needs for a vector v over the parameters and c over the statistics
//!
//! - ∇ ⟨∇L, v⟩ + ∇ ⟨r, c⟩: the product with the Hessian of L, and what pulls back from the statistics, in one pass back;
//! - ⟨∇ℓ_i, v⟩ of every image, which the same pass forward gives: its residual π − e_y times the tangent of its logits.
//!
//! Costs are those of a Hessian product of [`super::Network`]: 6 passes forward a vector, and 3 that all vectors share.

use super::assembly::{Mode, assemble};
use super::layer::Moments;
use super::planes::{Planes, Shape, dot};
use super::products::{Precision, gradients_of, kit_of, softmax_curvature};
use super::program::{Norm, Program};
use super::running_statistics::RunningStatistics;
use super::{Beside, Inner, Linearisation, ParameterSpace};
use crate::model::op::channels_last::Buffer;
use crate::model::{Blocks, ResNet};
use crate::{Error, Result};
use candle_core::{DType, Tensor};

/// The fine-tuned part of a model in training mode. A vector over its statistics holds mean and variance of one batch norm after the
/// other.
pub struct TrainingNetwork {
    program: Inner,
    statistics: RunningStatistics,
}

/// What the way back through training asks of a step, wherever that is computed.
pub trait TrainingDerivatives {
    /// The gradients with respect to the model's running statistics, `[k, s]` on the processor, of what has `gradients` `[k, p]` with
    /// respect to its parameters in evaluation mode.
    ///
    /// # Errors
    /// Vectors of another size.
    fn statistics_gradients(&self, gradients: &Tensor) -> Result<Tensor>;

    /// Moves θ to `parameters` `[p]`, of any precision.
    ///
    /// # Errors
    /// Another size.
    fn move_to(&mut self, parameters: &Tensor) -> Result<()>;

    /// Products of a step with the rows of `vectors` `[k, p]` and `statistics` `[k, s]` (on the processor): of a batch of `input`
    /// `[B, C, H, W]` (`[B, d]` before the head) with its labels.
    ///
    /// # Errors
    /// Tensors of another size or precision, or a label that is no class.
    fn step_products(
        &self,
        batch: (&Tensor, &[usize]),
        vectors: &Tensor,
        statistics: &Tensor,
    ) -> Result<StepProducts>;
}

/// What a step does to vectors.
pub struct StepProducts {
    /// ∇ ⟨∇L, v⟩ + ∇ ⟨r, c⟩, `[k, p]`.
    pub pulled_back: Tensor,
    /// ⟨∇ℓ_i, v⟩ of each vector, by image.
    pub of_images: Vec<Vec<f64>>,
}

impl TrainingNetwork {
    /// The last `blocks` blocks and the head of `model`, for inputs of this height, width and number of channels, in the model's
    /// precision.
    ///
    /// # Errors
    /// More blocks than the model has, or inputs too small for a kernel.
    pub fn new(
        model: &ResNet,
        blocks: Blocks,
        [height, width, channels]: [usize; 3],
    ) -> Result<Self> {
        let input = Shape {
            height,
            width,
            channels,
        };
        let of = (blocks.first_segment(model.architecture())?, Mode::Training);
        let program = match model.dtype()? {
            DType::F64 => Inner::F64(assemble(model, of, input)?),
            _ => Inner::F32(assemble(model, of, input)?),
        };
        let statistics = match &program {
            Inner::F32(program) => program.running_statistics(model),
            Inner::F64(program) => program.running_statistics(model),
        };
        Ok(Self {
            program,
            statistics: statistics?,
        })
    }

    /// The trained tensors in the order of a parameter vector.
    pub fn space(&self) -> &ParameterSpace {
        in_precision!(self, program => &program.space)
    }

    /// Numbers of a vector over the statistics.
    pub fn statistics_size(&self) -> usize {
        self.statistics.size()
    }

    /// What products of a step share: a batch of `input` `[B, C, H, W]` (`[B, d]` before the head) with its labels.
    ///
    /// # Errors
    /// Another shape, or a label that is no class.
    pub fn linearise(&self, input: &Tensor, labels: &[usize]) -> Result<Linearisation> {
        in_precision!(self, program => {
            program.linearise((program.entering(input)?, labels), Beside::Gradients)
        })
    }

    /// Products of a step with the rows of `vectors` `[k, p]` and `statistics` `[k, s]`.
    ///
    /// # Errors
    /// Vectors of another size or precision.
    pub fn products(
        &self,
        step: &Linearisation,
        vectors: &Tensor,
        statistics: &Tensor,
    ) -> Result<StepProducts> {
        self.statistics.check(statistics, vectors.dims2()?.0)?;
        in_precision!(self, program => program.step_products(step, vectors, statistics))
    }
}

impl TrainingDerivatives for TrainingNetwork {
    fn statistics_gradients(&self, gradients: &Tensor) -> Result<Tensor> {
        self.statistics.gradients(gradients)
    }

    fn move_to(&mut self, parameters: &Tensor) -> Result<()> {
        match &mut self.program {
            Inner::F32(program) => program.move_to(&parameters.to_dtype(DType::F32)?),
            Inner::F64(program) => program.move_to(&parameters.to_dtype(DType::F64)?),
        }
    }

    fn step_products(
        &self,
        (input, labels): (&Tensor, &[usize]),
        vectors: &Tensor,
        statistics: &Tensor,
    ) -> Result<StepProducts> {
        let step = self.linearise(input, labels)?;
        self.products(&step, vectors, statistics)
    }
}

impl<T: Precision> Program<T> {
    fn running_statistics(&self, model: &ResNet) -> Result<RunningStatistics> {
        let names = self.norms.iter().map(|norm| &*norm.name);
        RunningStatistics::of(model, &self.space, names)
    }

    /// A batch as it enters the program.
    fn entering(&self, input: &Tensor) -> Result<Planes<T>> {
        let input = input.to_dtype(T::DTYPE)?;
        let input = match input.rank() {
            4 => input.permute((0, 2, 3, 1))?,
            _ => input,
        };
        let values: Vec<T> = input.flatten_all()?.to_vec1()?;
        let Shape {
            height,
            width,
            channels,
        } = self.input;
        let expected = match input.rank() {
            4 => vec![height, width, channels],
            _ => vec![channels],
        };
        if input.dims()[1..] != expected {
            return Err(Error::mismatch(
                "a batch's activations",
                format!("{height} × {width} × {channels}"),
                format!("{:?}", &input.dims()[1..]),
                "compute them with the same model and blocks",
            ));
        }
        Ok(Planes {
            shape: self.input,
            values: values.into(),
        })
    }

    fn step_products(
        &self,
        step: &Linearisation,
        vectors: &Tensor,
        statistics: &Tensor,
    ) -> Result<StepProducts> {
        let kit = kit_of::<T>(step)?;
        let directions = self.directions(vectors)?;
        let images = step.outputs().losses.len();
        let residuals: Vec<T> = step.outputs().residuals.flatten_all()?.to_vec1()?;
        let classes = residuals.len() / images.max(1);
        let mut pulled_back = Vec::with_capacity(directions.len());
        let mut of_images = Vec::with_capacity(directions.len());
        for (row, direction) in directions.iter().enumerate() {
            let mut tangents = self.tangents(&kit.values, direction);
            let Some(logits) = tangents.pop().flatten() else {
                continue;
            };
            let rows = residuals
                .chunks_exact(classes)
                .zip(logits.values.chunks_exact(classes));
            of_images.push(
                rows.map(|(residual, tangent)| dot(residual, tangent))
                    .collect(),
            );
            let seed = softmax_curvature(step.outputs(), logits)?;
            let state = (&kit.values[..], gradients_of(kit)?);
            let along = (&tangents[..], &direction[..]);
            let pulls = self.pulls(&kit.values, &statistics.get(row)?)?;
            let mut into = Buffer::zeros(self.space.inner_size());
            self.pull_back_tangent(state, along, (seed, pulls), &mut into);
            pulled_back.push(into);
        }
        // The passes were of Σ ℓ_i.
        Ok(StepProducts {
            pulled_back: (self.outward(pulled_back)? / images as f64)?,
            of_images,
        })
    }

    /// What pulls at the moments of every batch norm, times the images, for the row `statistics` `[s]`.
    fn pulls(&self, values: &[Planes<T>], statistics: &Tensor) -> Result<Vec<(usize, Planes<T>)>> {
        let statistics = statistics.to_dtype(DType::F64)?.to_vec1::<f64>()?;
        let number = <T as candle_core::WithDType>::from_f64;
        let mut rest = &statistics[..];
        let pull = |norm: &Norm| {
            let moments = &values[norm.moments];
            let x = &values[self.nodes[norm.moments - 1].inputs[0]];
            let (images, count) = (x.images() as f64, Moments::count(x) as f64);
            let unbiased = count / (count - 1.0).max(1.0);
            let (of_mean, others) = rest.split_at(moments.shape.channels);
            let (of_variance, others) = others.split_at(moments.shape.channels);
            rest = others;
            let pulls = (of_mean.iter().map(|pull| images * pull))
                .chain(of_variance.iter().map(|pull| images * unbiased * pull));
            let planes = Planes {
                shape: moments.shape,
                values: pulls.map(number).collect::<Vec<T>>().into(),
            };
            (norm.moments, planes)
        };
        Ok(self.norms.iter().map(pull).collect())
    }
}
