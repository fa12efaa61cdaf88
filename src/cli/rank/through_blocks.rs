//! `ascribe rank --blocks`: from a transferred model to a finished run folder, through its fine-tuned blocks.

mod sample;

use super::damping::Training;
use super::measurement::QUERY_LABELS;
use super::transferred::Transferred;
use super::{Rank, examples, query_groups, work};
use crate::artefact::{Input, Invocation, RunFolder, keep_freed_memory, machine_memory_bytes};
use crate::cli::output::note_same_images;
use crate::data::RELABELLED;
use crate::derivative::network::{DeviceNetwork, Keeping, Network, limit_waiting_buffers};
use crate::influence::{
    Correction, FineTunedPart, Groups, Measurement, NetworkImages, NetworkJob, NetworkOptions,
    Normalise, Progress, RankSummary,
};
use crate::model::Blocks;
use crate::{Error, Result};
use candle_core::Device;
use sample::Sample;
pub(super) use sample::{activation_bytes, batch_bytes, solves};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command; `memory` is `--memory` in bytes.
pub(super) fn run(rank: &Rank, memory: Option<f64>, invocation: Invocation) -> Result<ExitCode> {
    check(rank)?;
    let device = rank.device.open()?;
    let (opened, train_groups) = open(rank)?;
    note_untrained(rank.blocks, &opened)?;
    let opened = (&opened, train_groups);
    match device {
        Device::Cpu => run_with::<Network>((rank, &device), opened, memory, invocation),
        _ => run_with::<DeviceNetwork>((rank, &device), opened, memory, invocation),
    }
}

/// The model with its images, and the groups of them that are asked for.
pub(super) fn open(rank: &Rank) -> Result<(Transferred, Option<Groups>)> {
    let folder = rank
        .model
        .as_deref()
        .ok_or_else(|| Error::config("model", "is needed with --blocks"))?;
    let mut opened = rank.open_transferred(folder, &Device::Cpu)?;
    opened.model = opened.model.to_dtype(rank.precision.dtype())?;
    if rank.measurement == Measurement::Prediction {
        opened.label_by_prediction()?;
    }
    let grouping = rank.query_groups.as_ref();
    query_groups::note_file(grouping, &opened.test_ids, &mut opened.inputs)?;
    note_same_images(&opened.inputs);
    let train_groups = (rank.train_groups.as_ref())
        .map(|grouping| opened.train_groups(grouping))
        .transpose()?;
    Ok((opened, train_groups))
}

fn run_with<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    (opened, train_groups): (&Transferred, Option<Groups>),
    memory: Option<f64>,
    invocation: Invocation,
) -> Result<ExitCode> {
    let mut options = options(rank, opened.training, memory)?;
    options.train_groups = train_groups;
    rank.note_stopped(opened.training);
    options.check::<N>()?;
    let sample = |count| Sample::<N>::of((rank, device), opened, &options, count);
    if memory.is_some() {
        sample(1)?.check_memory()?;
    }
    if rank.dry_run {
        say!("{}", sample(N::MEASURED)?.plan(rank)?);
        return Ok(ExitCode::SUCCESS);
    }
    match memory {
        None => keep_freed_memory(),
        Some(_) => limit_waiting_buffers((options.memory / 4) as usize),
    }
    let mut run = begin(rank, opened, invocation)?;
    let folder = run.path().to_path_buf();
    let mut follower = work::Follower::new(&mut run);
    let place = (&*folder, &mut follower as &mut dyn Progress);
    let (summary, parameters) = score::<N>((rank, device), opened, options, place)?;
    examples::leave_of_model(opened, &folder)?;
    run.note_result("parameters", json!(parameters))?;
    run.note_result("plan", json!({ "method": summary.method }))?;
    if let Some(&missing) = summary
        .notes
        .get("missing_damping")
        .filter(|&&missing| missing > 0.0)
    {
        let raise = match summary.method.is_damped() {
            true => format!("raise --damping by {missing:.2e}, or "),
            false => String::new(),
        };
        note!(
            "ascribe: the damped Hessian has negative eigenvalues, so that scores are not those of a minimum; {raise}choose --curvature gauss-newton"
        );
    }
    work::finish(run, &summary, rank.presentation())
}

/// The run's folder, with what is known before any score.
pub(super) fn begin(
    rank: &Rank,
    opened: &Transferred,
    invocation: Invocation,
) -> Result<RunFolder> {
    let effective = rank.effective(&rank.rank_options(opened.training)?)?;
    let inputs = opened.inputs.clone();
    let mut run = RunFolder::open_or_create(&rank.out, "rank", invocation, effective, inputs)?;
    run.set_classes(opened.model.classes().to_vec())?;
    if !opened.relabelled.is_empty() {
        run.set_result(RELABELLED, &opened.relabelled)?;
    }
    if rank.measurement == Measurement::Prediction {
        run.set_result(QUERY_LABELS, opened.query_labels())?;
    }
    Ok(run)
}

/// Scores everything into `folder`; the summary and the number of parameters.
fn score<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    mut options: NetworkOptions,
    (folder, progress): (&Path, &mut dyn Progress),
) -> Result<(RankSummary, usize)> {
    progress.stage("activations")?;
    let mut keeping = Keeping {
        memory: activation_bytes(&options),
        folder: folder.to_path_buf(),
        batch: batch_bytes(rank, &options),
    };
    let of = (&opened.model, rank.blocks, device);
    let train = N::examples(of, &opened.train, &opened.train_ids, &keeping)?;
    keeping.memory -= N::bytes(&train);
    let test = N::examples(of, &opened.test, &opened.test_ids, &keeping)?;
    options.memory -= N::bytes(&train) + N::bytes(&test);
    let network = N::new(&opened.model, rank.blocks, &train)?.within(&options);
    let job = job(&network, opened, (&train, &test), options);
    Ok((job.run(folder, progress)?, network.size()))
}

/// The run over the training and test images of `opened`, whose activations are given.
pub(super) fn job<'a, N: FineTunedPart>(
    network: &'a N,
    opened: &'a Transferred,
    (train, test): (&'a N::Examples, &'a N::Examples),
    options: NetworkOptions,
) -> NetworkJob<'a, N> {
    NetworkJob {
        network,
        train: NetworkImages {
            examples: train,
            ids: &opened.train_ids,
        },
        test: NetworkImages {
            examples: test,
            ids: &opened.test_ids,
        },
        options,
        classes: opened.model.classes(),
        digests: Input::digests(&opened.inputs),
    }
}

/// Refuses what is for the head alone.
fn check(rank: &Rank) -> Result<()> {
    let refused = [
        ("certify", rank.certify.is_some()),
        ("normalise", rank.normalise != Normalise::None),
        ("correction", rank.correction != Correction::None),
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

pub(super) fn options(
    rank: &Rank,
    training: Training,
    memory: Option<f64>,
) -> Result<NetworkOptions> {
    let given = rank.rank_options(training)?;
    let memory = memory.map_or_else(|| machine_memory_bytes() / 5 * 2, |bytes| bytes as u64);
    Ok(NetworkOptions {
        curvature: rank.effective_curvature(),
        l2: given.l2,
        damping: given.damping,
        solver: given.solver,
        top: given.top,
        bottom: given.bottom,
        query_groups: given.query_groups,
        groups_only: rank.groups_only,
        train_groups: None,
        scores: given.scores,
        shares: rank.shares,
        query_rank: rank.query_rank,
        record_every: given.record_every,
        memory,
    })
}
