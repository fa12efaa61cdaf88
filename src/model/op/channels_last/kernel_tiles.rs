//! Kernels in and out of Winograd's form: G w Gᵀ of [`super::winograd`] and its adjoint Gᵀ W G, a few channels at a time.

use super::Scalar;
use super::lanes::{LANES, Lanes, load, minus, plus, store, times};
use super::winograd::PLACES;
use crate::model::op::vectorised::Loop;

/// Taps of a kernel.
const TAPS: usize = 9;

/// G v.
#[inline(always)]
fn step<T: Scalar>([a, b, c]: [Lanes<T>; 3]) -> [Lanes<T>; 4] {
    let half = <T as candle_core::WithDType>::from_f64(0.5);
    let ends = plus(a, c);
    [
        a,
        times(plus(ends, b), half),
        times(minus(ends, b), half),
        c,
    ]
}

/// Gᵀ v.
#[inline(always)]
fn adjoint_step<T: Scalar>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 3] {
    let half = <T as candle_core::WithDType>::from_f64(0.5);
    let even = times(plus(b, c), half);
    [plus(a, even), times(minus(b, c), half), plus(even, d)]
}

/// W̃ of some channels in: from taps `[channels, 9, C_out]` to 16 places `[channels, C_out]`.
pub(super) struct Transform<'a, 'b, T> {
    pub(super) taps: &'a [T],
    pub(super) c_out: usize,
    pub(super) places: &'a mut [&'b mut [T]],
}

impl<T: Scalar> Loop for Transform<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            taps,
            c_out,
            places,
        } = self;
        for (channel, taps) in taps.chunks_exact(TAPS * c_out).enumerate() {
            for start in (0..c_out).step_by(LANES) {
                let end = c_out.min(start + LANES);
                let tap = |tap: usize| load(&taps[tap * c_out + start..tap * c_out + end]);
                let mut half = [[[T::default(); LANES]; 3]; 4];
                for kx in 0..3 {
                    let line = step([tap(kx), tap(3 + kx), tap(6 + kx)]);
                    for (half, value) in half.iter_mut().zip(line) {
                        half[kx] = value;
                    }
                }
                for (row, half) in half.into_iter().enumerate() {
                    for (column, value) in step(half).into_iter().enumerate() {
                        let to = channel * c_out;
                        store(value, &mut places[4 * row + column][to + start..to + end]);
                    }
                }
            }
        }
    }
}

/// The adjoint for some channels out: from places `[16, C_in, C_out]` to taps `[C_in, 9, channels]`.
pub(super) struct Adjoint<'a, T> {
    pub(super) places: &'a [T],
    pub(super) c_out: usize,
    pub(super) first: usize,
    pub(super) channels: usize,
    pub(super) taps: &'a mut [T],
}

impl<T: Scalar> Loop for Adjoint<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            places,
            c_out,
            first,
            channels,
            taps,
        } = self;
        let size = places.len() / PLACES;
        for (c_in, taps) in taps.chunks_exact_mut(TAPS * channels).enumerate() {
            for start in (0..channels).step_by(LANES) {
                let end = channels.min(start + LANES);
                let from = c_in * c_out + first;
                let place = |place: usize| {
                    load(&places[place * size + from + start..place * size + from + end])
                };
                let mut half = [[[T::default(); LANES]; 4]; 3];
                for column in 0..4 {
                    let line = adjoint_step([
                        place(column),
                        place(4 + column),
                        place(8 + column),
                        place(12 + column),
                    ]);
                    for (half, value) in half.iter_mut().zip(line) {
                        half[column] = value;
                    }
                }
                for (ky, half) in half.into_iter().enumerate() {
                    for (kx, value) in adjoint_step(half).into_iter().enumerate() {
                        let to = (3 * ky + kx) * channels;
                        store(value, &mut taps[to + start..to + end]);
                    }
                }
            }
        }
    }
}
