//! A set of queries at work: its sinks, and blocks of scores on their way to them.

use super::Queries;
use crate::Result;
use crate::influence::checkpoint::Recordable;
use crate::influence::side_by_side::{LANES, side_by_side};
use crate::influence::{Examples, Provenance, ScoreBlock, ScoreHeader, SinkState};
use candle_core::{DType, Device, Tensor};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;

/// A set of queries at work.
pub(in crate::influence) struct Set<'a, 'b> {
    header: ScoreHeader,
    pub(in crate::influence) queries: Queries<'a, 'b>,
}

/// Queries and the training images that they are scored against.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Recordable for Set<'_, '_> {
    fn save(&mut self) -> Result<Option<Vec<SinkState>>> {
        let mut states = Vec::new();
        for sink in self.queries.sinks.iter_mut() {
            let Some(state) = sink.save()? else {
                return Ok(None);
            };
            states.push(state);
        }
        Ok(Some(states))
    }

    fn restore(&mut self, states: &mut std::slice::Iter<SinkState>) -> Result<bool> {
        for sink in self.queries.sinks.iter_mut() {
            let restored = states.next().map(|state| sink.restore(state)).transpose()?;
            if restored != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn begin_anew(&mut self) -> Result<()> {
        let header = &self.header;
        (self.queries.sinks.iter_mut()).try_for_each(|sink| sink.begin(header))
    }
}

impl<'a, 'b> Set<'a, 'b> {
    pub(in crate::influence) fn begin(
        training: &Examples,
        queries: Queries<'a, 'b>,
        provenance: &Provenance,
    ) -> Result<Self> {
        let header = ScoreHeader {
            queries: queries.examples.ids().to_vec(),
            training: training.ids().to_vec(),
            provenance: provenance.clone(),
        };
        for sink in queries.sinks.iter_mut() {
            sink.begin(&header)?;
        }
        Ok(Self { header, queries })
    }

    /// Computes the products of each block, `[rows.len(), columns.len()]`, and hands them on as scores in the order of the
    /// blocks.
    ///
    /// A device works while the host takes in what it has done: the products of a block are begun before the sinks get those of
    /// the block before. The processor computes some side by side.
    pub(super) fn score(
        &mut self,
        blocks: Vec<Block>,
        device: &Device,
        products: impl Fn(&Block) -> Result<Tensor> + Sync,
    ) -> Result<()> {
        let count = self.header.training.len();
        if device.is_cpu() {
            for group in blocks.chunks(LANES) {
                let scored = side_by_side(group.iter().collect(), device, |block| {
                    scores(&products(block)?, count)
                })?;
                for (block, scores) in group.iter().zip(scored) {
                    self.write_scores(block.rows.clone(), block.columns.clone(), &scores)?;
                }
            }
            return Ok(());
        }
        let mut last: Option<(Block, Vec<f64>)> = None;
        for block in blocks {
            let begun = products(&block)?;
            if let Some((block, scores)) = last.take() {
                self.write_scores(block.rows, block.columns, &scores)?;
            }
            last = Some((block, scores(&begun, count)?));
        }
        last.map_or(Ok(()), |(block, scores)| {
            self.write_scores(block.rows, block.columns, &scores)
        })
    }

    /// Hands the scores `[rows.len(), columns.len()]` in nats on, if all are finite.
    pub(in crate::influence) fn write_scores(
        &mut self,
        rows: Range<usize>,
        columns: Range<usize>,
        scores: &[f64],
    ) -> Result<()> {
        let scores = ArrayView2::from_shape((rows.len(), columns.len()), scores)
            .map_err(ndarray_linalg::error::LinalgError::from)?;
        let block = ScoreBlock::of_finite(&self.header, rows, columns, scores)?;
        self.queries
            .sinks
            .iter_mut()
            .try_for_each(|sink| sink.write(&block))
    }

    pub(in crate::influence) fn finish(&mut self) -> Result<()> {
        self.queries
            .sinks
            .iter_mut()
            .try_for_each(|sink| sink.finish())
    }
}

/// Waits for products, and divides them by the number of training images: scores in nats.
fn scores(products: &Tensor, training_count: usize) -> Result<Vec<f64>> {
    let products = products.flatten_all()?;
    let scale = 1.0 / training_count as f64;
    Ok(match products.dtype() {
        DType::F32 => (products.to_vec1::<f32>()?.par_iter())
            .map(|&product| f64::from(product) * scale)
            .collect(),
        _ => (products.to_vec1::<f64>()?.par_iter())
            .map(|product| product * scale)
            .collect(),
    })
}
