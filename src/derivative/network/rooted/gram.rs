//! ⟨Jᵀs, Jᵀs'⟩ of all rows of the softmax's roots of all images: the matrix between them, without the gradients.
//!
//! At a convolution the gradient of image i and row s is Aᵢᵀ Gᵢₛ with A the patches `[T, K]` and G the gradient of its output
//! `[T, C_out]`. Two ways to the products of two images, counted in multiplications for r rows each:
//!
//! | | | |
//! |---|---|---|
//! | by places | ⟨Gᵢₛ, (Aᵢ Aⱼᵀ) Gⱼₛ'⟩ | T²·K + r·T²·C_out + r²·T·C_out |
//! | written out | a block of the kernel's rows at a time | r²·K·C_out, and 2r·T·K·C_out for each image of a block with another block |
//!
//! Few places and many channels, the last layers, are for the first: with 16 places, 512 channels and 9 rows it takes a
//! sixtieth. Products are of the network's precision within [`COLUMNS`] terms, sums of f64.

use super::super::layer::Convolution;
use super::super::planes::{Planes, Scalar, multiply, rows};
use super::super::program::Program;
use super::RootGradients;
use crate::model::op::channels_last::{Buffer, unfold, unfold_columns};
use faer::{MatMut, MatRef};
use rayon::prelude::*;
use std::ops::Range;

/// Images of a block.
const BLOCK: usize = 16;
/// Terms of a sum that is not f64.
const COLUMNS: usize = 4096;

/// Of two images at a layer with so many rows each: by places, and written out.
fn multiplications(layer: &Convolution, rows: usize) -> (f64, f64) {
    let g = &layer.geometry;
    let [t, k, c, r] = [g.output().positions(), g.columns(), g.c_out, rows].map(|n| n as f64);
    let by_places = t * t * (k + r * c) + r * r * t * c;
    (
        by_places,
        r * r * k * c + 2.0 * r * t * k * c / BLOCK as f64,
    )
}

/// What is held of some images.
pub(super) type Pass<'a, T> = (&'a [Planes<T>], &'a RootGradients<T>);

/// The images of all passes, one after the other.
struct Images<'a, T: Scalar> {
    program: &'a Program<T>,
    passes: &'a [Pass<'a, T>],
    /// The pass of each, and its place there.
    places: Vec<(usize, usize)>,
    /// Of an image.
    rows: usize,
}

impl<T: Scalar> Program<T> {
    /// Multiplications of the products of two images' rows.
    pub(super) fn root_gram_multiplications(&self) -> f64 {
        let rows = self.root_rows();
        let layers = self.nodes.iter().filter_map(|node| {
            let (by_places, written) = multiplications(node.layer.as_convolution()?, rows);
            Some(by_places.min(written))
        });
        layers.sum()
    }

    /// Adds the lower triangle of the matrix between all rows to `into`, image by image.
    pub(super) fn add_root_gram(&self, passes: &[Pass<T>], into: MatMut<f64>) {
        let places = passes.iter().enumerate();
        let places = places.flat_map(|(pass, (values, _))| {
            (0..values[0].images()).map(move |image| (pass, image))
        });
        let images = Images {
            program: self,
            passes,
            places: places.collect(),
            rows: self.root_rows(),
        };
        let width = BLOCK * images.rows;
        let block = |index: usize| index * BLOCK..images.places.len().min((index + 1) * BLOCK);
        let columns = into.par_col_chunks_mut(width).enumerate();
        columns.for_each(|(second, columns)| {
            let parts = columns.par_row_chunks_mut(width).enumerate();
            let lower = parts.filter(|(first, _)| *first >= second);
            lower.for_each(|(first, part)| images.add((block(first), block(second)), part));
        });
    }
}

