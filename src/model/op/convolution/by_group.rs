//! The three roles with the channels last: groups of images that fit a cache are turned over on the way in and out.

use crate::model::op::channels_last::{
    self, Buffer, Kernel, Scalar, Shape, add_weight_gradient, transpose, write_transpose,
};
use crate::model::op::planewise::written;
use rayon::prelude::*;

/// Numbers of a group's input and output: half a core's second-level cache in f32.
const GROUP: usize = 1 << 16;
/// The same for a weight gradient, where all threads share a group: it stays in the last cache.
const SHARED_GROUP: usize = 1 << 21;
/// Positions that a group has at least.
const POSITIONS: usize = 256;

/// A convolution of square kernels.
pub(super) struct Geometry {
    images: channels_last::Geometry,
    kernel: Kernel,
}

impl Geometry {
    pub(super) fn of(g: &super::Geometry) -> Option<Self> {
        if g.kernel_h != g.kernel_w {
            return None;
        }
        let images = channels_last::Geometry {
            input: Shape {
                height: g.height,
                width: g.width,
                channels: g.c_in,
            },
            c_out: g.c_out,
            kernel: g.kernel_h,
            stride: g.stride,
            padding: g.padding,
        };
        let dims = [g.c_out, g.c_in, g.kernel_h, g.kernel_w];
        let kernel = Kernel::new(&dims, images.form())?;
        Some(Self { images, kernel })
    }

    /// Images of a group: about as many as hold so many numbers, but enough for matrix products that are not too narrow, and at
    /// most half of all.
    fn group(&self, numbers: usize, images: usize) -> usize {
        let (input, output) = (self.images.input, self.images.output());
        let fitting = numbers / (input.elements() + output.elements());
        fitting
            .max(POSITIONS.div_ceil(output.positions()))
            .clamp(1, images.div_ceil(2).max(1))
    }
}

/// `[m, C, H, W]` → `[m, H, W, C]`.
fn turned<T: Scalar>(shape: Shape, images: &[T]) -> Buffer<T> {
    let mut turned = Buffer::stale(images.len());
    turned
        .par_chunks_mut(shape.elements())
        .zip(images.par_chunks(shape.elements()))
        .for_each(|(to, from)| transpose((shape.positions(), shape.channels), from, to));
    turned
}

/// What a role gives of each group of `[m, C, H, W]`, put back in that order.
fn each_group<T: Scalar>(
    [from, to]: [Shape; 2],
    images: &[T],
    group: usize,
    role: impl Fn(usize, &[T]) -> Buffer<T> + Sync,
) -> Vec<T> {
    let (size, out_size) = (from.elements(), to.elements());
    let length = images.len() / size * out_size;
    // SAFETY: each image of the result is a whole transposed one, and there are as many as are asked for.
    unsafe {
        written(length, group * out_size, |index, out| {
            let count = out.len() / out_size;
            let images = &images[index * group * size..][..count * size];
            let found = role(count, &turned(from, images));
            assert_eq!(found.len(), out.len());
            for (out, found) in out.chunks_mut(out_size).zip(found.chunks(out_size)) {
                write_transpose((to.channels, to.positions()), found, out);
            }
        })
    }
}

pub(super) fn forward<T: Scalar>(g: &Geometry, x: &[T], weight: &[T]) -> Vec<T> {
    let weight = g.kernel.inward(weight);
    let shapes = [g.images.input, g.images.output()];
    let group = g.group(GROUP, x.len() / g.images.input.elements());
    each_group(shapes, x, group, |count, x| {
        channels_last::output(&g.images, count, &[(x, &weight)], None)
    })
}

pub(super) fn input_gradient<T: Scalar>(g: &Geometry, y_gradient: &[T], weight: &[T]) -> Vec<T> {
    let weight = g.kernel.inward(weight);
    let shapes = [g.images.output(), g.images.input];
    let group = g.group(GROUP, y_gradient.len() / g.images.output().elements());
    each_group(shapes, y_gradient, group, |count, y| {
        channels_last::input_gradient(&g.images, count, &[(y, &weight)], None)
    })
}

pub(super) fn weight_gradient<T: Scalar>(g: &Geometry, x: &[T], y_gradient: &[T]) -> Vec<T> {
    let (input, output) = (g.images.input, g.images.output());
    let group = g.group(SHARED_GROUP, x.len() / input.elements());
    let mut sum = Buffer::zeros(g.kernel.inner_size());
    for (x, y) in x
        .chunks(group * input.elements())
        .zip(y_gradient.chunks(group * output.elements()))
    {
        let count = x.len() / input.elements();
        let (x, y) = (turned(input, x), turned(output, y));
        add_weight_gradient(&g.images, count, &[(&x, &y)], &mut sum);
    }
    let mut gradient = vec![T::default(); g.kernel.outer_size()];
    g.kernel.outward(&sum, &mut gradient);
    gradient
}
