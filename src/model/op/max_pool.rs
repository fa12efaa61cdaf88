//! Max pooling with any window, stride and padding; the gradient goes to the first largest value, as in PyTorch.

use super::{Element, elements, for_dtype, with_elements};
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType, bail};
use rayon::prelude::*;

/// A square pooling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Side length.
    pub size: usize,
    /// Step between windows.
    pub stride: usize,
    /// Border added on each side; it never wins. At most half the size.
    pub padding: usize,
}

/// The largest value of each window: `[B, C, H, W]` → `[B, C, H_out, W_out]`, where `H_out` rounds down.
///
/// # Errors
/// Where the window does not fit the image.
pub fn max_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    let Window {
        size,
        stride,
        padding,
    } = window;
    if size == 0 || stride == 0 || 2 * padding > size || size > height.min(width) + 2 * padding {
        bail!(
            "max pool: window {size}, stride {stride}, padding {padding} does not fit {height}×{width}"
        );
    }
    x.contiguous()?.apply_op1(MaxPool(window))
}

struct MaxPool(Window);

impl MaxPool {
    fn out(&self, side: usize) -> usize {
        (side + 2 * self.0.padding - self.0.size) / self.0.stride + 1
    }

    /// Calls `visit(output index, index of the largest value)` for one plane.
    fn winners<T: Element>(
        &self,
        plane: &[T],
        (height, width): (usize, usize),
        mut visit: impl FnMut(usize, usize),
    ) {
        let Window {
            size,
            stride,
            padding,
        } = self.0;
        let range = |o: usize, side: usize| {
            let start = o * stride;
            (
                start.saturating_sub(padding),
                (start + size - padding.min(start + size)).min(side),
            )
        };
        let out_w = self.out(width);
        for oy in 0..self.out(height) {
            let (y_first, y_last) = range(oy, height);
            for ox in 0..out_w {
                let (x_first, x_last) = range(ox, width);
                let mut best = y_first * width + x_first;
                for y in y_first..y_last {
                    for index in y * width + x_first..y * width + x_last {
                        // NaN wins and stays, so that it is not hidden.
                        let (value, largest) = (plane[index], plane[best]);
                        if value > largest || value.partial_cmp(&value).is_none() {
                            best = index;
                        }
                    }
                }
                visit(oy * out_w + ox, best);
            }
        }
    }
}

impl CustomOp1 for MaxPool {
    fn name(&self) -> &'static str {
        "max-pool"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let (out_h, out_w) = (self.out(height), self.out(width));
        for_dtype!(x.dtype(), self.name(), T => {
            let mut y = vec![T::default(); batch * channels * out_h * out_w];
            let x = elements::<T>(x, layout)?;
            y.par_chunks_mut(out_h * out_w).zip(x.par_chunks(height * width)).for_each(|(y, x)| {
                self.winners(x, (height, width), |out, winner| y[out] = x[winner]);
            });
            Ok((T::to_cpu_storage_owned(y), (batch, channels, out_h, out_w).into()))
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let (_, _, height, width) = layout.shape().dims4()?;
        let out = (self.out(height), self.out(width));
        super::cuda::max_pool(super::cuda::View::new(x, layout), self.0, out)
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        max_pool_gradient(x, self.0, gradient).map(Some)
    }
}

/// The gradient of what went into a pool, from that of what it gave.
///
/// # Errors
/// Where the shapes do not fit.
pub(crate) fn max_pool_gradient(x: &Tensor, window: Window, gradient: &Tensor) -> Result<Tensor> {
    let pool = MaxPool(window);
    let (_, _, height, width) = x.dims4()?;
    let (_, _, out_h, out_w) = gradient.dims4()?;
    let gradient = gradient.contiguous()?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return super::cuda::max_pool_gradient(x, &gradient, window);
    }
    for_dtype!(x.dtype(), pool.name(), T => with_elements::<T, _>(x, |values| with_elements::<T, _>(&gradient, |g| {
        let mut out = vec![T::default(); values.len()];
        out.par_chunks_mut(height * width)
            .zip(values.par_chunks(height * width).zip(g.par_chunks(out_h * out_w)))
            .for_each(|(out, (x, g))| pool.winners(x, (height, width), |from, winner| out[winner] += g[from]));
        Tensor::from_vec(out, x.shape(), x.device())
    })))
}
