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
//! Kernels and their gradients stay in this form, `[16, C_in, C_out]`, through all passes; [`kernel`] and
//! [`kernel_adjoint`] go in and out. A mirrored kernel has the same W̃ with the outer places exchanged, so that the input
//! gradient is again an output.

use super::Geometry;
use super::buffer::Buffer;
use super::product::{Scalar, multiply, rows};
use faer::MatRef;
use rayon::prelude::*;

/// Places of a tile.
pub(crate) const PLACES: usize = 16;
/// Tiles of a task.
const TILES: usize = 128;
/// Numbers of both transforms that a weight gradient holds at once: they stay in the last cache.
const HELD: usize = 1 << 22;
/// Channels that are transformed together, as vector instructions.
const LANES: usize = 16;
/// Numbers between the ends of one place and the next: places a power of two apart would share their cache lines' sets.
const GAP: usize = 16;

/// The distance from one place to the next, for tiles of so many numbers in all.
fn stride(numbers: usize) -> usize {
    numbers + GAP
}

/// G.
const KERNEL: [[f64; 3]; 4] = [
    [1.0, 0.0, 0.0],
    [0.5, 0.5, 0.5],
    [0.5, -0.5, 0.5],
    [0.0, 0.0, 1.0],
];

/// W̃ `[16, n]` of kernels `[9, n]`.
pub(crate) fn kernel<T: Scalar>(taps: &[T]) -> Buffer<T> {
    // ky, then kx.
    let size = taps.len() / 9;
    let half = combined(taps, size, 12, |place, tap| match place % 3 == tap % 3 {
        true => KERNEL[place / 3][tap / 3],
        false => 0.0,
    });
    combined(&half, size, 16, |place, tap| match place / 4 == tap / 3 {
        true => KERNEL[place % 4][tap % 3],
        false => 0.0,
    })
}

/// The adjoint: `[9, n]` of `[16, n]`.
pub(crate) fn kernel_adjoint<T: Scalar>(places: &[T]) -> Buffer<T> {
    let size = places.len() / PLACES;
    let half = combined(places, size, 12, |tap, place| match place / 4 == tap / 3 {
        true => KERNEL[place % 4][tap % 3],
        false => 0.0,
    });
    combined(&half, size, 9, |tap, place| match place % 3 == tap % 3 {
        true => KERNEL[place / 3][tap / 3],
        false => 0.0,
    })
}

/// Rows of `size` numbers, each a sum of rows of `from` with the given coefficients.
fn combined<T: Scalar>(
    from: &[T],
    size: usize,
    count: usize,
    coefficient: impl Fn(usize, usize) -> f64 + Sync,
) -> Buffer<T> {
    let mut out = Buffer::zeros(count * size);
    out.par_chunks_mut(size.max(1))
        .enumerate()
        .for_each(|(row, out)| {
            for (index, from) in from.chunks_exact(size.max(1)).enumerate() {
                let factor = coefficient(row, index);
                if factor != 0.0 {
                    let factor = <T as candle_core::WithDType>::from_f64(factor);
                    out.iter_mut()
                        .zip(from)
                        .for_each(|(out, &value)| *out += factor * value);
                }
            }
        });
    out
}

/// Whether a kernel is taken as it is, or mirrored with its channels exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sense {
    Plain,
    Mirrored,
}

/// Some tile rows of some images: either rows of one image, or whole images.
#[derive(Debug, Clone)]
struct Task {
    first_image: usize,
    images: usize,
    first_row: usize,
    tile_rows: usize,
    tile_columns: usize,
}

impl Task {
    fn tiles(&self) -> usize {
        self.images * self.tile_rows * self.tile_columns
    }

    /// (image, tile row, tile column) of each tile.
    fn each(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        (0..self.tiles()).map(move |tile| {
            let (line, column) = (tile / self.tile_columns, tile % self.tile_columns);
            let (image, row) = (line / self.tile_rows, line % self.tile_rows);
            (self.first_image + image, self.first_row + row, column)
        })
    }
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
                input_tiles(g, input, &task, x);
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
            output_tiles(g, m, &task, y, accumulate);
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
        input_tiles(g, x, task, &mut inputs);
        gradient_tiles(g, y, task, &mut gradients);
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

/// The same number of several channels.
type Lanes<T> = [T; LANES];

#[inline(always)]
fn plus<T: Scalar>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for lane in 0..LANES {
        a[lane] += b[lane];
    }
    a
}

#[inline(always)]
fn minus<T: Scalar>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for lane in 0..LANES {
        a[lane] -= b[lane];
    }
    a
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

/// The first numbers of `from`, zeros behind its end.
#[inline(always)]
fn load<T: Scalar>(from: &[T]) -> Lanes<T> {
    match from.first_chunk() {
        Some(lanes) => *lanes,
        None => {
            let mut lanes = [T::default(); LANES];
            lanes.iter_mut().zip(from).for_each(|(lane, &x)| *lane = x);
            lanes
        }
    }
}

