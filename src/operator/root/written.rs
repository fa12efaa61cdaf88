//! Rows written out, block by block.
//!
//! RRᵀ takes N²p/2 multiplications for N rows of p numbers. Where not all rows can be held they are made anew for each part of them
//! that is, and for every product.

use super::super::SquareMatrix;
use super::{MOST_ROWS, RootRows, root_rows};
use crate::Result;
use crate::derivative::network::{CurvatureRoots, RootKind, WrittenGradients};
use crate::product::{row_products, tensor_product};
use candle_core::{DType, Device, Tensor};
use std::ops::Range;
use std::sync::Mutex;

/// The share of Σ tr (diag π − ππᵀ) that rows hold in f32, where what is left out is rounding.
const SINGLE_SHARE: f64 = 1.0 - 1e-7;
/// How many times as many rows as are kept roots are looked at for: in f32 a network that is sure has fewer than C − 1 an image.
const LEFT_OUT: usize = 10;
/// Blocks of rows that are held beside the one that is being made; where there are no more, all stay.
const HELD: usize = 2;

/// Gradients of a network over some images.
pub(super) struct WrittenRows<'a, N: WrittenGradients> {
    network: &'a N,
    examples: &'a N::Examples,
    positions: &'a [u32],
    roots: CurvatureRoots,
    /// Images of a block.
    images: Vec<Range<usize>>,
    /// Their rows.
    blocks: Vec<Range<usize>>,
    /// Blocks that stay.
    kept: Mutex<Vec<Option<Tensor>>>,
}

impl<'a, N: WrittenGradients> WrittenRows<'a, N> {
    /// None where there are more than [`MOST_ROWS`]; `bytes` are what rows may take at once.
    pub(super) fn of(
        (network, examples, positions): (&'a N, &'a N::Examples, &'a [u32]),
        bytes: u64,
    ) -> Result<Option<Self>> {
        let all = root_rows(positions.len(), network.class_count());
        if all > LEFT_OUT * MOST_ROWS {
            return Ok(None);
        }
        let outputs = network.outputs(examples, positions)?;
        let share = match network.dtype() {
            DType::F64 => 1.0,
            _ => SINGLE_SHARE,
        };
        let roots = CurvatureRoots::of(&outputs, positions, RootKind::Exact { share })?;
        if roots.count() > MOST_ROWS {
            return Ok(None);
        }
        let row = (network.size() * network.dtype().size_in_bytes()) as u64;
        let images = roots.groups((bytes / (HELD as u64 + 1) / row.max(1)) as usize);
        let mut end = 0;
        let count = |images: &Range<usize>| {
            let start = end;
            end += images
                .clone()
                .map(|image| roots.of_image(image).len())
                .sum::<usize>();
            start..end
        };
        let blocks: Vec<_> = images.iter().map(count).collect();
        let staying = if blocks.len() <= HELD {
            blocks.len()
        } else {
            0
        };
        Ok(Some(Self {
            network,
            examples,
            positions,
            images,
            blocks,
            roots,
            kept: Mutex::new(vec![None; staying]),
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Tensor>>> {
        // What is in there is whole, whatever became of the thread that put it there.
        let lock = self.kept.lock();
        lock.unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The rows of a block, `[r, p]`, where the network computes.
    fn block(&self, index: usize) -> Result<Tensor> {
        if let Some(Some(kept)) = self.lock().get(index) {
            return Ok(kept.clone());
        }
        let images = self.images[index].clone();
        let rows =
            (self.network).root_gradients(self.examples, self.positions, &self.roots, images)?;
        if let Some(place) = self.lock().get_mut(index) {
            *place = Some(rows.clone());
        }
        Ok(rows)
    }
}

impl<N: WrittenGradients> RootRows for WrittenRows<'_, N> {
    fn count(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.end)
    }

    fn device(&self) -> Device {
        self.network.device()
    }

    fn products(&self, vectors: &Tensor) -> Result<Tensor> {
        let blocks = (0..self.blocks.len()).map(|index| row_products(vectors, &self.block(index)?));
        match &blocks.collect::<Result<Vec<_>>>()?[..] {
            [] => Ok(Tensor::zeros(
                (vectors.dim(0)?, 0),
                DType::F64,
                vectors.device(),
            )?),
            blocks => Ok(Tensor::cat(blocks, 1)?),
        }
    }

    fn sums(&self, weights: &Tensor) -> Result<Tensor> {
        let (dtype, device) = (self.network.dtype(), self.network.device());
        let weights = weights.to_dtype(dtype)?.to_device(&device)?;
        let mut sum = Tensor::zeros((weights.dim(0)?, self.network.size()), dtype, &device)?;
        for (index, rows) in self.blocks.iter().enumerate() {
            let weights = weights.narrow(1, rows.start, rows.len())?.contiguous()?;
            sum = (sum + tensor_product(&weights, &self.block(index)?)?)?;
        }
        Ok(sum)
    }

    fn add_gram(&self, matrix: &mut SquareMatrix<f64>) -> Result<()> {
        let blocks = &self.blocks;
        for first in (0..blocks.len()).step_by(HELD) {
            let held = first..blocks.len().min(first + HELD);
            let held: Vec<Tensor> = held.map(|index| self.block(index)).collect::<Result<_>>()?;
            for (index, rows) in blocks.iter().enumerate().skip(first) {
                let block = match held.get(index - first) {
                    Some(held) => held.clone(),
                    None => self.block(index)?,
                };
                for (columns, held) in blocks[first..=index].iter().zip(&held) {
                    add_products((rows, &block), (columns, held), matrix)?;
                }
            }
        }
        Ok(())
    }
}

/// Adds the inner products of some rows with others, which are no later ones.
fn add_products(
    (rows, block): (&Range<usize>, &Tensor),
    (columns, held): (&Range<usize>, &Tensor),
    matrix: &mut SquareMatrix<f64>,
) -> Result<()> {
    let products = row_products(held, block)?.to_vec2::<f64>()?;
    for (column, products) in columns.clone().zip(products) {
        let below = rows.clone().zip(products).filter(|(row, _)| *row >= column);
        below.for_each(|(row, product)| matrix[(row, column)] += product);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derivative::network::small_problem::small_problem;
    use crate::model::Blocks;

    /// Three rows an image; a block is never less than an image's.
    #[test]
    fn blocks_are_of_whole_images_and_stay_where_they_are_few() {
        const IMAGES: u32 = 9;
        let (network, examples) = small_problem(Blocks::Last(0), IMAGES as usize);
        let positions: Vec<u32> = (0..IMAGES).collect();
        let row = network.size() * network.dtype().size_in_bytes();
        for (rows_at_once, blocks, staying) in
            [(27 * 3, 1, 1), (15 * 3, 2, 2), (6 * 3, 5, 0), (1, 9, 0)]
        {
            let bytes = (rows_at_once * row) as u64;
            let rows = WrittenRows::of((&network, &examples, &positions), bytes).unwrap();
            let rows = rows.unwrap();
            assert_eq!((rows.count(), rows.blocks.len()), (27, blocks));
            rows.add_gram(&mut SquareMatrix::zeros(27)).unwrap();
            assert_eq!(rows.lock().iter().flatten().count(), staying);
        }
    }
}
