//! `ascribe rank --blocks --device cuda`: activations, solves and scores on the device.

use super::Rank;
use super::transferred::Transferred;
use crate::Result;
use crate::data::Dataset;
use crate::derivative::network::{DeviceExamples, DeviceNetwork, Keeping};
use crate::influence::{
    DeviceImages, DeviceJob, NetworkOptions, Progress, RankSummary, device_queries_at_once,
};
use candle_core::Device;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Images on which a plan is measured.
const MEASURED: usize = 256;

/// Scores everything into `folder`; the summary and the number of parameters.
pub(super) fn run(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    (options, digests): (NetworkOptions, BTreeMap<String, String>),
    (folder, progress): (&Path, &mut dyn Progress),
) -> Result<(RankSummary, usize)> {
    progress.stage("activations")?;
    let keeping = Keeping {
        memory: options.memory / 2,
        folder: folder.to_path_buf(),
    };
    let train = examples(
        (rank, device),
        opened,
        (&opened.train, &opened.train_ids),
        &keeping,
    )?;
    let test = examples(
        (rank, device),
        opened,
        (&opened.test, &opened.test_ids),
        &keeping,
    )?;
    let network = DeviceNetwork::new(&opened.model, rank.blocks, &train)?;
    let job = DeviceJob {
        network: &network,
        train: DeviceImages {
            examples: &train,
            ids: &opened.train_ids,
        },
        test: DeviceImages {
            examples: &test,
            ids: &opened.test_ids,
        },
        options,
        digests,
    };
    Ok((job.run(folder, progress)?, network.size()))
}

fn examples(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    (dataset, ids): (&Dataset, &[usize]),
    keeping: &Keeping,
) -> Result<DeviceExamples> {
    let of = (&opened.model, rank.blocks, device);
    DeviceExamples::compute(of, dataset, ids, keeping, &mut |_| {})
}

/// What a run would take, from a gradient over a few images measured on the spot.
pub(super) fn plan(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    options: &NetworkOptions,
) -> Result<String> {
    let images = opened.train_ids.len();
    let sample = &opened.train_ids[..images.min(MEASURED)];
    let keeping = Keeping::default();
    let examples = examples((rank, device), opened, (&opened.train, sample), &keeping)?;
    let network = DeviceNetwork::new(&opened.model, rank.blocks, &examples)?;
    let positions: Vec<u32> = (0..sample.len() as u32).collect();
    network.gradient(&examples, &positions)?;
    device.synchronize()?;
    let started = Instant::now();
    network.gradient(&examples, &positions)?;
    device.synchronize()?;
    let gradient = started.elapsed().as_secs_f64() * images as f64 / sample.len() as f64;
    let (parameters, queries) = (network.size(), opened.test_ids.len());
    let at_once = device_queries_at_once(&network).min(queries);
    if rank.json {
        return Ok(json!({
            "parameters": parameters, "images": images, "queries": queries,
            "gradient_seconds": gradient, "curvature": options.curvature, "queries_at_once": at_once,
        })
        .to_string());
    }
    Ok(format!(
        "{parameters} parameters of the head and --blocks {}, on {}\n{queries} queries, each a solve, {at_once} at once\na gradient over the {images} training images takes about {gradient:.2} s: a product for each query and iteration takes 1.3 times that (Gauss–Newton) to 2.3 times (Hessian)",
        rank.blocks, rank.device
    ))
}
