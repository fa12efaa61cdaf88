//! ⟨Jᵀs, Jᵀs'⟩ of all rows of the softmax's roots of all images: the matrix between them, without the gradients.
//!
//! At a convolution the gradient of image i and row s is Aᵢᵀ Gᵢₛ with A the patches `[T, K]` and G the gradient of its output
//! `[T, C_out]`. Two ways to the products of two images, counted in multiplications for r rows each:
//!
//! | way | what | multiplications |
//! |---|---|---|
//! | by places | ⟨Gᵢₛ, (Aᵢ Aⱼᵀ) Gⱼₛ'⟩ | T²·K + r·T²·C_out + r²·T·C_out |
//! | written out | AᵢᵀGᵢₛ of a block of images, some rows at a time | r²·K·C_out, and 2r·T·K·C_out for [`BLOCK`] pairs of images |
//!
//! Few places and many channels, the last layers, are for the first: with 16 places, 512 channels and 9 rows it takes a
//! sixtieth. Patches' products and gradients are of the network's precision, and so are inner products within [`COLUMNS`] terms;
//! sums are of f64.

use super::super::layer::Convolution;
use super::super::planes::{Planes, Scalar, multiply, rows};
use super::super::program::Program;
use super::RootGradients;
use crate::model::op::channels_last::{Buffer, unfold, unfold_columns};
use faer::{MatMut, MatRef};
use rayon::prelude::*;

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

