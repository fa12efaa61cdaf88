//! `ascribe rank --unrolled`: scores by the way back through the transfer's own training.

mod plan;

use super::transferred::Transferred;
use super::{Rank, examples, through_blocks, work};
use crate::artefact::{GIB, Invocation, RunFolder, RunRecord, keep_freed_memory};
use crate::cli::progress::TrainingProgress;
use crate::cli::transfer::transfer_again;
use crate::derivative::network::{DeviceNetwork, Keeping, Network, limit_waiting_buffers};
use crate::evaluate::TransferAgain;
use crate::influence::{
    Correction, FineTunedPart, NetworkOptions, Normalise, Progress, ROUGH, RankSummary, Unrolled,
    WAY_BACK_GROWTH,
};
use crate::model::{ResNet, is_statistic};
use crate::solve::{Method, Settings};
use crate::train::Trajectory;
use crate::{Error, Result};
use candle_core::{DType, Device};
use plan::{Plan, kept_bytes};
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command; `memory` is `--memory` in bytes.
pub(super) fn run(rank: &Rank, memory: Option<f64>, invocation: Invocation) -> Result<ExitCode> {
    check(rank)?;
    match rank.device.open()? {
        Device::Cpu => run_with::<Network>((rank, Device::Cpu), memory, invocation),
        device => run_with::<DeviceNetwork>((rank, device), memory, invocation),
    }
}

fn run_with<N: FineTunedPart>(
    (rank, device): (&Rank, Device),
    memory: Option<f64>,
    invocation: Invocation,
) -> Result<ExitCode> {
    rank.note_idle_options();
    let (opened, train_groups) = through_blocks::open(rank)?;
    let folder = rank.model.as_deref().unwrap_or(Path::new("."));
    let transfer = RunFolder::read(folder)?;
    check_transfer(rank, &transfer, &opened)?;
    let few = opened.test_ids.get(..1).unwrap_or_default();
    let mut again = transfer_again(&transfer, (&opened.test, few), 1)?;
    let options = NetworkOptions {
        train_groups,
        ..through_blocks::options(rank, opened.training, memory)?
    };
    options.check::<N>()?;
    let plan = Plan::<N>::of((rank, &device), &opened, &again, options)?;
    if memory.is_some() || !device.is_cpu() {
        plan.check()?;
    }
    if rank.dry_run {
        say!("{}", plan.told(rank)?);
        return Ok(ExitCode::SUCCESS);
    }
    let options = plan.options();
    again.options.recipe.device = rank.device;
    again.options.recipe.memory = Some(kept_bytes(&options).max(1) as f64 / GIB);
    match memory {
        None => keep_freed_memory(),
        Some(_) => limit_waiting_buffers((options.memory / 4) as usize),
    }
    let mut run = through_blocks::begin(rank, &opened, invocation)?;
    let folder = run.path().to_path_buf();
    let mut follower = work::Follower::new(&mut run);
    let work = (again, options);
    let done = score::<N>((rank, &device), &opened, work, (&folder, &mut follower))?;
    examples::leave_of_model(&opened, &folder)?;
    note_rough(&done.summary);
    run.note_result("parameters", json!(done.parameters))?;
    run.note_result("repeated_off_by", json!(done.off_by))?;
    run.note_result("plan", json!({ "method": "unrolled" }))?;
    work::finish(run, &done.summary, rank.presentation())
}

struct Done {
    summary: RankSummary,
    parameters: usize,
    /// ‖θ − θ'‖ / ‖θ‖ of the model and of its repeated transfer, over the trained parameters.
    off_by: f64,
}

/// Trains again and scores everything into `folder`.
fn score<N: FineTunedPart>(
    (rank, device): (&Rank, &Device),
    opened: &Transferred,
    (again, mut options): (TransferAgain, NetworkOptions),
    (folder, progress): (&Path, &mut dyn Progress),
) -> Result<Done> {
    progress.stage("training again")?;
    let keeping = Keeping {
        memory: kept_bytes(&options),
        folder: folder.to_path_buf(),
        batch: through_blocks::batch_bytes(rank, &options),
    };
    let mut shown = TrainingProgress::new(again.options.recipe.epochs);
    let how = (again.classes, &again.options);
    let trajectory = Trajectory::record(again.source, how, &again.train, &keeping, &mut shown)?;
    drop(shown);
    let first = rank.blocks.first_segment(opened.model.architecture())?;
    let off_by = distance(&opened.model, trajectory.model(), first)?;
    note_off_by(off_by);
    progress.stage("activations")?;
    let model = trajectory.model().to_dtype(rank.precision.dtype())?;
    let of = (&model, rank.blocks, device);
    let train = N::examples(of, &opened.train, &opened.train_ids, &keeping)?;
    let test = N::examples(of, &opened.test, &opened.test_ids, &keeping)?;
    options.memory -= (N::bytes(&train) + N::bytes(&test)).min(options.memory / 2);
    let network = N::new(&model, rank.blocks, &train)?;
    let mut unrolled = Unrolled::new(&trajectory, (&network, rank.blocks), &options)?;
    let job = through_blocks::job(&network, opened, (&train, &test), options);
    Ok(Done {
        summary: job.run_unrolled(&mut unrolled, folder, progress)?,
        parameters: network.size(),
        off_by,
    })
}

