//! Gradients of a kernel written out, some rows at a time so that they stay in the cache, and multiplied with the vectors.
//!
//! A kernel is one matrix `[K, C_out]`, or sixteen `[C_in, C_out]` in Winograd's form. For a block of their rows: the gradient
//! of each image, AᵀG with A `[T, rows]` and G `[T, C_out]` (T places, or tiles), then `[images, block] · [block, k]`. The sum
//! over blocks is f64, in a fixed order.

use super::super::layer::Site;
use super::super::planes::{Planes, Scalar, multiply, rows};
use super::Pairing;
use crate::model::op::channels_last::Buffer;
use crate::model::op::channels_last::{Form, Geometry, PLACES, Tiles, unfold_columns};
use rayon::prelude::*;
use std::ops::Range;

/// Numbers of a block of one image's gradient.
const BLOCK: usize = 1 << 13;
/// Numbers of transformed tiles that are held at once.
const HELD: usize = 1 << 23;
/// Images that go through the blocks at once.
const IMAGES: usize = 64;
/// Images whose block is held at once: half a core's second-level cache in f32.
const TOGETHER: usize = 16;

/// The vectors in the same blocks as the gradients.
pub(super) struct Written<T: Scalar> {
    geometry: Geometry,
    form: Form,
    blocks: Vec<Block<T>>,
}

struct Block<T: Scalar> {
    /// Which of the matrices.
    place: usize,
    /// Of the matrix.
    rows: Range<usize>,
    /// `[rows·C_out, k]`.
    vectors: Buffer<T>,
}

impl<T: Scalar> Written<T> {
    /// For vectors in the form.
    pub(super) fn new(geometry: Geometry, form: Form, kernels: &[Buffer<T>]) -> Self {
        let (places, height) = match form {
            Form::Taps => (1, geometry.columns()),
            Form::Winograd => (PLACES, geometry.input.channels),
        };
        let step = (BLOCK / geometry.c_out).clamp(1, height);
        let mut blocks = Vec::new();
        for place in 0..places {
            for start in (0..height).step_by(step) {
                let rows = start..height.min(start + step);
                let from = (place * height + rows.start) * geometry.c_out;
                let size = rows.len() * geometry.c_out;
                let numbers =
                    (from..from + size).flat_map(|at| kernels.iter().map(move |kernel| kernel[at]));
                let vectors: Vec<T> = numbers.collect();
                blocks.push(Block {
                    place,
                    rows,
                    vectors: vectors.into(),
                });
            }
        }
        Self {
            geometry,
            form,
            blocks,
        }
    }

    /// Products of some images with the vectors, `[images, k]` for one block.
    fn block_products(
        &self,
        block: &Block<T>,
        images: &Range<usize>,
        material: (&Planes<T>, &Planes<T>, &[Tiles<T>]),
        [unfolded, gradients]: &mut [Buffer<T>; 2],
    ) -> Buffer<T> {
        let size = block.rows.len() * self.geometry.c_out;
        let count = block.vectors.len() / size;
        let mut products = Buffer::stale(images.len() * count);
        let parts = products.chunks_mut(TOGETHER * count);
        for (start, products) in (0..images.len()).step_by(TOGETHER).zip(parts) {
            gradients.resize(products.len() / count * size);
            for (index, gradient) in gradients.chunks_exact_mut(size).enumerate() {
                let index = start + index;
                let image = (images.start + index, index);
                self.gradient(block, image, material, (unfolded, gradient));
            }
            let vectors = rows(&block.vectors, count);
            multiply(products, rows(gradients, size), vectors, false);
        }
        products
    }

    /// One image's gradient of a block; the image by its number in the planes and in the tiles.
    fn gradient(
        &self,
        block: &Block<T>,
        (image, index): (usize, usize),
        (x, y, tiles): (&Planes<T>, &Planes<T>, &[Tiles<T>]),
        (unfolded, gradient): (&mut Buffer<T>, &mut [T]),
    ) {
        let g = &self.geometry;
        match self.form {
            Form::Taps => {
                let places = g.output().positions();
                unfolded.resize(places * block.rows.len());
                let range = image * places..(image + 1) * places;
                let y = &y.values[range.start * g.c_out..range.end * g.c_out];
                unfold_columns(g, &x.values, range, block.rows.clone(), unfolded);
                let a = rows(unfolded, block.rows.len()).transpose();
                multiply(gradient, a, rows(y, g.c_out), false);
            }
            Form::Winograd => {
                let a = tiles[index].input(block.place);
                let a = a.subcols(block.rows.start, block.rows.len()).transpose();
                multiply(gradient, a, tiles[index].gradient(block.place), false);
            }
        }
    }
}

impl<T: Scalar> Pairing<T> for Written<T> {
    fn add(&self, site: &Site<T>, gradient: &Planes<T>, sums: &mut [f64]) {
        let (x, y, g) = (site.inputs[0], gradient, &self.geometry);
        let (count, all) = (y.images(), y.images().max(1));
        let vectors = sums.len() / all;
        let at_once = match self.form {
            Form::Taps => IMAGES,
            Form::Winograd => {
                let image = PLACES * g.tiles() * (g.input.channels + g.c_out);
                (HELD / image).clamp(4, IMAGES)
            }
        };
        for start in (0..count).step_by(at_once) {
            let images = start..count.min(start + at_once);
            let tiles: Vec<Tiles<T>> = match self.form {
                Form::Taps => Vec::new(),
                Form::Winograd => (images.clone().into_par_iter())
                    .map(|image| Tiles::of_image(g, &x.values, &y.values, image))
                    .collect(),
            };
            let material = (x, y, &tiles[..]);
            let parts: Vec<Buffer<T>> = (self.blocks.par_iter())
                .map_init(Default::default, |buffers, block| {
                    self.block_products(block, &images, material, buffers)
                })
                .collect();
            for part in parts {
                for (index, row) in part.chunks_exact(vectors.max(1)).enumerate() {
                    for (vector, product) in row.iter().enumerate() {
                        sums[vector * all + images.start + index] += product.to_f64();
                    }
                }
            }
        }
    }
}
