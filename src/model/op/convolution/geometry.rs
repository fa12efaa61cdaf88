//! The sizes of a convolution, and where its taps lie.

use super::{Convolution, Role};
use crate::model::op::check_dtype;
use candle_core::{Result, Shape, Tensor, bail};

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in super::super) struct Geometry {
    pub(in super::super) batch: usize,
    pub(in super::super) c_in: usize,
    pub(in super::super) height: usize,
    pub(in super::super) width: usize,
    pub(in super::super) c_out: usize,
    pub(in super::super) kernel_h: usize,
    pub(in super::super) kernel_w: usize,
    pub(in super::super) stride: usize,
    pub(in super::super) padding: usize,
}

impl Geometry {
    /// The sizes, if they fit.
    pub(super) fn of(x: &Tensor, weight: &Tensor, convolution: Convolution) -> Result<Self> {
        check_dtype("convolution", &[x, weight])?;
        Self::of_sizes(x.dims4()?, weight.dims4()?, convolution)
    }

    /// The sizes for an input and a weight of these, if they fit.
    pub(super) fn of_sizes(
        x: (usize, usize, usize, usize),
        weight: (usize, usize, usize, usize),
        convolution: Convolution,
    ) -> Result<Self> {
        let (batch, c_in, height, width) = x;
        let (c_out, c_in_weight, kernel_h, kernel_w) = weight;
        let Convolution { stride, padding } = convolution;
        let sizes = [batch, c_in, height, width, c_out, kernel_h, kernel_w];
        if sizes.contains(&0) {
            bail!("convolution: input {x:?} or weight {weight:?} is empty");
        }
        if c_in != c_in_weight {
            bail!("convolution: input has {c_in} channels, weight expects {c_in_weight}");
        }
        if stride == 0 || kernel_h > height + 2 * padding || kernel_w > width + 2 * padding {
            bail!(
                "convolution: a {kernel_h}×{kernel_w} kernel, stride {stride}, does not fit {height}×{width} padded by {padding}"
            );
        }
        Ok(Self {
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

    pub(in super::super) fn out_h(&self) -> usize {
        (self.height + 2 * self.padding - self.kernel_h) / self.stride + 1
    }
    pub(in super::super) fn out_w(&self) -> usize {
        (self.width + 2 * self.padding - self.kernel_w) / self.stride + 1
    }
    /// Rows of the unfolded image, `K`.
    pub(in super::super) fn taps(&self) -> usize {
        self.c_in * self.kernel_h * self.kernel_w
    }
    /// Columns of the unfolded image, `N`.
    pub(in super::super) fn positions(&self) -> usize {
        self.out_h() * self.out_w()
    }
    pub(in super::super) fn image_len(&self) -> usize {
        self.c_in * self.height * self.width
    }
    pub(in super::super) fn output_len(&self) -> usize {
        self.c_out * self.positions()
    }
    /// The shape of what a role gives.
    pub(in super::super) fn result(&self, role: Role) -> Shape {
        match role {
            Role::Forward => (self.batch, self.c_out, self.out_h(), self.out_w()).into(),
            Role::InputGradient => (self.batch, self.c_in, self.height, self.width).into(),
            Role::WeightGradient => (self.c_out, self.c_in, self.kernel_h, self.kernel_w).into(),
        }
    }
    /// A 1×1 kernel with stride 1 sees the image as it is: nothing to unfold.
    pub(super) fn is_pointwise(&self) -> bool {
        self.kernel_h == 1 && self.kernel_w == 1 && self.stride == 1 && self.padding == 0
    }
    pub(super) fn unfolded_len(&self) -> usize {
        if self.is_pointwise() {
            0
        } else {
            self.taps() * self.positions()
        }
    }

    /// For the kernel column `kx`: the output columns `first..last` that read inside the image.
    pub(super) fn inside(&self, kx: usize) -> (usize, usize) {
        let out_w = self.out_w();
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
        let last = (self.width + self.padding)
            .saturating_sub(kx)
            .div_ceil(self.stride)
            .min(out_w);
        (first.min(last), last)
    }

    /// Calls `visit(row of U, output row, image row or None)` for one channel's taps.
    pub(super) fn rows(
        &self,
        channel: usize,
        mut visit: impl FnMut(usize, usize, usize, Option<usize>),
    ) {
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
