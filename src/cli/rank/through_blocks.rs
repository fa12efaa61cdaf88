//! `ascribe rank --blocks`: from a transferred model to a finished run folder, through its fine-tuned blocks.

use super::transferred::{self, Transferred};
use super::{Curvature, Rank, blocks_on_device, examples, work};
use crate::artefact::{Invocation, RunFolder, physical_memory_bytes};
use crate::data::{Dataset, RELABELLED};
use crate::derivative::network::{self, Examples, Keeping, Network};
use crate::influence::{
    Correction, DeviceJob, NetworkImages, NetworkJob, NetworkOptions, Normalise, Progress,
    RankSummary, ScoringPlan, queries_at_once,
};
use crate::model::Blocks;
use crate::operator::NetworkCurvature;
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::Device;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// Images on which a plan is measured.
const MEASURED: usize = 64;

/// Runs the command; `memory` is `--memory` in bytes.
pub(super) fn run(rank: &Rank, memory: Option<f64>, invocation: Invocation) -> Result<ExitCode> {
    check(rank)?;
    let device = rank.device.open()?;
    let folder = rank
        .model
        .as_deref()
        .ok_or_else(|| Error::config("model", "is needed with --blocks"))?;
    let mut opened = transferred::open(folder, rank.test.as_deref(), rank.queries, &Device::Cpu)?;
    opened.model = opened.model.to_dtype(rank.precision.dtype())?;
    note_untrained(rank.blocks, &opened)?;
    let options = options(rank, opened.l2, memory)?;
    match device {
        Device::Cpu => options.check()?,
        _ => DeviceJob::check(&options)?,
    }
    if rank.dry_run {
        let plan = match device {
            Device::Cpu => plan(rank, &opened, &options)?,
            _ => blocks_on_device::plan((rank, &device), &opened, &options)?,
        };
        say!("{plan}");
        return Ok(ExitCode::SUCCESS);
    }
    let effective = rank.effective(&rank.rank_options(opened.l2)?);
    let inputs = opened.inputs.clone();
    let mut run = RunFolder::open_or_create(&rank.out, "rank", invocation, effective, inputs)?;
    run.set_classes(opened.model.classes().to_vec())?;
    if !opened.relabelled.is_empty() {
        run.set_result(RELABELLED, &opened.relabelled)?;
    }
    let folder = run.path().to_path_buf();
    let mut follower = work::Follower::new(&mut run);
    let place = (&*folder, &mut follower as &mut dyn Progress);
    let (summary, parameters) = match device {
        Device::Cpu => score(rank, &opened, options, place)?,
        _ => {
            let given = (options, digests(&opened));
            blocks_on_device::run((rank, &device), &opened, given, place)?
        }
    };
    examples::leave_of_model(&opened, &folder)?;
    run.set_result("parameters", json!(parameters))?;
    if let Some(&missing) = summary
        .notes
        .get("missing_damping")
        .filter(|&&missing| missing > 0.0)
    {
        note!(
            "ascribe: the damped Hessian has negative eigenvalues, so that scores are not those of a minimum; raise --damping by {missing:.2e}, or choose --curvature gauss-newton"
        );
    }
    let presentation = work::Presentation {
        as_json: rank.json,
        style: rank.style,
    };
    work::finish(run, &summary, presentation)
}

/// Scores everything into `folder` on the processor; the summary and the number of parameters.
fn score(
    rank: &Rank,
    opened: &Transferred,
    options: NetworkOptions,
    (folder, progress): (&Path, &mut dyn Progress),
) -> Result<(RankSummary, usize)> {
    progress.stage("activations")?;
    let keeping = Keeping {
        memory: options.memory / 2,
        folder: folder.to_path_buf(),
    };
    let compute = |dataset: &Dataset, ids: &[usize]| {
        let of = (&opened.model, rank.blocks);
        Examples::compute(of, dataset, ids, &keeping, &mut |_| {})
    };
    let train = compute(&opened.train, &opened.train_ids)?;
    let test = compute(&opened.test, &opened.test_ids)?;
    let network = Network::new(&opened.model, rank.blocks, &train)?;
    let job = NetworkJob {
        network: &network,
        train: NetworkImages {
            examples: &train,
            ids: &opened.train_ids,
        },
        test: NetworkImages {
            examples: &test,
            ids: &opened.test_ids,
        },
        options,
        digests: digests(opened),
    };
    Ok((job.run(folder, progress)?, network.size()))
}