/// An image: its pass and its place there.
type Image<'a, T> = (Pass<'a, T>, usize);

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

    /// Adds the products of all rows of some passes with those of others, image by image, to `into`; where `lower`, the others are
    /// the same passes, and only the lower triangle is added.
    pub(super) fn add_root_gram(
        &self,
        (first, second): (&[Pass<T>], &[Pass<T>]),
        lower: bool,
        into: MatMut<f64>,
    ) {
        let (first, second) = (images(first), images(second));
        let width = BLOCK * self.root_rows();
        let columns = into.par_col_chunks_mut(width).zip(second.par_chunks(BLOCK));
        columns.enumerate().for_each(|(column, (columns, second))| {
            let parts = columns
                .par_row_chunks_mut(width)
                .zip(first.par_chunks(BLOCK));
            let parts = parts
                .enumerate()
                .filter(|(row, _)| !lower || *row >= column);
            parts.for_each(|(_, (part, first))| self.add_products_of(first, second, part));
        });
    }

    /// Adds the products of the rows of one block with those of another.
    fn add_products_of(&self, first: &[Image<T>], second: &[Image<T>], mut into: MatMut<f64>) {
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(layer) = node.layer.as_convolution() {
                let (by_places, written) = multiplications(layer, self.root_rows());
                match by_places < written {
                    true => self.add_by_places((index, layer), (first, second), into.as_mut()),
                    false => self.add_written((index, layer), (first, second), into.as_mut()),
                }
            }
            let channelwise = |images: &[Image<T>]| {
                let own =
                    |image| (0..self.root_rows()).map(move |row| channelwise(image, index, row));
                images
                    .iter()
                    .flat_map(own)
                    .flatten()
                    .copied()
                    .collect::<Vec<T>>()
            };
            let [first, second] = [first, second].map(channelwise);
            let size = first.len() / into.nrows();
            if size > 0 {
                add_products(rows(&first, size), rows(&second, size), into.as_mut());
            }
        }
    }

    fn add_by_places(
        &self,
        (index, layer): (usize, &Convolution),
        (first, second): (&[Image<T>], &[Image<T>]),
        mut into: MatMut<f64>,
    ) {
        let g = &layer.geometry;
        let (places, size) = (g.output().positions(), g.output().elements());
        let patches = |images: &[Image<T>]| {
            let mut patches = Buffer::stale(images.len() * places * g.columns());
            let parts = patches.chunks_exact_mut(places * g.columns());
            for (image, part) in images.iter().zip(parts) {
                unfold(g, self.input(image, index), 0..places, part);
            }
            patches
        };
        let [patches, others] = [first, second].map(patches);
        let mut pairs = Buffer::stale(first.len() * places * second.len() * places);
        let turned = rows(&others, g.columns()).transpose();
        multiply(&mut pairs, rows(&patches, g.columns()), turned, false);
        let pairs = rows(&pairs, second.len() * places);
        let count = self.root_rows();
        // (Aᵢ Aⱼᵀ) Gⱼ of all rows of the second block, one after the other.
        let mut moved = Buffer::stale(second.len() * count * size);
        let mut own = Buffer::stale(count * size);
        for (at, image) in first.iter().enumerate() {
            for (row, moved) in moved.chunks_exact_mut(size).enumerate() {
                let (other, row) = (row / count, row % count);
                let pair = pairs.submatrix(at * places, other * places, places, places);
                let gradient = gradient(&second[other], index, row);
                multiply(moved, pair, rows(gradient, g.c_out), false);
            }
            for (row, own) in own.chunks_exact_mut(size).enumerate() {
                own.copy_from_slice(gradient(image, index, row));
            }
            let into = into.as_mut().subrows_mut(at * count, count);
            add_products(rows(&own, size), rows(&moved, size), into);
        }
    }

    fn add_written(
        &self,
        (index, layer): (usize, &Convolution),
        (first, second): (&[Image<T>], &[Image<T>]),
        mut into: MatMut<f64>,
    ) {
        let g = &layer.geometry;
        let step = (COLUMNS / g.c_out).clamp(1, g.columns());
        for start in (0..g.columns()).step_by(step) {
            let columns = start..g.columns().min(start + step);
            let size = columns.len() * g.c_out;
            let written = |images: &[Image<T>]| {
                let mut written = Buffer::stale(images.len() * self.root_rows() * size);
                let mut patches = Buffer::stale(g.output().positions() * columns.len());
                let parts = written.chunks_exact_mut(self.root_rows() * size);
                for (image, part) in images.iter().zip(parts) {
                    let places = 0..g.output().positions();
                    let x = self.input(image, index);
                    unfold_columns(g, x, places, columns.clone(), &mut patches);
                    for (row, part) in part.chunks_exact_mut(size).enumerate() {
                        let gradient = rows(gradient(image, index, row), g.c_out);
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
    fn input<'a>(&self, &((values, _), place): &Image<'a, T>, node: usize) -> &'a [T] {
        values[self.nodes[node].inputs[0]].of_image(place)
    }
}

/// Those of all passes, one after the other.
fn images<'a, T: Scalar>(passes: &[Pass<'a, T>]) -> Vec<Image<'a, T>> {
    let images = |&pass: &Pass<'a, T>| (0..pass.0[0].images()).map(move |place| (pass, place));
    passes.iter().flat_map(images).collect()
}

/// The gradient of a convolution's output.
fn gradient<'a, T: Scalar>(
    &((_, roots), place): &Image<'a, T>,
    node: usize,
    row: usize,
) -> &'a [T] {
    roots.output(node, row).of_image(place)
}

fn channelwise<'a, T: Scalar>(
    &((values, roots), place): &Image<'a, T>,
    node: usize,
    row: usize,
) -> &'a [T] {
    let all = roots.channelwise(node, row);
    let size = all.len() / values[0].images();
    &all[place * size..][..size]
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
        let images = images(&[(&kit.values[..], kit.roots.as_ref().unwrap())]);
        let blocks = (&images[3..], &images[..4]);
        let (rows, columns) = (6 * program.root_rows(), 4 * program.root_rows());
        for (index, node) in program.nodes.iter().enumerate() {
            let Some(layer) = node.layer.as_convolution() else {
                continue;
            };
            let [mut by_places, mut written] = [0, 1].map(|_| Mat::zeros(rows, columns));
            program.add_by_places((index, layer), blocks, by_places.as_mut());
            program.add_written((index, layer), blocks, written.as_mut());
            let error = (&by_places - &written).norm_max();
            assert!(
                error < 1e-12 * written.norm_max(),
                "node {index}: {error:e}"
            );
        }
    }
}
