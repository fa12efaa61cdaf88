//! 3×3 convolutions with stride 1 by Winograd's algorithm F(2×2, 3×3): 16 products for 4 outputs instead of 36.
//!
//! Lavin & Gray 2016, equations 6 to 8: for a 4×4 tile d of the input and a kernel w,
//! y = Aᵀ [ (G w Gᵀ) ∘ (Bᵀ d B) ] A, a 2×2 tile of the output, with
//!
//! ```text
//! Bᵀ = 1  0 −1  0     G = 1   0   0     Aᵀ = 1  1  1  0
//!      0  1  1  0         ½   ½   ½          0  1 −1 −1
//!      0 −1  1  0         ½  −½   ½
//!      0  1  0 −1         0   0   1
//! ```
//!
//! For each of the 16 places of the tile the channels make a matrix product over all tiles. The map is bilinear, so its
//! adjoints are made of the same parts: with X̃ = Bᵀ d B, Ỹ = A ȳ Aᵀ and W̃ = G w Gᵀ the gradient of W̃ is X̃ᵀ Ỹ at each place.
//! Kernels and their gradients stay in this form, `[16, C_in, C_out]`, through all passes; [`super::kernel_tiles`]
//! goes in and out. A mirrored kernel has the same W̃ with the outer places exchanged, so that the input
//! gradient is again an output.

use super::Geometry;
use super::buffer::Buffer;
use super::product::{Scalar, multiply, rows};
use super::tiles::{GradientTiles, InputTiles, OutputTiles, Task, stride};
use crate::model::op::vectorised::vectorised;
use faer::MatRef;
use rayon::prelude::*;

/// Places of a tile.
pub(crate) const PLACES: usize = 16;
/// Tiles of a task.
const TILES: usize = 128;
/// Numbers of both transforms that a weight gradient holds at once: they stay in the last cache.
const HELD: usize = 1 << 22;

/// Whether a kernel is taken as it is, or mirrored with its channels exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    Plain,
    Mirrored,
}

/// How tiles are dealt out: `images` images to a task, or `tile_rows` rows of one image.
struct Deal {
    images: usize,
    tile_rows: usize,
    tile_columns: usize,
    all_rows: usize,
}

impl Deal {
    fn new(g: &Geometry) -> Self {
        let output = g.output();
        let (all_rows, tile_columns) = (output.height.div_ceil(2), output.width.div_ceil(2));
        let images = (TILES / (all_rows * tile_columns)).max(1);
        let tile_rows = match images {
            1 => TILES.div_ceil(tile_columns).min(all_rows),
            _ => all_rows,
        };
        Self {
            images,
            tile_rows,
            tile_columns,
            all_rows,
        }
    }

    fn tasks(&self, images: usize) -> Vec<Task> {
        let mut tasks = Vec::new();
        for first_image in (0..images).step_by(self.images) {
            for first_row in (0..self.all_rows).step_by(self.tile_rows) {
                tasks.push(Task {
                    first_image,
                    images: self.images.min(images - first_image),
                    first_row,
                    tile_rows: self.tile_rows.min(self.all_rows - first_row),
                    tile_columns: self.tile_columns,
                });
            }
        }
        tasks
    }
}

/// `onto + Σ W ∗ x` for the terms (x, W̃), `[m, H_out, W_out, C_out]`; without `onto` the sum alone.
pub(super) fn output<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    sense: Sense,
    onto: Option<Buffer<T>>,
) -> Buffer<T> {
    let (shape, accumulate) = (g.output(), onto.is_some());
    let mut y = onto.unwrap_or_else(|| Buffer::stale(images * shape.elements()));
    let mut rest = &mut y[..];
    let mut work = Vec::new();
    for task in Deal::new(g).tasks(images) {
        let last = (2 * (task.first_row + task.tile_rows)).min(shape.height);
        let lines = task.images * (last - 2 * task.first_row);
        let (part, after) = rest.split_at_mut(lines * shape.width * shape.channels);
        rest = after;
        work.push((task, part));
    }
    work.into_par_iter().for_each_init(
        Default::default,
        |buffers: &mut [Buffer<T>; 2], (task, y)| {
            let [x, m] = buffers;
            let (c_in, tiles) = (g.input.channels, task.tiles());
            m.resize(PLACES * stride(tiles * g.c_out));
            x.resize(PLACES * stride(tiles * c_in));
            for (index, (input, weight)) in terms.iter().enumerate() {
                vectorised(InputTiles {
                    g,
                    x: input,
                    task: &task,
                    out: x,
                });
                for (place, m) in m.chunks_exact_mut(stride(tiles * g.c_out)).enumerate() {
                    let m = &mut m[..tiles * g.c_out];
                    let x = rows(&x[place * stride(tiles * c_in)..][..tiles * c_in], c_in);
                    let matrix = |place: usize| &weight[place * c_in * g.c_out..][..c_in * g.c_out];
                    let weight = match sense {
                        Sense::Plain => rows(matrix(place), g.c_out),
                        Sense::Mirrored => rows(matrix(opposite(place)), c_in).transpose(),
                    };
                    multiply(m, x, weight, index > 0);
                }
            }
            vectorised(OutputTiles {
                g,
                m,
                task: &task,
                y,
                accumulate,
            });
        },
    );
    y
}

