//! What a pass forward leaves for the way back.

use super::op::{
    BatchMoments, Convolution, Window, batch_norm, channel_affine, rectified_batch_norm,
    rectified_channel_affine,
};
use super::resnet::EPSILON;
use candle_core::{Result, Tensor};

/// One step of a pass, in its order.
#[derive(Debug)]
pub(crate) enum Traced {
    /// The images' shift and scale.
    Normalised {
        /// `[3]`
        scale: Tensor,
        /// What the images were given in.
        dtype: candle_core::DType,
    },
    /// A convolution with its batch norm.
    Layer(LayerTrace),
    /// The stem's pool.
    Pooled {
        /// What went in.
        input: Tensor,
        /// Of the pool.
        window: Window,
    },
    /// The sum at the end of a block; of its layers the last may be the shortcut's.
    Block {
        /// Whether it is.
        projects: bool,
        /// Layers on the way besides the shortcut's.
        layers: usize,
        /// After the rectifier.
        output: Tensor,
    },
    /// The mean over each plane.
    Averaged {
        /// Of what went in, `[B, C, H, W]`.
        shape: [usize; 4],
        /// Of what went in.
        dtype: candle_core::DType,
    },
}

/// A layer: `output = norm(input ∗ weight)`, and the positive part of it.
#[derive(Debug)]
pub(crate) struct LayerTrace {
    /// Name of the convolution.
    pub convolution: String,
    /// Name of the batch norm.
    pub norm: String,
    /// Where the layer is.
    pub segment: usize,
    /// Stride and padding.
    pub step: Convolution,
    /// `[B, C_in, H, W]`
    pub input: Tensor,
    /// As the convolution took it.
    pub weight: Tensor,
    /// What batch norm took in.
    pub convolved: Tensor,
    /// What it did.
    pub applied: NormTrace,
    /// The positive part of what came of it, where that followed, `[B, C_out, H_out, W_out]`; nothing goes back through the output
    /// itself.
    pub rectified: Option<Tensor>,
}

/// What batch norm did.
#[derive(Debug)]
pub(crate) enum NormTrace {
    /// By the batch's own moments.
    Batch {
        /// `[C]`
        gamma: Tensor,
        /// `[C]`
        beta: Tensor,
        /// Of the batch.
        moments: BatchMoments,
    },
    /// By the running statistics, folded.
    Running {
        /// `[C]`
        scale: Tensor,
        /// `[C]`
        shift: Tensor,
    },
}

impl NormTrace {
    /// The norm of `x`, and the positive part of it.
    pub(super) fn apply(&self, x: &Tensor, rectified: bool) -> Result<Tensor> {
        match (self, rectified) {
            (
                Self::Batch {
                    gamma,
                    beta,
                    moments,
                },
                true,
            ) => rectified_batch_norm(x, gamma, beta, moments.clone(), EPSILON),
            (
                Self::Batch {
                    gamma,
                    beta,
                    moments,
                },
                false,
            ) => batch_norm(x, gamma, beta, moments.clone(), EPSILON),
            (Self::Running { scale, shift }, true) => rectified_channel_affine(x, scale, shift),
            (Self::Running { scale, shift }, false) => channel_affine(x, scale, shift),
        }
    }
}