impl<T: Scalar> Images<'_, T> {
    /// Adds the products of the rows of one block with those of another.
    fn add(&self, blocks: (Range<usize>, Range<usize>), mut into: MatMut<f64>) {
        for index in 0..self.program.nodes.len() {
            if let Some(layer) = self.program.nodes[index].layer.as_convolution() {
                let (by_places, written) = multiplications(layer, self.rows);
                match by_places < written {
                    true => self.add_by_places((index, layer), &blocks, into.as_mut()),
                    false => self.add_written((index, layer), &blocks, into.as_mut()),
                }
            }
            let channelwise = |images: &Range<usize>| {
                let own = |image| (0..self.rows).map(move |row| (image, row));
                let own = images.clone().flat_map(own);
                own.flat_map(|(image, row)| self.channelwise(index, image, row))
                    .copied()
                    .collect::<Vec<T>>()
            };
            let [first, second] = [&blocks.0, &blocks.1].map(channelwise);
            let size = first.len() / into.nrows();
            if size > 0 {
                add_products(rows(&first, size), rows(&second, size), into.as_mut());
            }
        }
    }

    fn add_by_places(
        &self,
        (index, layer): (usize, &Convolution),
        (first, second): &(Range<usize>, Range<usize>),
        mut into: MatMut<f64>,
    ) {
        let g = &layer.geometry;
        let (places, size) = (g.output().positions(), g.output().elements());
        let patches = |images: &Range<usize>| {
            let mut patches = Buffer::stale(images.len() * places * g.columns());
            let parts = patches.chunks_exact_mut(places * g.columns());
            for (image, part) in images.clone().zip(parts) {
                unfold(g, self.input(index, image), 0..places, part);
            }
            patches
        };
        let [patches, others] = [first, second].map(patches);
        let mut pairs = Buffer::stale(first.len() * places * second.len() * places);
        let turned = rows(&others, g.columns()).transpose();
        multiply(&mut pairs, rows(&patches, g.columns()), turned, false);
        let pairs = rows(&pairs, second.len() * places);
        // (Aᵢ Aⱼᵀ) Gⱼ of all rows of the second block, one after the other.
        let mut moved = Buffer::stale(second.len() * self.rows * size);
        let mut own = Buffer::stale(self.rows * size);
        for (at, image) in first.clone().enumerate() {
            for (row, moved) in moved.chunks_exact_mut(size).enumerate() {
                let (other, row) = (row / self.rows, row % self.rows);
                let pair = pairs.submatrix(at * places, other * places, places, places);
                let gradient = self.gradient(index, second.start + other, row);
                multiply(moved, pair, rows(gradient, g.c_out), false);
            }
            for (row, own) in own.chunks_exact_mut(size).enumerate() {
                own.copy_from_slice(self.gradient(index, image, row));
            }
            let into = into.as_mut().subrows_mut(at * self.rows, self.rows);
            add_products(rows(&own, size), rows(&moved, size), into);
        }
    }

    fn add_written(
        &self,
        (index, layer): (usize, &Convolution),
        (first, second): &(Range<usize>, Range<usize>),
        mut into: MatMut<f64>,
    ) {
        let g = &layer.geometry;
        let step = (COLUMNS / g.c_out).clamp(1, g.columns());
        for start in (0..g.columns()).step_by(step) {
            let columns = start..g.columns().min(start + step);
            let size = columns.len() * g.c_out;
            let written = |images: &Range<usize>| {
                let mut written = Buffer::stale(images.len() * self.rows * size);
                let mut patches = Buffer::stale(g.output().positions() * columns.len());
                let parts = written.chunks_exact_mut(self.rows * size);
                for (image, part) in images.clone().zip(parts) {
                    let places = 0..g.output().positions();
                    let x = self.input(index, image);
                    unfold_columns(g, x, places, columns.clone(), &mut patches);
                    for (row, part) in part.chunks_exact_mut(size).enumerate() {
                        let gradient = rows(self.gradient(index, image, row), g.c_out);
                        let patches = rows(&patches, columns.len()).transpose();
                        multiply(part, patches, gradient, false);
                    }
                }
                written
            };
            let [first, second] = [first, second].map(written);
            add_products(rows(&first, size), rows(&second, size), into.as_mut());
        }
    }

    /// What a node reads of an image.
    fn input(&self, index: usize, image: usize) -> &[T] {
        let (pass, place) = self.places[image];
        self.passes[pass].0[self.program.nodes[index].inputs[0]].of_image(place)
    }

    /// The gradient of a convolution's output.
    fn gradient(&self, index: usize, image: usize, row: usize) -> &[T] {
        let (pass, place) = self.places[image];
        self.passes[pass].1.output(index, row).of_image(place)
    }

    fn channelwise(&self, index: usize, image: usize, row: usize) -> &[T] {
        let (pass, place) = self.places[image];
        let all = self.passes[pass].1.channelwise(index, row);
        let size = all.len() / self.passes[pass].0[0].images();
        &all[place * size..][..size]
    }
}

/// Adds the inner products of the rows of both.
fn add_products<T: Scalar>(first: MatRef<T>, second: MatRef<T>, mut into: MatMut<f64>) {
    let mut part = Buffer::stale(into.nrows() * into.ncols());
    for start in (0..first.ncols()).step_by(COLUMNS) {
        let columns = COLUMNS.min(first.ncols() - start);
        let first = first.subcols(start, columns).transpose();
        multiply(&mut part, second.subcols(start, columns), first, false);
        for (column, part) in into
            .as_mut()
            .col_iter_mut()
            .zip(part.chunks_exact(first.ncols()))
        {
            (column.iter_mut().zip(part)).for_each(|(sum, part)| *sum += part.to_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::linearisation::Kept;
    use super::super::super::small_problem::small_problem;
    use super::super::super::{Beside, Inner};
    use super::*;
    use crate::model::Blocks;
    use faer::Mat;

    /// Both at every convolution, whichever takes fewer multiplications there.
    #[test]
    fn both_ways_give_the_same_products() {
        const IMAGES: u32 = 9;
        let (network, examples) = small_problem(Blocks::All, IMAGES as usize);
        let positions: Vec<u32> = (0..IMAGES).collect();
        let beside = Beside::RootGradients;
        let found = network.linearise(&examples, &positions, beside).unwrap();
        let (Inner::F64(program), Kept::F64(kit)) = (&network.program, &found.kept) else {
            panic!("another precision");
        };
        let images = Images {
            program,
            passes: &[(&kit.values, kit.roots.as_ref().unwrap())],
            places: (0..IMAGES as usize).map(|image| (0, image)).collect(),
            rows: program.root_rows(),
        };
        let blocks = (3..9, 0..4);
        let (rows, columns) = (6 * images.rows, 4 * images.rows);
        for (index, node) in program.nodes.iter().enumerate() {
            let Some(layer) = node.layer.as_convolution() else {
                continue;
            };
            let [mut by_places, mut written] = [0, 1].map(|_| Mat::zeros(rows, columns));
            images.add_by_places((index, layer), &blocks, by_places.as_mut());
            images.add_written((index, layer), &blocks, written.as_mut());
            let error = (&by_places - &written).norm_max();
            assert!(
                error < 1e-12 * written.norm_max(),
                "node {index}: {error:e}"
            );
        }
    }
}