/// Refuses what belongs to a curvature, and what is not there.
fn check(rank: &Rank) -> Result<()> {
    let usual = Settings::default();
    let refused = [
        ("solver", rank.solver != Method::Auto),
        ("curvature", rank.curvature.is_some()),
        ("damping", rank.damping.is_some()),
        ("tolerance", rank.tolerance.is_some()),
        ("query-rank", rank.query_rank.is_some()),
        ("certify", rank.certify.is_some()),
        ("normalise", rank.normalise != Normalise::None),
        ("correction", rank.correction != Correction::None),
        ("damping-path", rank.damping_path),
        ("iterations", rank.iterations != usual.iterations),
    ];
    if let Some((option, _)) = refused.iter().find(|(_, given)| *given) {
        let reason = "is for scores by a curvature: leave it out, or --unrolled";
        return Err(Error::config(option, reason));
    }
    if rank.seed != usual.seed {
        let reason = "is not drawn from here: the transfer's own seed is; leave it out, or transfer with another";
        return Err(Error::config("seed", reason));
    }
    for (option, given) in [
        ("shares", rank.shares),
        ("keep-features", rank.keep_features),
    ] {
        if given {
            let reason = "is not there for scores by the way back through training: leave it out, or --unrolled";
            return Err(Error::config(option, reason));
        }
    }
    Ok(())
}

/// Refuses a model whose training is not known, and scores through other parts than were trained.
fn check_transfer(rank: &Rank, transfer: &RunRecord, opened: &Transferred) -> Result<()> {
    if transfer.command != "transfer" {
        let reason = "needs a --model that ascribe transfer left: training elsewhere cannot be repeated here";
        return Err(Error::config("unrolled", reason));
    }
    if rank.blocks == opened.blocks {
        return Ok(());
    }
    let reason = format!(
        "--unrolled goes through all that was trained: give --blocks {}, as the transfer, found {}",
        opened.blocks, rank.blocks
    );
    Err(Error::config("blocks", reason))
}

/// ‖θ − θ'‖ / ‖θ‖ of two models of the same kind, over the parameters of the segments from `first` on.
fn distance(model: &ResNet, other: &ResNet, first: usize) -> Result<f64> {
    let (mut apart, mut whole) = (0.0, 0.0);
    let architecture = model.architecture();
    let trained = |name: &str| !is_statistic(name) && architecture.segment_of(name) >= first;
    let pairs = model.tensors().iter().zip(other.tensors().values());
    for ((_, tensor), other) in pairs.filter(|((name, _), _)| trained(name)) {
        let [tensor, other] = [tensor.to_dtype(DType::F64)?, other.to_dtype(DType::F64)?];
        apart += (&tensor - other)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
        whole += tensor.sqr()?.sum_all()?.to_scalar::<f64>()?;
    }
    Ok(if apart == 0.0 {
        0.0
    } else {
        (apart / whole).sqrt()
    })
}

fn note_off_by(off_by: f64) {
    if off_by > 0.0 {
        note!(
            "ascribe: training again did not end at the same numbers but {off_by:.1e} of their size away, as on another machine or device, or where the transfer was in tf32 or bf16 or --nondeterministic; scores are those of the repeated training, which is in f32"
        );
    }
}

fn note_rough(summary: &RankSummary) {
    // The median of the queries, or groups of them.
    let growth = summary.notes.get(WAY_BACK_GROWTH);
    if let Some(growth) = growth.filter(|growth| **growth >= ROUGH) {
        note!(
            "ascribe: on the way back derivatives grew to {growth:.1} times their length (median): training amplifies small changes, and other seeds may say otherwise; a transfer with a lower --learning-rate or --head-deviation is smoother, and ascribe audit measures how far the scores hold (docs/unrolled.md)"
        );
    }
}
