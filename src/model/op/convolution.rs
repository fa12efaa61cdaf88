//! Two-dimensional convolution: unfold (im2col) each image, then one matrix product an image.
//!
//! With `K = C_in·k_h·k_w` and `N = H_out·W_out`, and `U(x)` the `[K, N]` unfolding of one image:
//!
//! - forward: `y = W U(x)`, `W: [C_out, K]`;
//! - gradient with respect to the input: `U*(Wᵀ ȳ)`, `U*` the adjoint (fold, col2im);
//! - gradient with respect to the weight: `Σ_images ȳ U(x)ᵀ`.
//!
//! The three are bilinear and each other's adjoints, so one operation with three roles is closed under
//! differentiation. Layout `[B, C, H, W]`, weight `[C_out, C_in, k_h, k_w]`, no bias, no groups, no dilation (the
//! ResNet family uses none). Any size and stride.

use super::{Element, Wanted, check_dtype, elements, for_dtype, needs_gradient};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

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
    apply(x, weight, geometry(x, weight, convolution)?, Role::Forward)
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
    let g = geometry(x, weight, convolution)?;
    let of = |wanted: bool, a: &Tensor, b: &Tensor, role: Role| {
        wanted.then(|| apply(a, b, g, role)).transpose()
    };
    Ok((
        of(wanted.input, gradient, weight, Role::InputGradient)?,
        of(wanted.parameters, x, gradient, Role::WeightGradient)?,
    ))
}

/// The sizes, if they fit.
fn geometry(x: &Tensor, weight: &Tensor, convolution: Convolution) -> Result<Geometry> {
    check_dtype("convolution", &[x, weight])?;
    let (batch, c_in, height, width) = x.dims4()?;
    let (c_out, c_in_weight, kernel_h, kernel_w) = weight.dims4()?;
    let Convolution { stride, padding } = convolution;
    if x.elem_count() == 0 || weight.elem_count() == 0 {
        bail!(
            "convolution: input {:?} or weight {:?} is empty",
            x.dims(),
            weight.dims()
        );
    }
    if c_in != c_in_weight {
        bail!("convolution: input has {c_in} channels, weight expects {c_in_weight}");
    }
    if stride == 0 || kernel_h > height + 2 * padding || kernel_w > width + 2 * padding {
        bail!(
            "convolution: a {kernel_h}×{kernel_w} kernel, stride {stride}, does not fit {height}×{width} padded by {padding}"
        );
    }
    Ok(Geometry {
        batch,
        c_in,
        height,
        width,
        c_out,
        kernel_h,
        kernel_w,
        stride,
        padding,
    })
}

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub(super) batch: usize,
    pub(super) c_in: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) c_out: usize,
    pub(super) kernel_h: usize,
    pub(super) kernel_w: usize,
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Geometry {
    pub(super) fn out_h(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel_h) / self.stride + 1
    }
    pub(super) fn out_w(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel_w) / self.stride + 1
    }
    /// Rows of the unfolded image, `K`.
    pub(super) fn taps(&self) -> usize {
        self.c_in * self.kernel_h * self.kernel_w
    }
    /// Columns of the unfolded image, `N`.
    pub(super) fn positions(&self) -> usize {
        self.out_h() * self.out_w()
    }
    pub(super) fn image_len(&self) -> usize {
        self.c_in * self.height * self.width
    }
    pub(super) fn output_len(&self) -> usize {
        self.c_out * self.positions()
    }
    /// The shape of what a role gives.
    pub(super) fn result(&self, role: Role) -> Shape {
        match role {
            Role::Forward => (self.batch, self.c_out, self.out_h(), self.out_w()).into(),
            Role::InputGradient => (self.batch, self.c_in, self.height, self.width).into(),
            Role::WeightGradient => (self.c_out, self.c_in, self.kernel_h, self.kernel_w).into(),
        }
    }
    /// A 1×1 kernel with stride 1 sees the image as it is: nothing to unfold.
    fn is_pointwise(&self) -> bool {
        self.kernel_h == 1 && self.kernel_w == 1 && self.stride == 1 && self.padding == 0
    }
    fn unfolded_len(&self) -> usize {
        if self.is_pointwise() {
            0
        } else {
            self.taps() * self.positions()
        }
    }

    /// For the kernel column `kx`: the output columns `first..last` that read inside the image.
    fn inside(&self, kx: usize) -> (usize, usize) {
        let out_w = self.out_w();
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let last = (self.width + self.padding)
            .saturating_sub(kx)
            .div_ceil(self.stride)
            .min(out_w);
        (first.min(last), last)
    }

    /// Calls `visit(row of U, output row, image row or None)` for one channel's taps.
    fn rows(&self, channel: usize, mut visit: impl FnMut(usize, usize, usize, Option<usize>)) {
        for ky in 0..self.kernel_h {
            for kx in 0..self.kernel_w {
                let tap = (channel * self.kernel_h + ky) * self.kernel_w + kx;
                for oy in 0..self.out_h() {
                    let y = (oy * self.stride + ky).checked_sub(self.padding);
                    visit(tap, kx, oy, y.filter(|&y| y < self.height));
                }
            }
        }
    }
}

