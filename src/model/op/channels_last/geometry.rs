//! Sizes of a convolution over images with the channels last, and its unfolding (im2col).

use super::Scalar;
use std::ops::Range;

/// Height, width and channels of one image's activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

impl Shape {
    /// H·W.
    pub(crate) fn positions(self) -> usize {
        self.height * self.width
    }

    /// H·W·C.
    pub(crate) fn elements(self) -> usize {
        self.positions() * self.channels
    }
}

/// A square kernel over images of one size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) input: Shape,
    pub(crate) c_out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Geometry {
    pub(crate) fn output(&self) -> Shape {
        let side = |side: usize| (side + 2 * self.padding - self.kernel) / self.stride + 1;
        Shape {
            height: side(self.input.height),
            width: side(self.input.width),
            channels: self.c_out,
        }
    }

    /// k².
    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// K = k²·C_in, the columns of the unfolded image, taps before channels.
    pub(crate) fn columns(&self) -> usize {
        self.taps() * self.input.channels
    }

    /// A 1×1 kernel with stride 1 sees the image as it is: nothing to unfold.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }

    /// The convolution that is this one's adjoint in x, for stride 1 and the mirrored kernel with its channels exchanged.
    pub(crate) fn mirrored(&self) -> Self {
        Self {
            input: self.output(),
            c_out: self.input.channels,
            padding: self.kernel - 1 - self.padding,
            ..*self
        }
    }

    /// Calls `visit(tap row ky, image row or none, first column of the image, taps inside)` for the output position
    /// `(oy, ox)`: `inside` are the kernel columns that read inside the image, from image column `first` on.
    fn runs(&self, position: usize, mut visit: impl FnMut(usize, Option<usize>, Range<usize>)) {
        let (oy, ox) = (
            position / self.output().width,
            position % self.output().width,
        );
        let left = ox * self.stride;
        let first = self.padding.saturating_sub(left).min(self.kernel);
        let last = (self.input.width + self.padding)
            .saturating_sub(left)
            .min(self.kernel);
        for ky in 0..self.kernel {
            let y = (oy * self.stride + ky).checked_sub(self.padding);
            let y = y.filter(|&y| y < self.input.height && first < last);
            visit(ky, y, first..last);
        }
    }

    /// Where the kernel column `inside.start` of output position `position` reads in image row `y`.
    fn source(&self, position: usize, y: usize, inside: &Range<usize>) -> usize {
        let ox = position % self.output().width;
        let x = ox * self.stride + inside.start - self.padding;
        (y * self.input.width + x) * self.input.channels
    }
}

/// Rows `range` of U(x), counted over all images, `[range.len(), K]`; `x` is `[m, H, W, C_in]`.
pub(crate) fn unfold<T: Scalar>(g: &Geometry, x: &[T], range: Range<usize>, unfolded: &mut [T]) {
    let (positions, channels, zero) = (g.output().positions(), g.input.channels, T::default());
    let line = g.kernel * channels;
    for (row, target) in range.zip(unfolded.chunks_exact_mut(g.columns())) {
        let image = &x[row / positions * g.input.elements()..][..g.input.elements()];
        let position = row % positions;
        g.runs(position, |ky, y, inside| {
            let target = &mut target[ky * line..(ky + 1) * line];
            let Some(y) = y else {
                return target.fill(zero);
            };
            let (start, end) = (inside.start * channels, inside.end * channels);
            let from = g.source(position, y, &inside);
            target[..start].fill(zero);
            target[start..end].copy_from_slice(&image[from..from + end - start]);
            target[end..].fill(zero);
        });
    }
}

/// Columns `columns` of the same rows of U(x), `[range.len(), columns.len()]`.
pub(crate) fn unfold_columns<T: Scalar>(
    g: &Geometry,
    x: &[T],
    range: Range<usize>,
    columns: Range<usize>,
    unfolded: &mut [T],
) {
    let (positions, channels, zero) = (g.output().positions(), g.input.channels, T::default());
    let line = g.kernel * channels;
    for (row, target) in range.zip(unfolded.chunks_exact_mut(columns.len())) {
        let image = &x[row / positions * g.input.elements()..][..g.input.elements()];
        let position = row % positions;
        target.fill(zero);
        g.runs(position, |ky, y, inside| {
            let Some(y) = y else { return };
            // Columns of U this run fills, cut to those asked for.
            let run = ky * line + inside.start * channels..ky * line + inside.end * channels;
            let (start, end) = (run.start.max(columns.start), run.end.min(columns.end));
            if start < end {
                let from = g.source(position, y, &inside) + start - run.start;
                target[start - columns.start..end - columns.start]
                    .copy_from_slice(&image[from..from + end - start]);
            }
        });
    }
}

/// The adjoint of [`unfold`] for whole images: adds `unfolded` `[m·positions, K]` to `x` `[m, H, W, C_in]`.
pub(crate) fn fold<T: Scalar>(g: &Geometry, unfolded: &[T], x: &mut [T]) {
    let (positions, channels) = (g.output().positions(), g.input.channels);
    let line = g.kernel * channels;
    for (row, source) in unfolded.chunks_exact(g.columns()).enumerate() {
        let image = &mut x[row / positions * g.input.elements()..][..g.input.elements()];
        let position = row % positions;
        g.runs(position, |ky, y, inside| {
            let Some(y) = y else { return };
            let to = g.source(position, y, &inside);
            let source = &source[ky * line..][inside.start * channels..inside.end * channels];
            image[to..to + source.len()]
                .iter_mut()
                .zip(source)
                .for_each(|(sum, &value)| *sum += value);
        });
    }
}
