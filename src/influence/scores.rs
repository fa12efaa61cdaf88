//! The block loop: query gradients, one solve for the block, one matrix product with each block of training gradients.
//!
//! A training gradient is r ⊗ a, so that it is made again for each block of queries rather than kept: that costs
//! one number written for every 2·k multiplied, k the queries in a block.

use super::{Examples, ScoreBlock, ScoreHeader, ScoreSink};
use crate::operator::Vectors;
use crate::solve::{Inverse, Outcome, Report};
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use ndarray::ArrayView2;
use std::collections::BTreeMap;
use std::ops::Range;

/// Numbers in one block of gradients: 32 MiB in f32.
const BLOCK_ELEMENTS: usize = 1 << 23;

/// How many rows go through one step; scores depend on it by rounding only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    /// Queries solved together.
    pub queries: usize,
    /// Training gradients held at once.
    pub training: usize,
}

impl BlockSizes {
    /// Blocks of about 32 MiB for `parameter_count` parameters.
    pub fn for_parameters(parameter_count: usize) -> Self {
        let rows = (BLOCK_ELEMENTS / parameter_count.max(1)).clamp(16, 1024);
        Self {
            queries: rows,
            training: rows,
        }
    }
}

/// Scores all `queries` against all `training` images and hands every block to every sink; how each query's solve ended
/// comes back, row by row. `inverse` is that of the (damped) curvature of the training images, in their precision.
///
/// # Errors
/// A query whose solve diverged or a score that is not finite (the ids are named; nothing of it reaches a sink), or
/// what a sink refuses.
pub fn score(
    inverse: &dyn Inverse,
    training: &Examples,
    queries: &Examples,
    blocks: BlockSizes,
    digests: &BTreeMap<String, String>,
    sinks: &mut [&mut dyn ScoreSink],
) -> Result<Vec<Report>> {
    let header = ScoreHeader {
        queries: queries.ids().to_vec(),
        training: training.ids().to_vec(),
        digests: digests.clone(),
    };
    for sink in &mut *sinks {
        sink.begin(&header)?;
    }
    let mut reports = Vec::with_capacity(queries.count());
    for rows in ranges(queries.count(), blocks.queries) {
        let solution = inverse.solve(&Vectors::new(queries.gradients(rows.clone())?)?)?;
        refuse_diverged(&header, rows.start, &solution.reports)?;
        reports.extend(solution.reports);
        for columns in ranges(training.count(), blocks.training) {
            let scores = contract(&solution.value, training, columns.clone())?;
            let scores = ArrayView2::from_shape((rows.len(), columns.len()), &scores)
                .map_err(ndarray_linalg::error::LinalgError::from)?;
            let block = ScoreBlock {
                queries: rows.clone(),
                training: columns,
                scores,
            };
            refuse_not_finite(&header, &block)?;
            for sink in &mut *sinks {
                sink.write(&block)?;
            }
        }
    }
    for sink in sinks {
        sink.finish()?;
    }
    Ok(reports)
}

fn ranges(count: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let size = size.max(1);
    (0..count)
        .step_by(size)
        .map(move |start| start..count.min(start + size))
}

/// (1/n) X Gᵀ for solutions X `[k, p]` and the training gradients G of `columns`, row-major `[k, columns.len()]`.
fn contract(solutions: &Vectors, training: &Examples, columns: Range<usize>) -> Result<Vec<f64>> {
    let gradients: Tensor = training.gradients(columns)?;
    let products = solutions
        .tensor()
        .matmul(&gradients.t()?)?
        .to_dtype(DType::F64)?;
    Ok((products / training.count() as f64)?
        .flatten_all()?
        .to_vec1()?)
}

fn refuse_diverged(header: &ScoreHeader, start: usize, reports: &[Report]) -> Result<()> {
    match reports
        .iter()
        .position(|report| report.outcome == Outcome::Diverged)
    {
        None => Ok(()),
        Some(row) => Err(Error::NonFinite {
            what: "influence".into(),
            place: format!("the solve of query {}", header.queries[start + row]),
            remedy: Outcome::Diverged.remedy().into(),
        }),
    }
}

fn refuse_not_finite(header: &ScoreHeader, block: &ScoreBlock) -> Result<()> {
    match block
        .scores
        .indexed_iter()
        .find(|(_, score)| !score.is_finite())
    {
        None => Ok(()),
        Some(((row, column), _)) => {
            let query = header.queries[block.queries.start + row];
            let train = header.training[block.training.start + column];
            Err(Error::NonFinite {
                what: "influence".into(),
                place: format!("query {query}, training image {train}"),
                remedy: Outcome::Diverged.remedy().into(),
            })
        }
    }
}