/// `U(x)`: `[C_in, H, W]` → `[K, N]`.
fn unfold<T: Element>(g: &Geometry, image: &[T], unfolded: &mut [T]) {
    let (out_w, n, plane) = (g.out_w(), g.positions(), g.height * g.width);
    for channel in 0..g.c_in {
        let image = &image[channel * plane..(channel + 1) * plane];
        g.rows(channel, |tap, kx, oy, y| {
            let row = &mut unfolded[tap * n + oy * out_w..][..out_w];
            let Some(y) = y else {
                return row.fill(T::default());
            };
            let (first, last) = g.inside(kx);
            row[..first].fill(T::default());
            row[last..].fill(T::default());
            if first == last {
                return;
            }
            let source = &image[y * g.width + first * g.stride + kx - g.padding..(y + 1) * g.width];
            if g.stride == 1 {
                row[first..last].copy_from_slice(&source[..last - first]);
            } else {
                for (value, &pixel) in row[first..last]
                    .iter_mut()
                    .zip(source.iter().step_by(g.stride))
                {
                    *value = pixel;
                }
            }
        });
    }
}

/// `U*`: `[K, N]` → `[C_in, H, W]`, adding what overlaps.
fn fold<T: Element>(g: &Geometry, unfolded: &[T], image: &mut [T]) {
    let (out_w, n, plane) = (g.out_w(), g.positions(), g.height * g.width);
    image.fill(T::default());
    for channel in 0..g.c_in {
        let image = &mut image[channel * plane..(channel + 1) * plane];
        g.rows(channel, |tap, kx, oy, y| {
            let (first, last) = g.inside(kx);
            let (Some(y), true) = (y, first < last) else {
                return;
            };
            let row = &unfolded[tap * n + oy * out_w..][first..last];
            let target =
                &mut image[y * g.width + first * g.stride + kx - g.padding..(y + 1) * g.width];
            if g.stride == 1 {
                for (pixel, &value) in target.iter_mut().zip(row) {
                    *pixel += value;
                }
            } else {
                for (pixel, &value) in target.iter_mut().step_by(g.stride).zip(row) {
                    *pixel += value;
                }
            }
        });
    }
}

/// A matrix by its elements and the strides of its rows and columns.
struct Matrix<'a, T> {
    elements: &'a [T],
    row_stride: usize,
    column_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    fn row_major(elements: &'a [T], columns: usize) -> Self {
        Self {
            elements,
            row_stride: columns,
            column_stride: 1,
        }
    }
    fn transposed(elements: &'a [T], columns: usize) -> Self {
        Self {
            elements,
            row_stride: 1,
            column_stride: columns,
        }
    }
}

/// `c[m, n] (+)= a[m, k] b[k, n]`, on this thread alone.
fn multiply<T: Element>(
    (m, k, n): (usize, usize, usize),
    c: &mut [T],
    a: Matrix<T>,
    b: Matrix<T>,
    accumulate: bool,
) {
    assert!(c.len() >= m * n && a.elements.len() >= m * k && b.elements.len() >= k * n);
    let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
    // SAFETY: the three slices hold m·n, m·k and k·n elements (asserted), reached by these strides only.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.elements.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.elements.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            if accumulate { one } else { zero },
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn forward<T: Element>(g: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let mut y = vec![T::default(); g.batch * g.output_len()];
    y.par_chunks_mut(g.output_len())
        .zip(x.par_chunks(g.image_len()))
        .for_each_init(
            || vec![T::default(); g.unfolded_len()],
            |unfolded, (y, image)| {
                let columns: &[T] = if g.is_pointwise() {
                    image
                } else {
                    unfold(g, image, unfolded);
                    unfolded
                };
                multiply(
                    (g.c_out, k, n),
                    y,
                    Matrix::row_major(weight, k),
                    Matrix::row_major(columns, n),
                    false,
                );
            },
        );
    y
}

fn input_gradient<T: Element>(g: &Geometry, y_gradient: &[T], weight: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let mut x_gradient = vec![T::default(); g.batch * g.image_len()];
    x_gradient
        .par_chunks_mut(g.image_len())
        .zip(y_gradient.par_chunks(g.output_len()))
        .for_each_init(
            || vec![T::default(); g.unfolded_len()],
            |unfolded, (image, y)| {
                let shape = (k, g.c_out, n);
                let (weight, y) = (Matrix::transposed(weight, k), Matrix::row_major(y, n));
                if g.is_pointwise() {
                    multiply(shape, image, weight, y, false);
                } else {
                    multiply(shape, unfolded, weight, y, false);
                    fold(g, unfolded, image);
                }
            },
        );
    x_gradient
}

/// Partial sums of the weight gradient; a constant, so that the sum's order is the same on any number of threads.
const WEIGHT_GRADIENT_PARTS: usize = 8;

fn weight_gradient<T: Element>(g: &Geometry, x: &[T], y_gradient: &[T]) -> Vec<T> {
    let (n, k) = (g.positions(), g.taps());
    let images = g.batch.div_ceil(WEIGHT_GRADIENT_PARTS).max(1);
    let parts: Vec<Vec<T>> = x
        .par_chunks(images * g.image_len())
        .zip(y_gradient.par_chunks(images * g.output_len()))
        .map(|(x, y)| {
            let mut sum = vec![T::default(); g.c_out * k];
            let mut unfolded = vec![T::default(); g.unfolded_len()];
            for (image, y) in x.chunks(g.image_len()).zip(y.chunks(g.output_len())) {
                let columns: &[T] = if g.is_pointwise() {
                    image
                } else {
                    unfold(g, image, &mut unfolded);
                    &unfolded
                };
                multiply(
                    (g.c_out, n, k),
                    &mut sum,
                    Matrix::row_major(y, n),
                    Matrix::transposed(columns, n),
                    true,
                );
            }
            sum
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut total = parts
        .next()
        .unwrap_or_else(|| vec![T::default(); g.c_out * k]);
    for part in parts {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
    total
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
