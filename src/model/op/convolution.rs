//! Two-dimensional convolution: matrix products of unfolded images (im2col), and on the processor Winograd's algorithm for 3×3
//! kernels with stride 1.
//!
//! With `K = C_in·k_h·k_w` and `N = H_out·W_out`, and `U(x)` the `[K, N]` unfolding of one image:
//!
//! - forward: `y = W U(x)`, `W: [C_out, K]`;
//! - gradient with respect to the input: `U*(Wᵀ ȳ)`, `U*` the adjoint (fold, col2im);
//! - gradient with respect to the weight: `Σ_images ȳ U(x)ᵀ`.
//!
//! The three are bilinear and each other's adjoints, so one operation with three roles is closed under
//! differentiation. Layout `[B, C, H, W]`, weight `[C_out, C_in, k_h, k_w]`, no bias, no groups, no dilation (the
//! ResNet family uses none). Any size and stride. On the processor images are unfolded one by one, or turned over in groups
//! for the kernels of [`super::channels_last`], whichever suits the sizes.

mod by_group;
mod by_image;
mod geometry;
mod on_host;
mod patches;

pub(super) use geometry::Geometry;
pub(crate) use patches::patches;

use super::{Wanted, check_dtype, elements, for_dtype, needs_gradient};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use on_host::{forward, input_gradient, weight_gradient};

/// Stride and zero padding, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Step between output positions, at least 1.
    pub stride: usize,
    /// Zeros added on each side.
    pub padding: usize,
}

/// `x` `[B, C_in, H, W]` convolved with `weight` `[C_out, C_in, k_h, k_w]` → `[B, C_out, H_out, W_out]`,
/// differentiable in both.
///
/// # Errors
/// Where the shapes do not fit or the kernel is larger than the padded image.
pub fn convolve(x: &Tensor, weight: &Tensor, convolution: Convolution) -> Result<Tensor> {
    apply(
        x,
        weight,
        Geometry::of(x, weight, convolution)?,
        Role::Forward,
    )
}

/// Gradients of a convolution's input and weight, each where it is wanted, from that of what it gave.
///
/// # Errors
/// As for [`convolve`].
pub(crate) fn convolution_gradients(
    x: &Tensor,
    weight: &Tensor,
    convolution: Convolution,
    gradient: &Tensor,
    wanted: Wanted,
) -> Result<(Option<Tensor>, Option<Tensor>)> {
    let g = Geometry::of(x, weight, convolution)?;
    let of = |wanted: bool, a: &Tensor, b: &Tensor, role: Role| {
        wanted.then(|| apply(a, b, g, role)).transpose()
    };
    Ok((
        of(wanted.input, gradient, weight, Role::InputGradient)?,
        of(wanted.parameters, x, gradient, Role::WeightGradient)?,
    ))
}

/// The gradient of a convolution's input, `height` × `width` pixels, from that of what it gave.
///
/// # Errors
/// As for [`convolve`].
pub(crate) fn convolution_input_gradient(
    gradient: &Tensor,
    weight: &Tensor,
    (height, width): (usize, usize),
    convolution: Convolution,
) -> Result<Tensor> {
    check_dtype("convolution", &[gradient, weight])?;
    let (batch, ..) = gradient.dims4()?;
    let (_, channels, ..) = weight.dims4()?;
    let x = (batch, channels, height, width);
    let geometry = Geometry::of_sizes(x, weight.dims4()?, convolution)?;
    check_gradient(&geometry, gradient)?;
    apply(gradient, weight, geometry, Role::InputGradient)
}

/// The gradient of a convolution's weight, a kernel of `height` × `width`, from that of what it gave.
///
/// # Errors
/// As for [`convolve`].
pub(crate) fn convolution_weight_gradient(
    x: &Tensor,
    gradient: &Tensor,
    (height, width): (usize, usize),
    convolution: Convolution,
) -> Result<Tensor> {
    check_dtype("convolution", &[x, gradient])?;
    let (_, out, ..) = gradient.dims4()?;
    let (_, channels, ..) = x.dims4()?;
    let weight = (out, channels, height, width);
    let geometry = Geometry::of_sizes(x.dims4()?, weight, convolution)?;
    check_gradient(&geometry, gradient)?;
    apply(x, gradient, geometry, Role::WeightGradient)
}

fn check_gradient(geometry: &Geometry, gradient: &Tensor) -> Result<()> {
    match gradient.dims() == geometry.result(Role::Forward).dims() {
        true => Ok(()),
        false => bail!(
            "convolution: a gradient of {:?} for a result of {:?}",
            gradient.dims(),
            geometry.result(Role::Forward)
        ),
    }
}

/// What is computed of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// (x, weight) → y
    Forward,
    /// (ȳ, weight) → x̄
    InputGradient,
    /// (x, ȳ) → weight gradient
    WeightGradient,
}

struct Operation {
    geometry: Geometry,
    role: Role,
}

fn apply(a: &Tensor, b: &Tensor, geometry: Geometry, role: Role) -> Result<Tensor> {
    a.contiguous()?
        .apply_op2(&b.contiguous()?, Operation { geometry, role })
}

impl CustomOp2 for Operation {
    fn name(&self) -> &'static str {
        "convolution"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let g = &self.geometry;
        let shape = g.result(self.role);
        for_dtype!(a.dtype(), self.name(), T => {
            let (a, b) = (elements::<T>(a, a_layout)?, elements::<T>(b, b_layout)?);
            let result = match self.role {
                Role::Forward => forward(g, a, b),
                Role::InputGradient => input_gradient(g, a, b),
                Role::WeightGradient => weight_gradient(g, a, b),
            };
            Ok((<T as candle_core::WithDType>::to_cpu_storage_owned(result), shape))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        a_layout: &Layout,
        b: &candle_core::CudaStorage,
        b_layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        use super::cuda::{View, convolve};
        convolve(
            &self.geometry,
            self.role,
            View::new(a, a_layout),
            View::new(b, b_layout),
        )
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        use Role::{Forward, InputGradient, WeightGradient};
        let g = self.geometry;
        // Each role is bilinear; its two adjoints are again one of the three roles.
        let (to_a, to_b) = match self.role {
            Forward => ((gradient, b, InputGradient), (a, gradient, WeightGradient)),
            InputGradient => ((gradient, b, Forward), (gradient, a, WeightGradient)),
            WeightGradient => ((b, gradient, InputGradient), (a, gradient, Forward)),
        };
        let adjoint = |needed: bool, (x, y, role): (&Tensor, &Tensor, Role)| {
            needed.then(|| apply(x, y, g, role)).transpose()
        };
        Ok((
            adjoint(needs_gradient(a), to_a)?,
            adjoint(needs_gradient(b), to_b)?,
        ))
    }
}

#[cfg(test)]
mod tests;
