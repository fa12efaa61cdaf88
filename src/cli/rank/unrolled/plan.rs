//! A way back through training before it is begun: what it would take, and whether it has room.

use super::super::transferred::Transferred;
use super::super::{Rank, through_blocks};
use crate::Result;
use crate::artefact::GIB;
use crate::derivative::network::Keeping;
use crate::device::DeviceChoice;
use crate::evaluate::TransferAgain;
use crate::influence::{FineTunedPart, NetworkOptions};
use crate::train::Waypoints;
use candle_core::Device;
use serde_json::json;

/// The network over one of the training images, and what its way back is made of.
pub(super) struct Plan<N: FineTunedPart> {
    network: N,
    options: NetworkOptions,
    steps: usize,
    /// Images of a batch.
    batch: usize,
    images: usize,
    queries: usize,
    /// Queries, or groups of them, that go back.
    ways: usize,
    /// Of what enters the network of an image.
    entering_bytes: u64,
    /// Of how many variants of a training image that is kept for the steps.
    variants: usize,
}

impl<N: FineTunedPart> Plan<N> {
    /// Of a run with these options, whose memory is for everything.
    pub(super) fn of(
        (rank, device): (&Rank, &Device),
        opened: &Transferred,
        again: &TransferAgain,
        options: NetworkOptions,
    ) -> Result<Self> {
        let of = (&opened.model, rank.blocks, device);
        let one = &opened.train_ids[..1];
        let examples = N::examples(of, &opened.train, one, &Keeping::default())?;
        let recipe = again.options.recipe();
        let first = rank.blocks.first_segment(opened.model.architecture())?;
        let images = opened.train_ids.len();
        Ok(Self {
            network: N::new(&opened.model, rank.blocks, &examples)?,
            steps: images.div_ceil(recipe.batch_size) * recipe.epochs,
            batch: recipe.batch_size.min(images),
            images,
            queries: opened.test_ids.len(),
            ways: through_blocks::solves(opened, &options)?,
            entering_bytes: N::bytes(&examples),
            variants: recipe.kept_variants(first).unwrap_or(0),
            options,
        })
    }

    /// Refuses a memory, or a device, that has no room for a batch on its way back.
    pub(super) fn check(&self) -> Result<()> {
        self.network.check_way_back(&self.options, self.batch)
    }

    /// With the memory that is left beside a batch on its way back.
    pub(super) fn options(&self) -> NetworkOptions {
        let batch = self.network.way_back_bytes(self.batch, 0).unwrap_or(0);
        NetworkOptions {
            memory: self.options.memory.saturating_sub(batch),
            ..self.options.clone()
        }
    }

    /// How the parameters of all steps are kept.
    fn waypoints(&self) -> Waypoints {
        Waypoints::within(kept_bytes(&self.options()), self.steps, self.network.size())
    }

    /// The most that the run is reckoned to take of the machine's memory at once; none where that is the device's matter.
    fn peak_bytes(&self) -> Result<Option<u64>> {
        let options = self.options();
        let ways = self.network.ways_at_once(&options)?.min(self.ways);
        let Some(way_back) = self.network.way_back_bytes(self.batch, ways) else {
            return Ok(None);
        };
        let kept = [self.variants * self.images, self.images, self.queries]
            .map(|images| images as u64 * self.entering_bytes)
            .into_iter()
            .chain([self.waypoints().bytes()])
            .filter(|&bytes| bytes <= kept_bytes(&options));
        Ok(Some(way_back + kept.sum::<u64>()))
    }

    /// In words or as JSON.
    pub(super) fn told(&self, rank: &Rank) -> Result<String> {
        let (parameters, steps) = (self.network.size(), self.steps);
        let (queries, ways) = (self.queries, self.ways);
        let (waypoints, peak) = (self.waypoints(), self.peak_bytes()?);
        let (kept, stride) = (waypoints.bytes(), waypoints.stride());
        if rank.json.is_asked() {
            return Ok(json!({
                "parameters": parameters, "images": self.images, "queries": queries, "ways_back": ways, "steps": steps,
                "method": "unrolled", "trajectory_bytes": kept, "kept_every": stride, "memory_bytes": peak,
            })
            .to_string());
        }
        let place = match kept > kept_bytes(&self.options()) {
            true => "in a scratch file",
            false => "in memory",
        };
        let at_once = self.network.ways_at_once(&self.options())?.min(ways);
        let (of, again) = match stride {
            1 => ("their parameters".to_owned(), String::new()),
            _ => (
                format!("the parameters of one in {stride}"),
                format!(
                    "; the steps between are trained again for each {at_once} that go together"
                ),
            ),
        };
        let device = match rank.device {
            DeviceChoice::Cpu => String::new(),
            device => format!(", on {device}"),
        };
        let asked = match self.options.groups_only {
            true => format!("at most {ways} groups of {queries} queries"),
            false => format!("{queries} queries"),
        };
        let memory = peak.map_or_else(String::new, |bytes| {
            let gib = bytes as f64 / GIB;
            format!("\nabout {gib:.2} GiB of memory beside the program, the model and the images")
        });
        Ok(format!(
            "{parameters} parameters of the head and --blocks {}{device}\n{steps} steps are repeated and {of} kept, {:.2} GiB {place}\nthen {asked} go back through them, each at about twice the cost of the steps{again}{memory}",
            rank.blocks,
            kept as f64 / GIB
        ))
    }
}

/// Half of what is for activations: the parameters of the steps are kept beside.
pub(super) fn kept_bytes(options: &NetworkOptions) -> u64 {
    through_blocks::activation_bytes(options) / 2
}
