//! A run through blocks before it is begun: its network over a few of its images, what it would take, and whether it has room.

use super::super::Rank;
use super::super::transferred::Transferred;
use crate::Result;
use crate::artefact::GIB;
use crate::derivative::network::{Curvature, Keeping};
use crate::device::DeviceChoice;
use crate::influence::{FineTunedPart, NetworkOptions};
use crate::operator::{MOST_ROWS, SquareMatrix, root_rows};
use crate::solve::Method;
use candle_core::Device;
use serde_json::json;
use std::time::Instant;

/// The network with some of its training images, and the options with the method that they stand for.
pub(super) struct Sample<N: FineTunedPart> {
    network: N,
    examples: N::Examples,
    sampled: usize,
    options: NetworkOptions,
    /// All training images, and solves, at most.
    counts: (usize, usize),
    queries: usize,
    /// Bytes of a batch of images on its way through the frozen layers, which comes before all else.
    batch: u64,
    /// Bytes of what enters the network that memory keeps.
    kept: u64,
}

impl<N: FineTunedPart> Sample<N> {
    /// Of the first `count` training images.
    pub(super) fn of(
        (rank, device): (&Rank, &Device),
        opened: &Transferred,
        options: &NetworkOptions,
        count: usize,
    ) -> Result<Self> {
        let queries = opened.test_ids.len();
        let counts = (opened.train_ids.len(), solves(opened, options)?);
        let sampled = counts.0.min(count);
        let of = (&opened.model, rank.blocks, device);
        let ids = &opened.train_ids[..sampled];
        let keeping = Keeping {
            batch: batch_bytes(rank, options),
            ..Keeping::default()
        };
        let examples = N::examples(of, &opened.train, ids, &keeping)?;
        let batch = N::batch_bytes(
            (&opened.model, rank.blocks),
            counts.0.max(queries),
            &keeping,
        )?;
        let image = N::bytes(&examples) / sampled.max(1) as u64;
        let mut options = options.clone();
        let (mut kept, room) = (0, activation_bytes(&options));
        for bytes in [counts.0, queries].map(|count| image * count as u64) {
            if kept + bytes <= room {
                kept += bytes;
            }
        }
        options.memory -= kept;
        let network = N::new(&opened.model, rank.blocks, &examples)?.within(&options);
        Ok(Self {
            options: options.resolved(&network, counts),
            network,
            examples,
            sampled,
            counts,
            queries,
            batch,
            kept,
        })
    }

    /// Refuses a memory that the run has no room in.
    pub(super) fn check_memory(&self) -> Result<()> {
        self.network.check_memory(&self.options, self.counts.0)
    }

    /// What the run would take, from a gradient over the sample measured on the spot.
    pub(super) fn plan(&self, rank: &Rank) -> Result<String> {
        let (network, options) = (&self.network, &self.options);
        let (images, solves) = self.counts;
        self.gradient()?;
        let started = Instant::now();
        self.gradient()?;
        let gradient = started.elapsed().as_secs_f64() * images as f64 / self.sampled as f64;
        let parameters = network.size();
        let at_once = network.queries_at_once(options)?.min(solves);
        let scoring = network.scoring_plan(at_once, options.query_rank);
        let method = options.solver.method;
        let low_rank = match method {
            Method::Cg | Method::Astra => network.low_rank_rows(options)?.min(images),
            _ => 0,
        };
        let peak = network.peak_memory(options, self.counts);
        let peak = peak.map(|bytes| self.kept + bytes.max(self.batch));
        if rank.json.is_asked() {
            return Ok(json!({
                "parameters": parameters, "images": images, "queries": self.queries, "solves": solves, "queries_at_once": at_once,
                "gradient_seconds": gradient, "curvature": options.curvature, "low_rank": low_rank,
                "method": method, "memory_bytes": peak, "scoring": scoring,
            })
            .to_string());
        }
        let products = match method {
            Method::Direct | Method::Identity | Method::Ekfac => String::new(),
            _ => format!(
                ": a product for each solve and iteration takes {}",
                N::PRODUCT_COST
            ),
        };
        let first = self.first_lines(low_rank);
        let memory = peak.map_or_else(String::new, |bytes| self.memory_line(bytes));
        let scoring =
            scoring.map_or_else(String::new, |plan| format!("\nscoring: {}", plan.reason));
        let queries = self.queries;
        let asked = match options.groups_only {
            true => format!("at most {solves} groups of {queries} queries"),
            false => format!("{queries} queries"),
        };
        let place = match rank.device {
            DeviceChoice::Cpu => String::new(),
            device => format!(", on {device}"),
        };
        Ok(format!(
            "{parameters} parameters of the head and --blocks {}{place}\n{asked}, each a solve by {method}, {at_once} at once\na gradient over the {images} training images takes about {gradient:.2} s{products}{first}{memory}{scoring}",
            rank.blocks,
        ))
    }

    /// Over the sample; done when it returns.
    fn gradient(&self) -> Result<()> {
        let positions: Vec<u32> = (0..self.sampled as u32).collect();
        let sum = self.network.gradient(&self.examples, &positions)?;
        sum.to_device(&Device::Cpu)?;
        Ok(())
    }

    /// What comes before the first query.
    fn first_lines(&self, low_rank: usize) -> String {
        let rows = root_rows(self.counts.0, self.network.class_count());
        match (self.options.solver.method, low_rank) {
            (Method::Direct, _) if self.options.curvature == Curvature::GaussNewton => format!(
                "\ndirect takes the products of up to {rows} gradients with each other first, once for all queries, a matrix of {:.2} GiB; more than {MOST_ROWS} are too many",
                SquareMatrix::<f64>::bytes(rows) as f64 / GIB
            ),
            (_, 0) => String::new(),
            (method, rows) => format!(
                "\n{method} divides by a low rank of up to {rows} rows, made first, once for all queries, from gradients of the training images"
            ),
        }
    }

    fn memory_line(&self, bytes: u64) -> String {
        let besides = match self.options.solver.method {
            Method::Arnoldi | Method::Pinv => ", and a vector of all parameters for each step",
            _ => "",
        };
        format!(
            "\nabout {:.2} GiB of memory beside the program, the model and the images{besides}",
            bytes as f64 / GIB
        )
    }
}

/// Solves that a run takes at most.
pub(in crate::cli::rank) fn solves(
    opened: &Transferred,
    options: &NetworkOptions,
) -> Result<usize> {
    let ids = &opened.test_ids;
    match &options.query_groups {
        Some(grouping) if options.groups_only => {
            let labels: Vec<usize> = ids.iter().map(|&id| opened.test.label(id)).collect();
            grouping.most_groups(ids, &labels, opened.model.classes().len())
        }
        _ => Ok(ids.len()),
    }
}

/// What of `options.memory` activations of the frozen layers may take.
pub(in crate::cli::rank) fn activation_bytes(options: &NetworkOptions) -> u64 {
    options.memory / 4
}

/// What images on their way through the frozen layers may take of a memory that was given; no limit where none was.
pub(in crate::cli::rank) fn batch_bytes(rank: &Rank, options: &NetworkOptions) -> u64 {
    match rank.memory {
        Some(_) => options.memory / 8,
        None => u64::MAX,
    }
}