/// Refuses what is for the head alone.
fn check(rank: &Rank) -> Result<()> {
    let refused = [
        ("certify", rank.certify.is_some()),
        ("normalise", rank.normalise != Normalise::None),
        ("correction", rank.correction != Correction::None),
        ("query-groups", rank.query_groups.is_some()),
        ("damping-path", rank.damping_path),
    ];
    match refused.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(Error::config(
            option,
            "is for the head alone: leave it out, or --blocks",
        )),
    }
}

/// Parameters that were not fine-tuned are at no minimum of the training loss.
fn note_untrained(blocks: Blocks, opened: &Transferred) -> Result<()> {
    let architecture = opened.model.architecture();
    if blocks.first_segment(architecture)? < opened.blocks.first_segment(architecture)? {
        note!(
            "ascribe: --blocks {blocks}: only {} were fine-tuned; influence through the others is that of a model not trained there",
            opened.blocks
        );
    }
    Ok(())
}

fn options(rank: &Rank, l2: f64, memory: Option<f64>) -> Result<NetworkOptions> {
    let given = rank.rank_options(l2)?;
    let memory = memory.map_or_else(
        || physical_memory_bytes().unwrap_or(8 << 30) / 4,
        |bytes| bytes as u64,
    );
    Ok(NetworkOptions {
        curvature: match rank.effective_curvature() {
            Curvature::Hessian => network::Curvature::Hessian,
            Curvature::GaussNewton => network::Curvature::GaussNewton,
        },
        l2,
        damping: given.damping,
        solver: given.solver,
        top: given.top,
        bottom: given.bottom,
        scores: given.scores,
        shares: rank.shares,
        query_rank: rank.query_rank,
        record_every: given.record_every,
        memory: memory / 2,
    })
}

fn digests(opened: &Transferred) -> BTreeMap<String, String> {
    let inputs = opened.inputs.iter();
    inputs
        .map(|input| (input.role.clone(), input.digest.clone()))
        .collect()
}

/// What a run would take, from a gradient over a few images measured on the spot.
fn plan(rank: &Rank, opened: &Transferred, options: &NetworkOptions) -> Result<String> {
    let images = opened.train_ids.len();
    let sample = &opened.train_ids[..images.min(MEASURED)];
    let examples = Examples::compute(
        (&opened.model, rank.blocks),
        &opened.train,
        sample,
        &Keeping::default(),
        &mut |_| {},
    )?;
    let network = Network::new(&opened.model, rank.blocks, &examples)?;
    let positions: Vec<u32> = (0..sample.len() as u32).collect();
    network.gradient(&examples, &positions)?;
    let started = Instant::now();
    network.gradient(&examples, &positions)?;
    let gradient = started.elapsed().as_secs_f64() * images as f64 / sample.len() as f64;
    let parameters = network.size();
    let queries = opened.test_ids.len();
    let at_once = queries_at_once(&network).min(queries);
    let scoring = ScoringPlan::of(&network, at_once, options.query_rank);
    let preconditioned = matches!(options.solver.method, Method::Auto | Method::Cg);
    let rows = NetworkCurvature::low_rank_rows(&network, options.memory).min(images);
    let rows = if preconditioned { rows } else { 0 };
    let low_rank = match rows {
        0 => String::new(),
        rows => format!(
            "\ncg divides by a low rank of up to {rows} rows, made first, once for all queries, from gradients of the training images"
        ),
    };
    if rank.json {
        return Ok(json!({
            "parameters": parameters, "images": images, "queries": queries,
            "gradient_seconds": gradient, "curvature": options.curvature, "low_rank": rows,
            "scoring": scoring,
        })
        .to_string());
    }
    Ok(format!(
        "{parameters} parameters of the head and --blocks {}\n{queries} queries, each a solve\na gradient over the {images} training images takes about {gradient:.2} s: a product for each query and iteration takes up to twice that{low_rank}\nscoring: {}",
        rank.blocks, scoring.reason
    ))
}