/// As many numbers as `to` has room for.
#[inline(always)]
fn store<T: Scalar>(lanes: Lanes<T>, to: &mut [T]) {
    match to.first_chunk_mut() {
        Some(to) => *to = lanes,
        None => to.iter_mut().zip(lanes).for_each(|(to, lane)| *to = lane),
    }
}

/// Runs of at most [`LANES`] channels.
fn runs(channels: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..channels)
        .step_by(LANES)
        .map(move |start| start..channels.min(start + LANES))
}

/// X̃ of the task's tiles, `[16, tiles, C_in]` but for the gaps.
fn input_tiles<T: Scalar>(g: &Geometry, x: &[T], task: &Task, out: &mut [T]) {
    let (shape, channels) = (g.input, g.input.channels);
    let (stride, zeros) = (
        stride(task.tiles() * channels),
        vec![T::default(); channels],
    );
    for (tile, (image, row, column)) in task.each().enumerate() {
        let image = &x[image * shape.elements()..][..shape.elements()];
        let pixel = |place: usize| -> &[T] {
            let y = (2 * row + place / 4).wrapping_sub(g.padding);
            let x = (2 * column + place % 4).wrapping_sub(g.padding);
            match y < shape.height && x < shape.width {
                true => &image[(y * shape.width + x) * channels..][..channels],
                false => &zeros,
            }
        };
        let pixels: [&[T]; PLACES] = std::array::from_fn(pixel);
        for run in runs(channels) {
            let d = |place: usize| load(&pixels[place][run.clone()]);
            let mut half = [[[T::default(); LANES]; 4]; 4];
            for (i, half) in half.iter_mut().enumerate() {
                *half = input_step([d(i), d(4 + i), d(8 + i), d(12 + i)]);
            }
            let line = |k: usize| input_step([half[0][k], half[1][k], half[2][k], half[3][k]]);
            for k in 0..4 {
                for (i, lanes) in line(k).into_iter().enumerate() {
                    let to = (4 * k + i) * stride + tile * channels;
                    store(lanes, &mut out[to + run.start..to + run.end]);
                }
            }
        }
    }
}

/// The pixels of a tile that lie inside the output, with their place in the 2×2 tile.
fn inside(g: &Geometry, row: usize, column: usize) -> impl Iterator<Item = (usize, usize)> {
    let shape = g.output();
    (0..4).filter_map(move |place| {
        let (y, x) = (2 * row + place / 2, 2 * column + place % 2);
        (y < shape.height && x < shape.width).then_some((place, y * shape.width + x))
    })
}

/// Aᵀ M A of the task's tiles into its part of the output.
fn output_tiles<T: Scalar>(g: &Geometry, m: &[T], task: &Task, y: &mut [T], accumulate: bool) {
    let (shape, channels) = (g.output(), g.c_out);
    let stride = stride(task.tiles() * channels);
    let before = task.first_image * shape.positions() + 2 * task.first_row * shape.width;
    for (tile, (image, row, column)) in task.each().enumerate() {
        for run in runs(channels) {
            let d = |place: usize| {
                let from = place * stride + tile * channels;
                load(&m[from + run.start..from + run.end])
            };
            let mut half = [[[T::default(); LANES]; 2]; 4];
            for (i, half) in half.iter_mut().enumerate() {
                *half = output_step([d(i), d(4 + i), d(8 + i), d(12 + i)]);
            }
            let line = |k: usize| output_step([half[0][k], half[1][k], half[2][k], half[3][k]]);
            let whole = [line(0), line(1)];
            for (place, pixel) in inside(g, row, column) {
                let position = image * shape.positions() + pixel - before;
                let y = &mut y[position * channels + run.start..position * channels + run.end];
                let value = whole[place / 2][place % 2];
                match accumulate {
                    true => store(plus(load(y), value), y),
                    false => store(value, y),
                }
            }
        }
    }
}

/// Ỹ = A ȳ Aᵀ of the task's tiles, `[16, tiles, C_out]` but for the gaps.
fn gradient_tiles<T: Scalar>(g: &Geometry, y: &[T], task: &Task, out: &mut [T]) {
    let (shape, channels) = (g.output(), g.c_out);
    let stride = stride(task.tiles() * channels);
    for (tile, (image, row, column)) in task.each().enumerate() {
        let image = &y[image * shape.elements()..][..shape.elements()];
        for run in runs(channels) {
            let mut d = [[T::default(); LANES]; 4];
            for (place, pixel) in inside(g, row, column) {
                d[place] = load(&image[pixel * channels + run.start..pixel * channels + run.end]);
            }
            let half = [gradient_step([d[0], d[2]]), gradient_step([d[1], d[3]])];
            let line = |k: usize| gradient_step([half[0][k], half[1][k]]);
            for k in 0..4 {
                for (i, lanes) in line(k).into_iter().enumerate() {
                    let to = (4 * k + i) * stride + tile * channels;
                    store(lanes, &mut out[to + run.start..to + run.end]);
                }
            }
        }
    }
}
