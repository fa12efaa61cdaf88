//! All training images against the solutions of a block of queries, by segment where that is asked for.
//!
//! ⟨∇ℓ_i, x⟩ for n images and k solutions of p parameters. A tangent of the forward pass for each solution takes about 2F
//! operations a pair, F those of a forward pass of the fine-tuned part, and no gradient is written out; gradients written
//! out take 3F for an image and then 2p a pair, a matrix product. A weight of a convolution is used at every place of a plane,
//! so that p is much less than F: tangents win for a single solution, gradients for more. Shares need gradients: a
//! tangent knows no segments.

use crate::Result;
use crate::derivative::network::{Examples, Network};
use crate::influence::scores::{not_finite, ranges};
use crate::influence::{ScoreBlock, ScoreHeader, ScoreSink};
use crate::operator::Vectors;
use candle_core::{DType, Tensor};
use ndarray::{Array2, Array3, Axis, s};
use std::ops::Range;

/// Bytes of gradients that are held at once.
const GRADIENT_BYTES: usize = 1 << 28;

/// Scores of some queries against all training images.
pub(super) struct PairScores {
    /// In nats, `[segments, queries, training images]`; one segment where shares were not asked for.
    parts: Array3<f64>,
    /// Their sum.
    scores: Array2<f64>,
}

/// A part of the network and its places in the parameter vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// `stem`, `layer3.1`, …, `head`.
    pub(super) name: String,
    pub(super) ranges: Vec<Range<usize>>,
}

/// The trained segments, the first one first.
pub(super) fn segments(network: &Network) -> Vec<Segment> {
    let blocks = network.space().blocks();
    let last = blocks.iter().map(|block| block.segment).max().unwrap_or(0);
    let mut segments: Vec<(usize, Segment)> = Vec::new();
    for block in blocks {
        let name = match block.segment {
            0 => "stem".to_owned(),
            segment if segment == last => "head".to_owned(),
            _ => block
                .name
                .splitn(3, '.')
                .take(2)
                .collect::<Vec<_>>()
                .join("."),
        };
        let place = segments
            .iter()
            .position(|(segment, _)| *segment == block.segment);
        let place = place.unwrap_or_else(|| {
            let ranges = Vec::new();
            segments.push((block.segment, Segment { name, ranges }));
            segments.len() - 1
        });
        let ranges = &mut segments[place].1.ranges;
        match ranges.last_mut() {
            Some(before) if before.end == block.range.start => before.end = block.range.end,
            _ => ranges.push(block.range.clone()),
        }
    }
    segments.sort_by_key(|(segment, _)| *segment);
    segments.into_iter().map(|(_, segment)| segment).collect()
}

impl PairScores {
    /// For `solutions` `[k, p]`.
    pub(super) fn of(
        network: &Network,
        training: &Examples,
        solutions: &Vectors,
        shares: bool,
    ) -> Result<Self> {
        let products = match (shares, solutions.count()) {
            (false, 1) => by_tangents(network, training, solutions)?,
            (false, _) => {
                let everything = Segment {
                    name: String::new(),
                    ranges: std::iter::once(0..network.size()).collect(),
                };
                by_gradients(network, training, solutions, &[everything])?
            }
            (true, _) => by_gradients(network, training, solutions, &segments(network))?,
        };
        let parts = products / training.count() as f64;
        let scores = parts.sum_axis(Axis(0));
        Ok(Self { parts, scores })
    }

    /// The shares of all segments in the score of a query and a training image, in nats.
    pub(super) fn shares(&self, row: usize, image: usize) -> Vec<f64> {
        self.parts.slice(s![.., row, image]).to_vec()
    }

    /// Hands the scores on, if all are finite; `rows` are the positions of the queries.
    pub(super) fn write(
        &self,
        header: &ScoreHeader,
        rows: Range<usize>,
        sinks: &mut [&mut dyn ScoreSink],
    ) -> Result<()> {
        let bad = self
            .scores
            .indexed_iter()
            .find(|(_, score)| !score.is_finite());
        if let Some(((row, image), _)) = bad {
            let (query, train) = (header.queries[rows.start + row], header.training[image]);
            return Err(not_finite(format!("query {query}, training image {train}")));
        }
        let block = ScoreBlock {
            queries: rows,
            training: 0..self.scores.ncols(),
            scores: self.scores.view(),
        };
        sinks.iter_mut().try_for_each(|sink| sink.write(&block))
    }
}

fn by_tangents(network: &Network, training: &Examples, solutions: &Vectors) -> Result<Array3<f64>> {
    let all: Vec<u32> = (0..training.count() as u32).collect();
    let products = network.example_products(training, &all, solutions.tensor())?;
    array(&products).map(|products| products.insert_axis(Axis(0)))
}

fn by_gradients(
    network: &Network,
    training: &Examples,
    solutions: &Vectors,
    segments: &[Segment],
) -> Result<Array3<f64>> {
    let count = training.count();
    let mut products = Array3::zeros((segments.len(), solutions.count(), count));
    let row = network.size() * network.dtype().size_in_bytes();
    for images in ranges(count, (GRADIENT_BYTES / row.max(1)).clamp(1, 256)) {
        let positions: Vec<u32> = images.clone().map(|image| image as u32).collect();
        let gradients = network.example_gradients(training, &positions)?;
        for (index, segment) in segments.iter().enumerate() {
            for range in &segment.ranges {
                let columns = |rows: &Tensor| rows.narrow(1, range.start, range.len());
                let part = columns(solutions.tensor())?.matmul(&columns(&gradients)?.t()?)?;
                let mut target = products.slice_mut(s![index, .., images.clone()]);
                target += &array(&part)?;
            }
        }
    }
    Ok(products)
}

fn array(matrix: &Tensor) -> Result<Array2<f64>> {
    let values = matrix
        .to_dtype(DType::F64)?
        .flatten_all()?
        .to_vec1::<f64>()?;
    Ok(Array2::from_shape_vec(matrix.dims2()?, values)
        .map_err(ndarray_linalg::error::LinalgError::from)?)
}
