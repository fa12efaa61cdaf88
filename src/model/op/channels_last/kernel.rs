//! Kernels as the computation has them: taps first and channels out last, or in Winograd's form.

use super::Scalar;
use super::buffer::Buffer;
use super::winograd::{self, PLACES};
use rayon::prelude::*;

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

    /// `[C_out, C_in, k²]` → `[k², C_in, C_out]`, then into the form.
    pub(crate) fn inward<T: Scalar>(self, from: &[T]) -> Buffer<T> {
        let Self {
            c_out, c_in, taps, ..
        } = self;
        let mut to = Buffer::stale(from.len());
        to.par_chunks_mut(c_in * c_out)
            .enumerate()
            .for_each(|(tap, to)| {
                blocks(c_in, c_out, |ci, co| {
                    to[ci * c_out + co] = from[(co * c_in + ci) * taps + tap];
                });
            });
        match self.form {
            Form::Taps => to,
            Form::Winograd => winograd::kernel(&to),
        }
    }

    /// The adjoint.
    pub(crate) fn outward<T: Scalar>(self, from: &[T], to: &mut [T]) {
        const ROWS: usize = 16;
        let Self {
            c_out, c_in, taps, ..
        } = self;
        let transformed = (self.form == Form::Winograd).then(|| winograd::kernel_adjoint(from));
        let from = transformed.as_deref().unwrap_or(from);
        to.par_chunks_mut(ROWS * c_in * taps)
            .enumerate()
            .for_each(|(part, to)| {
                let count = to.len() / (c_in * taps);
                for tap in 0..taps {
                    for ci in 0..c_in {
                        let from = &from[(tap * c_in + ci) * c_out + part * ROWS..][..count];
                        for (row, &value) in from.iter().enumerate() {
                            to[(row * c_in + ci) * taps + tap] = value;
                        }
                    }
                }
            });
    }
}

/// Visits each (row, column) in square blocks, so that neither of two orders leaves the cache.
#[inline(always)]
fn blocks(rows: usize, columns: usize, mut visit: impl FnMut(usize, usize)) {
    const SIDE: usize = 16;
    for row_start in (0..rows).step_by(SIDE) {
        for column_start in (0..columns).step_by(SIDE) {
            for row in row_start..rows.min(row_start + SIDE) {
                for column in column_start..columns.min(column_start + SIDE) {
                    visit(row, column);
                }
            }
        }
    }
}
