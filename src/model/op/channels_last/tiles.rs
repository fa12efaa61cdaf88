//! Tiles of images in and out of Winograd's form: Bᵀ d B, Aᵀ M A and A ȳ Aᵀ of [`super::winograd`], a few channels at a time.

use super::lanes::{LANES, Lanes, column_of, load, minus, plus, store};
use super::winograd::PLACES;
use super::{Geometry, Scalar};
use crate::model::op::vectorised::Loop;

/// Numbers between the ends of one place and the next: places a power of two apart would share their cache lines' sets.
const GAP: usize = 16;

/// The distance from one place to the next, for tiles of so many numbers in all.
pub(super) fn stride(numbers: usize) -> usize {
    numbers + GAP
}

/// Some tile rows of some images: either rows of one image, or whole images.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) first_image: usize,
    pub(super) images: usize,
    pub(super) first_row: usize,
    pub(super) tile_rows: usize,
    pub(super) tile_columns: usize,
}

impl Task {
    pub(super) fn tiles(&self) -> usize {
        self.images * self.tile_rows * self.tile_columns
    }

    /// (image, tile row, tile column) of each tile.
    #[inline(always)]
    fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.tiles()).map(move |tile| {
            let (line, column) = (tile / self.tile_columns, tile % self.tile_columns);
            let (image, row) = (line / self.tile_rows, line % self.tile_rows);
            (self.first_image + image, self.first_row + row, column)
        })
    }
}

/// Bᵀ v.
#[inline(always)]
fn input_step<T: Scalar>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
    [minus(a, c), plus(b, c), minus(c, b), minus(b, d)]
}

/// Aᵀ v.
#[inline(always)]
fn output_step<T: Scalar>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 2] {
    [plus(plus(a, b), c), minus(minus(b, c), d)]
}

/// A v.
#[inline(always)]
fn gradient_step<T: Scalar>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 4] {
    [a, plus(a, b), minus(a, b), minus([T::default(); LANES], b)]
}

/// X̃ of the task's tiles, `[16, tiles, C_in]` but for the gaps.
pub(super) struct InputTiles<'a, T> {
    pub(super) g: &'a Geometry,
    pub(super) x: &'a [T],
    pub(super) task: &'a Task,
    pub(super) out: &'a mut [T],
}

impl<T: Scalar> Loop for InputTiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { g, x, task, out } = self;
        let (shape, channels) = (g.input, g.input.channels);
        let stride = stride(task.tiles() * channels);
        let zeros = vec![T::default(); channels];
        for (tile, (image, row, column)) in task.each().enumerate() {
            let image = &x[image * shape.elements()..][..shape.elements()];
            let mut pixels: [&[T]; PLACES] = [&zeros; PLACES];
            for (place, pixel) in pixels.iter_mut().enumerate() {
                let y = (2 * row + place / 4).wrapping_sub(g.padding);
                let x = (2 * column + place % 4).wrapping_sub(g.padding);
                if y < shape.height && x < shape.width {
                    *pixel = &image[(y * shape.width + x) * channels..][..channels];
                }
            }
            for start in (0..channels).step_by(LANES) {
                let end = channels.min(start + LANES);
                let mut half = [[[T::default(); LANES]; 4]; 4];
                for (i, half) in half.iter_mut().enumerate() {
                    *half = input_step([
                        load(&pixels[i][start..end]),
                        load(&pixels[4 + i][start..end]),
                        load(&pixels[8 + i][start..end]),
                        load(&pixels[12 + i][start..end]),
                    ]);
                }
                for k in 0..4 {
                    let line = input_step(column_of(&half, k));
                    for (i, lanes) in line.into_iter().enumerate() {
                        let to = (4 * k + i) * stride + tile * channels;
                        store(lanes, &mut out[to + start..to + end]);
                    }
                }
            }
        }
    }
}

/// The pixels of a tile that lie inside the output, by their place in the 2×2 tile.
#[inline(always)]
fn inside(g: &Geometry, row: usize, column: usize) -> [Option<usize>; 4] {
    let shape = g.output();
    let mut pixels = [None; 4];
    for (place, pixel) in pixels.iter_mut().enumerate() {
        let (y, x) = (2 * row + place / 2, 2 * column + place % 2);
        if y < shape.height && x < shape.width {
            *pixel = Some(y * shape.width + x);
        }
    }
    pixels
}

/// Aᵀ M A of the task's tiles into its part of the output.
pub(super) struct OutputTiles<'a, T> {
    pub(super) g: &'a Geometry,
    pub(super) m: &'a [T],
    pub(super) task: &'a Task,
    pub(super) y: &'a mut [T],
    pub(super) accumulate: bool,
}

impl<T: Scalar> Loop for OutputTiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self {
            g,
            m,
            task,
            y,
            accumulate,
        } = self;
        let (shape, channels) = (g.output(), g.c_out);
        let stride = stride(task.tiles() * channels);
        let before = task.first_image * shape.positions() + 2 * task.first_row * shape.width;
        for (tile, (image, row, column)) in task.each().enumerate() {
            let pixels = inside(g, row, column);
            for start in (0..channels).step_by(LANES) {
                let end = channels.min(start + LANES);
                let from = tile * channels;
                let (first, last) = (from + start, from + end);
                let mut half = [[[T::default(); LANES]; 2]; 4];
                for (i, half) in half.iter_mut().enumerate() {
                    *half = output_step([
                        load(&m[i * stride + first..i * stride + last]),
                        load(&m[(4 + i) * stride + first..(4 + i) * stride + last]),
                        load(&m[(8 + i) * stride + first..(8 + i) * stride + last]),
                        load(&m[(12 + i) * stride + first..(12 + i) * stride + last]),
                    ]);
                }
                for k in 0..2 {
                    let line = output_step(column_of(&half, k));
                    for (value, pixel) in line.into_iter().zip(&pixels[2 * k..]) {
                        let Some(pixel) = pixel else { continue };
                        let position = image * shape.positions() + pixel - before;
                        let y = &mut y[position * channels + start..position * channels + end];
                        match accumulate {
                            true => store(plus(load(y), value), y),
                            false => store(value, y),
                        }
                    }
                }
            }
        }
    }
}

/// Ỹ = A ȳ Aᵀ of the task's tiles, `[16, tiles, C_out]` but for the gaps.
pub(super) struct GradientTiles<'a, T> {
    pub(super) g: &'a Geometry,
    pub(super) y: &'a [T],
    pub(super) task: &'a Task,
    pub(super) out: &'a mut [T],
}

impl<T: Scalar> Loop for GradientTiles<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { g, y, task, out } = self;
        let (shape, channels) = (g.output(), g.c_out);
        let stride = stride(task.tiles() * channels);
        for (tile, (image, row, column)) in task.each().enumerate() {
            let image = &y[image * shape.elements()..][..shape.elements()];
            let pixels = inside(g, row, column);
            for start in (0..channels).step_by(LANES) {
                let end = channels.min(start + LANES);
                let mut d = [[T::default(); LANES]; 4];
                for (d, pixel) in d.iter_mut().zip(pixels) {
                    if let Some(pixel) = pixel {
                        *d = load(&image[pixel * channels + start..pixel * channels + end]);
                    }
                }
                let half = [gradient_step([d[0], d[2]]), gradient_step([d[1], d[3]])];
                for k in 0..4 {
                    let line = gradient_step(column_of(&half, k));
                    for (i, lanes) in line.into_iter().enumerate() {
                        let to = (4 * k + i) * stride + tile * channels;
                        store(lanes, &mut out[to + start..to + end]);
                    }
                }
            }
        }
    }
}
