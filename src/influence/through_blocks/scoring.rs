//! All training images against the solutions of a block of queries, by segment.
//!
//! ⟨∇ℓ_i, x_q⟩ for n images and k solutions of p parameters: one pass over the images, values and output gradients, then each
//! layer's products in whichever way takes fewest multiplications ([`Network::pairing_ways`]). With `--query-rank` solutions
//! are approximated where that is cheaper still, and what that costs is measured: the distance to the solution, and the
//! distance of the scores on a sample of the training images.

use crate::Result;
use crate::data::evenly_spaced;
use crate::derivative::network::{Examples, LayerWay, Network, ParameterSpace, Way};
use crate::operator::Vectors;
use candle_core::Tensor;
use ndarray::{Array2, Array3, Axis, s};

/// Training images on which the error of approximated scores is measured.
const SAMPLE: usize = 64;

/// How a block of queries meets the training images.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ScoringPlan {
    /// Queries in a block.
    pub queries: usize,
    /// The rank to which solutions may be approximated.
    pub query_rank: Option<usize>,
    /// Why these ways.
    pub reason: String,
    /// Multiplications for one training image and all queries of the block, besides the pass itself.
    pub multiplications: f64,
    /// Those of a product for each query in every layer.
    pub by_products: f64,
    /// Those of gradients written out in every layer.
    pub by_gradients: f64,
    /// The convolutions and the head.
    pub layers: Vec<LayerWay>,
}

impl ScoringPlan {
    /// For `queries` at once.
    pub fn of(network: &Network, queries: usize, query_rank: Option<usize>) -> Self {
        let ways = network.pairing_ways(queries, query_rank);
        let total = |of: fn(&LayerWay) -> f64| ways.iter().map(of).sum::<f64>();
        let multiplications = total(|way| way.multiplications);
        let (by_products, by_gradients) =
            (total(|way| way.by_products), total(|way| way.by_gradients));
        // Scales and shifts have one way only.
        let alone = |way: &LayerWay| way.by_products == way.by_gradients;
        let layers: Vec<LayerWay> = ways.into_iter().filter(|way| !alone(way)).collect();
        let count = |wanted: fn(Way) -> bool| layers.iter().filter(|l| wanted(l.way)).count();
        let reason = format!(
            "for {queries} queries at once {} layers go by a product for each, {} by gradients written out, {} at low rank: {:.2} of the multiplications of products alone, {:.2} of gradients alone",
            count(|way| way == Way::Products),
            count(|way| matches!(way, Way::Gradients | Way::Tiles)),
            count(|way| matches!(way, Way::LowRank(_))),
            multiplications / by_products,
            multiplications / by_gradients,
        );
        Self {
            queries,
            query_rank,
            reason,
            multiplications,
            by_products,
            by_gradients,
            layers,
        }
    }
}

/// What approximating one query's solution did.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct RankError {
    /// ‖x − x_R‖ / ‖x‖ over all parameters.
    pub solution: f64,
    /// The largest |s − s_R| over the largest |s|, on a sample of the training images: measured, not a bound.
    pub scores: f64,
}

impl RankError {
    /// Where nothing was approximated.
    const NONE: Self = Self {
        solution: 0.0,
        scores: 0.0,
    };
}

/// How scores through the fine-tuned blocks were made.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ScoringRecord {
    /// Each layer's way, and why.
    #[serde(flatten)]
    pub plan: ScoringPlan,
    /// What approximating the solutions did, for each query, with `--query-rank`; zeros where no layer was approximated.
    pub rank_errors: Vec<RankError>,
}

/// Scores of some queries against all training images.
pub struct PairScores {
    /// In nats, `[segments, queries, training images]`.
    parts: Array3<f64>,
    /// Their sum.
    pub(super) scores: Array2<f64>,
    /// One for each query, where a rank is given.
    pub(super) errors: Vec<RankError>,
    /// By the way back through training: how many times its length at the end it had at its longest, for each query.
    pub(super) growth: Vec<f64>,
}

