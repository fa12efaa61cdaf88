//! Kernels as the computation has them: taps first and channels out last, or in Winograd's form.

use super::Scalar;
use super::buffer::Buffer;
use super::kernel_tiles::{Adjoint, Transform};
use super::transpose::{transpose, transpose_lines};
use super::winograd::PLACES;
use crate::model::op::vectorised::vectorised;
use rayon::prelude::*;

/// Numbers of some channels in that are turned over at once: they stay in a core's own cache.
const BLOCK: usize = 1 << 15;
/// Channels out that go outward at once.
const ROWS: usize = 16;

/// How a kernel is stored in the computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `[k², C_in, C_out]`.
    Taps,
    /// `[16, C_in, C_out]`, transformed.
    Winograd,
}

impl Form {
    /// The form that kernels of this side, stride and padding have.
    pub(crate) fn of(kernel: usize, stride: usize, padding: usize) -> Self {
        match (kernel, stride) {
            (3, 1) if padding <= 2 => Self::Winograd,
            _ => Self::Taps,
        }
    }
}

/// Channels out and in, k², and how it is stored; a matrix is one with k = 1, a vector none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kernel {
    c_out: usize,
    c_in: usize,
    taps: usize,
    form: Form,
}

impl Kernel {
    pub(crate) fn new(shape: &[usize], form: Form) -> Option<Self> {
        let (c_out, c_in, taps) = match *shape {
            [c_out, c_in] => (c_out, c_in, 1),
            [c_out, c_in, height, width] => (c_out, c_in, height * width),
            _ => return None,
        };
        Some(Self {
            c_out,
            c_in,
            taps,
            form,
        })
    }

    /// The same kernel stored otherwise.
    pub(crate) fn in_form(self, form: Form) -> Self {
        Self { form, ..self }
    }

    /// Numbers of it as stored.
    pub(crate) fn outer_size(self) -> usize {
        self.taps * self.c_in * self.c_out
    }

    /// Numbers of it in its form.
    pub(crate) fn inner_size(self) -> usize {
        let places = match self.form {
            Form::Taps => self.taps,
            Form::Winograd => PLACES,
        };
        places * self.c_in * self.c_out
    }

    /// `[C_out, C_in, k²]` → `[k², C_in, C_out]`, and into the form.
    pub(crate) fn inward<T: Scalar>(self, from: &[T]) -> Buffer<T> {
        let Self {
            c_out, c_in, taps, ..
        } = self;
        let mut to = Buffer::stale(self.inner_size());
        let channels = (BLOCK / (taps * c_out).max(1)).clamp(1, c_in.max(1));
        blocks(&mut to, c_in * c_out, channels * c_out)
            .into_par_iter()
            .enumerate()
            .for_each_init(Buffer::default, |turned, (block, mut planes)| {
                let lines = planes[0].len() / c_out * taps;
                let from = &from[block * channels * taps..];
                if let [plane] = &mut planes[..] {
                    return transpose_lines((lines, c_out), from, c_in, plane);
                }
                turned.resize(lines * c_out);
                transpose_lines((lines, c_out), from, c_in * taps, turned);
                match self.form {
                    Form::Taps => deal(turned, c_out, &mut planes),
                    Form::Winograd => vectorised(Transform {
                        taps: turned,
                        c_out,
                        places: &mut planes,
                    }),
                }
            });
        to
    }

    /// The adjoint.
    pub(crate) fn outward<T: Scalar>(self, from: &[T], to: &mut [T]) {
        let Self {
            c_out, c_in, taps, ..
        } = self;
        let lines = c_in * taps;
        to.par_chunks_mut((ROWS * lines).max(1))
            .enumerate()
            .for_each_init(Buffer::default, |gathered, (part, to)| {
                let (first, channels) = (part * ROWS, to.len() / lines);
                gathered.resize(to.len());
                match self.form {
                    Form::Taps => {
                        for (line, gathered) in gathered.chunks_exact_mut(channels).enumerate() {
                            let at = (line % taps * c_in + line / taps) * c_out + first;
                            gathered.copy_from_slice(&from[at..at + channels]);
                        }
                    }
                    Form::Winograd => vectorised(Adjoint {
                        places: from,
                        c_out,
                        first,
                        channels,
                        taps: gathered,
                    }),
                }
                transpose((channels, lines), gathered, to);
            });
    }
}

/// The same `part` numbers of each plane of `plane` numbers together, part by part.
fn blocks<T>(planes: &mut [T], plane: usize, part: usize) -> Vec<Vec<&mut [T]>> {
    let mut blocks: Vec<Vec<&mut [T]>> = Vec::new();
    blocks.resize_with(plane.div_ceil(part.max(1)), Vec::new);
    for plane in planes.chunks_exact_mut(plane.max(1)) {
        for (block, part) in blocks.iter_mut().zip(plane.chunks_mut(part.max(1))) {
            block.push(part);
        }
    }
    blocks
}

/// Lines of `length` numbers to the planes in turn.
fn deal<T: Copy>(lines: &[T], length: usize, planes: &mut [&mut [T]]) {
    for (group, lines) in lines.chunks_exact(planes.len() * length).enumerate() {
        for (plane, line) in planes.iter_mut().zip(lines.chunks_exact(length)) {
            plane[group * length..][..length].copy_from_slice(line);
        }
    }
}