/// The place that a mirrored kernel exchanges with `place`.
fn opposite(place: usize) -> usize {
    const SWAP: [usize; 4] = [3, 1, 2, 0];
    4 * SWAP[place / 4] + SWAP[place % 4]
}

/// X̃ and Ỹ of some tiles.
pub(crate) struct Tiles<T: Scalar> {
    tiles: usize,
    channels: [usize; 2],
    inputs: Buffer<T>,
    gradients: Buffer<T>,
}

impl<T: Scalar> Tiles<T> {
    fn of(g: &Geometry, (x, y): (&[T], &[T]), task: &Task) -> Self {
        let tiles = task.tiles();
        let mut inputs = Buffer::stale(PLACES * stride(tiles * g.input.channels));
        let mut gradients = Buffer::stale(PLACES * stride(tiles * g.c_out));
        vectorised(InputTiles {
            g,
            x,
            task,
            out: &mut inputs,
        });
        vectorised(GradientTiles {
            g,
            y,
            task,
            out: &mut gradients,
        });
        Self {
            tiles,
            channels: [g.input.channels, g.c_out],
            inputs,
            gradients,
        }
    }

    /// Those of one image.
    pub(crate) fn of_image(g: &Geometry, x: &[T], y: &[T], image: usize) -> Self {
        let deal = Deal::new(g);
        let task = Task {
            first_image: image,
            images: 1,
            first_row: 0,
            tile_rows: deal.all_rows,
            tile_columns: deal.tile_columns,
        };
        Self::of(g, (x, y), &task)
    }

    /// X̃ at a place, `[tiles, C_in]`.
    pub(crate) fn input(&self, place: usize) -> MatRef<'_, T> {
        let numbers = self.tiles * self.channels[0];
        rows(
            &self.inputs[place * stride(numbers)..][..numbers],
            self.channels[0],
        )
    }

    /// Ỹ at a place, `[tiles, C_out]`.
    pub(crate) fn gradient(&self, place: usize) -> MatRef<'_, T> {
        let numbers = self.tiles * self.channels[1];
        rows(
            &self.gradients[place * stride(numbers)..][..numbers],
            self.channels[1],
        )
    }
}

/// Adds `Σ X̃ᵀ Ỹ` for the terms (x, ȳ) to `into` `[16, C_in, C_out]`.
pub(super) fn add_weight_gradient<T: Scalar>(
    g: &Geometry,
    images: usize,
    terms: &[(&[T], &[T])],
    into: &mut [T],
) {
    let (c_in, c_out) = (g.input.channels, g.c_out);
    let tasks = Deal::new(g).tasks(images);
    let held = (HELD / (PLACES * TILES * (c_in + c_out))).max(4);
    for tasks in tasks.chunks(held) {
        for (x, y) in terms {
            let transformed: Vec<Tiles<T>> = tasks
                .par_iter()
                .map(|task| Tiles::of(g, (x, y), task))
                .collect();
            into.par_chunks_mut(c_in * c_out)
                .enumerate()
                .for_each(|(place, sum)| {
                    for tiles in &transformed {
                        let x = tiles.input(place).transpose();
                        multiply(sum, x, tiles.gradient(place), true);
                    }
                });
        }
    }
}