/// The trained segments' names, the first one first: `stem`, `layer3.1`, …, `head`.
pub(super) fn segment_names(space: &ParameterSpace) -> Vec<String> {
    let blocks = space.blocks();
    let segments = space.segments();
    let last = segments.last().copied();
    let name = |segment: usize| {
        if segment == 0 {
            return "stem".to_owned();
        }
        let block = blocks.iter().find(|block| block.segment == segment);
        match block {
            Some(block) if Some(segment) != last => {
                let parts: Vec<&str> = block.name.splitn(3, '.').take(2).collect();
                parts.join(".")
            }
            _ => "head".to_owned(),
        }
    };
    segments.into_iter().map(name).collect()
}

impl PairScores {
    /// For `solutions` `[k, p]`.
    pub(super) fn of(
        network: &Network,
        training: &Examples,
        solutions: &Vectors,
        query_rank: Option<usize>,
    ) -> Result<Self> {
        let count = training.count();
        let pairs = network.pair(solutions.tensor(), query_rank)?;
        let all: Vec<u32> = (0..count as u32).collect();
        let scored = Self::of_products(&pairs.products(training, &all)?)?;
        let left_out = pairs.errors();
        drop(pairs);
        let approximated = left_out.iter().any(|&error| error != 0.0);
        let errors = match (query_rank, approximated) {
            (None, _) => Vec::new(),
            (Some(_), false) => vec![RankError::NONE; left_out.len()],
            (Some(_), true) => {
                rank_errors((network, training), solutions, &scored.scores, &left_out)?
            }
        };
        Ok(Self { errors, ..scored })
    }

    /// From ⟨∇ℓ_i, x⟩ of all training images by segment, `[segments, k, n]`, without errors.
    pub(super) fn of_products(products: &Tensor) -> Result<Self> {
        let (_, _, count) = products.dims3()?;
        let parts = array(products)? / count as f64;
        Ok(Self {
            scores: parts.sum_axis(Axis(0)),
            parts,
            errors: Vec::new(),
            growth: Vec::new(),
        })
    }

    /// By the way back through training, which are not split by segment.
    pub(super) fn of_way_back(scores: Array2<f64>, growth: Vec<f64>) -> Self {
        Self {
            parts: scores.clone().insert_axis(Axis(0)),
            scores,
            errors: Vec::new(),
            growth,
        }
    }

    /// The shares of all segments in the score of a query and a training image, in nats.
    pub(super) fn shares(&self, row: usize, image: usize) -> Vec<f64> {
        self.parts.slice(s![.., row, image]).to_vec()
    }
}

fn rank_errors(
    (network, training): (&Network, &Examples),
    solutions: &Vectors,
    scores: &Array2<f64>,
    left_out: &[f64],
) -> Result<Vec<RankError>> {
    let count = training.count();
    let sample = evenly_spaced(count, SAMPLE);
    let positions: Vec<u32> = sample.iter().map(|&image| image as u32).collect();
    let exact = network.pair(solutions.tensor(), None)?;
    let exact = array(&exact.products(training, &positions)?)?.sum_axis(Axis(0)) / count as f64;
    let norms = solutions.norms()?;
    let error = |row: usize| {
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let exact = exact.row(row);
        let pairs = exact.iter().zip(&sample);
        let off = largest(&mut pairs.map(|(exact, &image)| (scores[[row, image]] - exact).abs()));
        let scale = largest(&mut exact.iter().map(|score| score.abs()));
        let share = |part: f64, whole: f64| if part == 0.0 { 0.0 } else { part / whole };
        RankError {
            solution: share(left_out[row], norms[row]),
            scores: share(off, scale),
        }
    };
    Ok((0..left_out.len()).map(error).collect())
}

fn array(products: &Tensor) -> Result<Array3<f64>> {
    let values = products.flatten_all()?.to_vec1::<f64>()?;
    Ok(Array3::from_shape_vec(products.dims3()?, values)
        .map_err(ndarray_linalg::error::LinalgError::from)?)
}
