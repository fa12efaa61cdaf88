//! The three roles of a convolution with the channels last, each for a sum of terms.
//!
//! - output: y = Σ_t W_t ∗ x_t,
//! - input gradient: x̄ = Σ_t of its adjoint in x on (ȳ_t, W_t),
//! - weight gradient: W̄ = Σ_t of its adjoint in W on (x_t, ȳ_t).
//!
//! All are bilinear, so that their derivative along a direction is the same role with two terms: ẏ has the terms (ẋ, W)
//! and (x, Ẇ), x̄˙ the terms (ȳ˙, W) and (ȳ, Ẇ), W̄˙ the terms (x, ȳ˙) and (ẋ, ȳ).
//!
//! 3×3 kernels with stride 1 go through [`winograd`], all others through [`unfolded`]; [`Form`] says how a kernel is stored for
//! either. Sums run in a fixed order whatever the number of threads.

mod buffer;
mod geometry;
mod kernel;
mod kernel_tiles;
mod lanes;
mod product;
#[cfg(test)]
mod tests;
mod tiles;
mod transpose;
mod unfolded;
mod winograd;

pub(crate) use buffer::{Buffer, limit_waiting};
pub(crate) use geometry::{Geometry, Shape, unfold, unfold_columns};
pub(crate) use kernel::{Form, Kernel};
pub(crate) use product::{Scalar, multiply, rows, write_product};
pub(crate) use transpose::{transpose, write_transpose};
pub(crate) use winograd::{PLACES, Tiles};

use winograd::Sense;

impl Geometry {
    pub(crate) fn form(&self) -> Form {
        Form::of(self.kernel, self.stride, self.padding)
    }

    /// Winograd's tiles of an image.
    pub(crate) fn tiles(&self) -> usize {
        let output = self.output();
        output.height.div_ceil(2) * output.width.div_ceil(2)
    }
}

/// `onto + Σ W ∗ x` for the terms (x, W), `[m, H_out, W_out, C_out]`; without `onto` the sum alone.
pub(crate) fn output<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    onto: Option<Buffer<T>>,
) -> Buffer<T> {
    match g.form() {
        Form::Taps => unfolded::output(g, images, terms, onto),
        Form::Winograd => winograd::output(g, images, terms, Sense::Plain, onto),
    }
}

/// `Σ W ∗ x` for kernels as taps, whatever form the geometry's own have.
pub(crate) fn unfolded_output<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
) -> Buffer<T> {
    unfolded::output(g, images, terms, None)
}

/// `onto + Σ` of the input gradients for the terms (ȳ, W), `[m, H, W, C_in]`; without `onto` the sum alone.
pub(crate) fn input_gradient<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    onto: Option<Buffer<T>>,
) -> Buffer<T> {
    match g.form() {
        Form::Taps => unfolded::input_gradient(g, images, terms, onto),
        Form::Winograd => winograd::output(&g.mirrored(), images, terms, Sense::Mirrored, onto),
    }
}

/// Adds the weight gradients for the terms (x, ȳ) to `into`, in the kernel's form.
pub(crate) fn add_weight_gradient<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    into: &mut [T],
) {
    match g.form() {
        Form::Taps => unfolded::add_weight_gradient(g, images, terms, into),
        Form::Winograd => winograd::add_weight_gradient(g, images, terms, into),
    }
}
