//! `ascribe rank --blocks`: from a transferred model to a finished run folder, through its fine-tuned blocks.

use super::transferred::{self, Transferred};
use super::{Curvature, GIB, Rank, examples, work};
use crate::artefact::{Invocation, RunFolder, keep_freed_memory, physical_memory_bytes};
use crate::data::RELABELLED;
use crate::derivative::network::{self, DeviceNetwork, Keeping, Network};
use crate::device::DeviceChoice;
use crate::influence::{
    Correction, FineTunedPart, NetworkImages, NetworkJob, NetworkOptions, Normalise, Progress,
    RankSummary,
};
use crate::model::Blocks;
use crate::operator::{MOST_ROWS, SquareMatrix, root_rows};
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::Device;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

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
    match device {
        Device::Cpu => run_with::<Network>((rank, &device), &opened, memory, invocation),
        _ => run_with::<DeviceNetwork>((rank, &device), &opened, memory, invocation),
    }
}

fn run_with<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    memory: Option<f64>,
    invocation: Invocation,
) -> Result<ExitCode> {
    let options = options(rank, opened.l2, memory)?;
    options.check::<N>()?;
    check_matrix(&options, opened, memory)?;
    if rank.dry_run {
        say!("{}", plan::<N>((rank, device), opened, &options)?);
        return Ok(ExitCode::SUCCESS);
    }
    if memory.is_none() {
        keep_freed_memory();
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
    let (summary, parameters) = score::<N>((rank, device), opened, options, place)?;
    examples::leave_of_model(opened, &folder)?;
    run.set_result("parameters", json!(parameters))?;
    run.set_result("plan", json!({ "method": summary.method }))?;
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

/// Scores everything into `folder`; the summary and the number of parameters.
fn score<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    options: NetworkOptions,
    (folder, progress): (&Path, &mut dyn Progress),
) -> Result<(RankSummary, usize)> {
    progress.stage("activations")?;
    let keeping = Keeping {
        memory: options.memory / 2,
        folder: folder.to_path_buf(),
    };
    let of = (&opened.model, rank.blocks, device);
    let train = N::examples(of, &opened.train, &opened.train_ids, &keeping)?;
    let test = N::examples(of, &opened.test, &opened.test_ids, &keeping)?;
    let network = N::new(&opened.model, rank.blocks, &train)?;
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

/// Refuses `direct` where the matrix that it inverts would take more than `--memory`.
fn check_matrix(options: &NetworkOptions, opened: &Transferred, memory: Option<f64>) -> Result<()> {
    let by_rows = options.curvature == network::Curvature::GaussNewton
        && options.solver.method == Method::Direct;
    let rows = root_rows(opened.train_ids.len(), opened.model.classes().len());
    let bytes = SquareMatrix::<f64>::bytes(rows) as f64;
    match memory.filter(|&memory| by_rows && rows <= MOST_ROWS && bytes > memory) {
        None => Ok(()),
        Some(memory) => {
            let reason = format!(
                "the products of {rows} gradients with each other, which direct takes, need {:.3} GiB, and {:.3} are given; raise it, or choose --solver cg",
                bytes / GIB,
                memory / GIB
            );
            Err(Error::config("memory", reason))
        }
    }
}

fn digests(opened: &Transferred) -> BTreeMap<String, String> {
    let inputs = opened.inputs.iter();
    inputs
        .map(|input| (input.role.clone(), input.digest.clone()))
        .collect()
}

/// What a run would take, from a gradient over a few images measured on the spot.
fn plan<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    options: &NetworkOptions,
) -> Result<String> {
    let images = opened.train_ids.len();
    let sample = &opened.train_ids[..images.min(N::MEASURED)];
    let of = (&opened.model, rank.blocks, device);
    let examples = N::examples(of, &opened.train, sample, &Keeping::default())?;
    let network = N::new(&opened.model, rank.blocks, &examples)?;
    network.gradient(&examples)?;
    let started = Instant::now();
    network.gradient(&examples)?;
    let gradient = started.elapsed().as_secs_f64() * images as f64 / sample.len() as f64;
    let (parameters, queries) = (network.size(), opened.test_ids.len());
    let at_once = network.queries_at_once(options)?.min(queries);
    let scoring = network.scoring_plan(at_once, options.query_rank);
    let method = match options.solver.method {
        Method::Auto => network.auto_method(options, (images, queries)),
        method => method,
    };
    let low_rank = match method {
        Method::Cg => network.low_rank_rows(options)?.min(images),
        _ => 0,
    };
    if rank.json {
        return Ok(json!({
            "parameters": parameters, "images": images, "queries": queries, "queries_at_once": at_once,
            "gradient_seconds": gradient, "curvature": options.curvature, "low_rank": low_rank,
            "method": method,
            "scoring": scoring,
        })
        .to_string());
    }
    let rows = root_rows(images, network.class_count());
    let first = match (method, low_rank) {
        (Method::Direct, _) if options.curvature == network::Curvature::GaussNewton => format!(
            "\ndirect takes the products of up to {rows} gradients with each other first, once for all queries, a matrix of {:.2} GiB; more than {MOST_ROWS} are too many",
            SquareMatrix::<f64>::bytes(rows) as f64 / GIB
        ),
        (_, 0) => String::new(),
        (_, rows) => format!(
            "\ncg divides by a low rank of up to {rows} rows, made first, once for all queries, from gradients of the training images"
        ),
    };
    let products = match method {
        Method::Direct | Method::Identity | Method::Ekfac => String::new(),
        _ => format!(
            ": a product for each query and iteration takes {}",
            N::PRODUCT_COST
        ),
    };
    let scoring = scoring.map_or_else(String::new, |plan| format!("\nscoring: {}", plan.reason));
    let place = match rank.device {
        DeviceChoice::Cpu => String::new(),
        device => format!(", on {device}"),
    };
    Ok(format!(
        "{parameters} parameters of the head and --blocks {}{place}\n{queries} queries, each a solve by {method}, {at_once} at once\na gradient over the {images} training images takes about {gradient:.2} s{products}{first}{scoring}",
        rank.blocks,
    ))
}
