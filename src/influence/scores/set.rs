//! A set of queries at work: its sinks, and blocks of scores on their way to them.

use super::Queries;
use crate::Result;
use crate::influence::checkpoint::Recordable;
use crate::influence::{Examples, Provenance, ScoreBlock, ScoreHeader, SinkState};
use candle_core::{DType, Tensor};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;

/// A set of queries at work.
pub(in crate::influence) struct Set<'a, 'b> {
    header: ScoreHeader,
    pub(in crate::influence) queries: Queries<'a, 'b>,
}

/// A block of scores that has come from the device.
pub(super) struct Fetched {
    rows: Range<usize>,
    columns: Range<usize>,
    scores: Vec<f64>,
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

    /// Waits for the products `[rows.len(), columns.len()]`, and divides them by n.
    pub(super) fn fetched(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        products: &Tensor,
    ) -> Result<Fetched> {
        let products = products.flatten_all()?;
        let scale = 1.0 / self.header.training.len() as f64;
        let scores: Vec<f64> = match products.dtype() {
            DType::F32 => (products.to_vec1::<f32>()?.par_iter())
                .map(|&product| f64::from(product) * scale)
                .collect(),
            _ => (products.to_vec1::<f64>()?.par_iter())
                .map(|product| product * scale)
                .collect(),
        };
        Ok(Fetched {
            rows,
            columns,
            scores,
        })
    }

    /// Hands on what was fetched last, if there is anything.
    pub(super) fn write_last(&mut self, last: &mut Option<Fetched>) -> Result<()> {
        match last.take() {
            None => Ok(()),
            Some(block) => self.write_scores(block.rows, block.columns, &block.scores),
        }
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
