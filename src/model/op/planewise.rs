//! Passes over the planes of activations `[B, C, …]` on the processor: a map of several tensors at once, and sums over channels.
//!
//! They cost what reading and writing memory costs, so that each operation should be one of them and no more. Results go into
//! memory that nobody has cleared before. Sums run in a fixed order whatever the number of threads.

use super::Element;
use super::vectorised::{Loop, vectorised};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements a task; large enough that scheduling costs nothing.
pub(super) const CHUNK: usize = 1 << 14;
/// Running sums of a plane, which the compiler turns into vector instructions.
const LANES: usize = 8;

/// Sizes of activations as batch, channels and the elements of a plane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) plane: usize,
}

impl Planes {
    /// Of a shape `[B, C, …]`.
    pub(super) fn of(dims: &[usize]) -> Self {
        Self {
            batch: dims[0],
            channels: dims[1],
            plane: dims[2..].iter().product(),
        }
    }
}

/// `length` numbers in parts of `part`, as `write(part, numbers)` writes them.
///
/// # Safety
/// `write` writes every number it is given.
pub(super) unsafe fn written<T: Element>(
    length: usize,
    part: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync,
) -> Vec<T> {
    let mut out = Vec::with_capacity(length);
    out.spare_capacity_mut()[..length]
        .par_chunks_mut(part.max(1))
        .enumerate()
        .for_each(|(index, part)| write(index, part));
    // SAFETY: the parts make up the whole length, and the caller promises that each is written.
    unsafe { out.set_len(length) };
    out
}

/// `out = f(inputs)` element by element, with the function `of(part)` for each part of `part` elements.
///
/// # Panics
/// Inputs of different lengths.
pub(super) fn map_parts<T, F, const N: usize>(
    inputs: [&[T]; N],
    part: usize,
    of: impl Fn(usize) -> F + Sync,
) -> Vec<T>
where
    T: Element,
    F: Fn([T; N]) -> T,
{
    let length = inputs[0].len();
    assert!(inputs.iter().all(|input| input.len() == length));
    let part = part.max(1);
    let write = |index: usize, out: &mut [MaybeUninit<T>]| {
        let f = of(index);
        let inputs = inputs.map(|input| &input[index * part..][..out.len()]);
        vectorised(Map { f, inputs, out });
    };
    // SAFETY: `Map` writes every element of its part.
    unsafe { written(length, part, write) }
}

/// `out = f(inputs)`, every element.
struct Map<'a, T, F, const N: usize> {
    f: F,
    inputs: [&'a [T]; N],
    out: &'a mut [MaybeUninit<T>],
}

impl<T: Element, F: Fn([T; N]) -> T, const N: usize> Loop for Map<'_, T, F, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let inputs = self.inputs.map(|input| &input[..self.out.len()]);
        for (place, out) in self.out.iter_mut().enumerate() {
            out.write((self.f)(std::array::from_fn(|input| inputs[input][place])));
        }
    }
}

/// [`map_parts`] with one function for all elements.
pub(super) fn map<T: Element, const N: usize>(
    inputs: [&[T]; N],
    f: impl Fn([T; N]) -> T + Sync,
) -> Vec<T> {
    map_parts(inputs, CHUNK, |_| &f)
}

/// `Σ f(inputs)` over one plane, several sums at once: within the plane in the precision of the elements, its end in f64.
pub(super) fn plane_sums<T: Element, const N: usize, const SUMS: usize>(
    inputs: [&[T]; N],
    f: impl Fn([T; N]) -> [T; SUMS],
) -> [f64; SUMS] {
    vectorised(Sums { inputs, f })
}

struct Sums<'a, T, F, const N: usize> {
    inputs: [&'a [T]; N],
    f: F,
}

impl<T, F, const N: usize, const SUMS: usize> Loop for Sums<'_, T, F, N>
where
    T: Element,
    F: Fn([T; N]) -> [T; SUMS],
{
    type Output = [f64; SUMS];

    #[inline(always)]
    fn run(self) -> [f64; SUMS] {
        let length = self.inputs[0].len();
        let inputs = self.inputs.map(|input| &input[..length]);
        let at = |place: usize| (self.f)(std::array::from_fn(|input| inputs[input][place]));
        let mut lanes = [[T::default(); LANES]; SUMS];
        let whole = length - length % LANES;
        for start in (0..whole).step_by(LANES) {
            for lane in 0..LANES {
                let terms = at(start + lane);
                for (lanes, term) in lanes.iter_mut().zip(terms) {
                    lanes[lane] += term;
                }
            }
        }
        let mut sums = lanes.map(|lanes| lanes.iter().map(|lane| lane.to_f64()).sum());
        for place in whole..length {
            for (sum, term) in sums.iter_mut().zip(at(place)) {
                *sum += term.to_f64();
            }
        }
        sums
    }
}

/// [`plane_sums`] over all planes of each channel, with the function `of(channel)`.
pub(super) fn channel_sums<T, F, const N: usize, const SUMS: usize>(
    inputs: [&[T]; N],
    planes: Planes,
    of: impl Fn(usize) -> F + Sync,
) -> Vec<[f64; SUMS]>
where
    T: Element,
    F: Fn([T; N]) -> [T; SUMS],
{
    (0..planes.channels)
        .into_par_iter()
        .map(|channel| {
            let f = of(channel);
            let mut total = [0.0; SUMS];
            for image in 0..planes.batch {
                let start = (image * planes.channels + channel) * planes.plane;
                let plane = inputs.map(|input| &input[start..start + planes.plane]);
                for (total, sum) in total.iter_mut().zip(plane_sums(plane, &f)) {
                    *total += sum;
                }
            }
            total
        })
        .collect()
}
