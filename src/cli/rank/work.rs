//! From material and options to a finished run folder.

use super::features_left::write_head;
use super::material::Material;
use super::measurement::QUERY_LABELS;
use super::score_progress::ScoreProgress;
use super::{examples, path};
use crate::Result;
use crate::artefact::{GIB, RunFolder};
use crate::data::RELABELLED;
use crate::derivative::head::{HeadInputs, SoftmaxHead};
use crate::figure::Style;
use crate::influence::{
    GroupScores, Measurement, Plan, Progress, RankJob, RankOptions, RankSummary, SIGN, Solves,
    placed,
};
use crate::solve::{Method, Newton};
use candle_core::{DType, Device};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// How what was found is shown.
#[derive(Clone, Copy)]
pub(super) struct Presentation {
    pub(super) as_json: bool,
    pub(super) style: Style,
    /// Queries that are measured at predictions have no accuracy.
    pub(super) measurement: Measurement,
}

/// Scores the material, fills the folder, prints a summary; exit code 3 where a solve missed its tolerance.
pub(super) fn fill(
    mut run: RunFolder,
    mut material: Material,
    options: RankOptions,
    device: Device,
    presentation: Presentation,
) -> Result<ExitCode> {
    if let Some(classes) = &material.classes {
        run.set_classes(classes.clone())?;
    }
    if !material.relabelled.is_empty() {
        run.set_result(RELABELLED, &material.relabelled)?;
    }
    let head = match &material.head {
        Some(head) => head.clone(),
        None => {
            let head = fitted_head(&mut run, &material, options.l2, &device)?;
            if presentation.measurement == Measurement::Prediction {
                (material.test).label_by_prediction(&head, options.precision)?;
            }
            head
        }
    };
    if presentation.measurement == Measurement::Prediction {
        run.set_result(QUERY_LABELS, material.test.labels_by_id())?;
    }
    let (train, test) = (material.train.set(), material.test.set());
    let job = RankJob {
        train,
        test,
        head: &head,
        classes: material.classes.clone().unwrap_or_default(),
        options,
        digests: material.digests(),
        device,
    };
    let folder = run.path().to_path_buf();
    let mut follower = Follower::new(&mut run);
    let summary = job.run(&folder, &mut follower)?;
    examples::leave(&material, &folder)?;
    finish(run, &summary, presentation)
}

/// Leaves the results in the folder and says what came out; exit code 3 where a solve missed its tolerance.
pub(super) fn finish(
    mut run: RunFolder,
    summary: &RankSummary,
    presentation: Presentation,
) -> Result<ExitCode> {
    let folder = run.path().to_path_buf();
    path::leave(summary.damping_path.as_ref(), &folder, presentation.style)?;
    let results = results(summary, presentation.measurement);
    for (key, value) in &results {
        run.note_result(key, value)?;
    }
    run.finish()?;
    if presentation.as_json {
        say!("{}", json!({ "out": folder, "results": results }));
    } else {
        print(summary, presentation.measurement, &folder);
    }
    for solves in &summary.solves {
        warn(solves, summary.method);
    }
    let failed = (summary.solves.iter()).any(|solves| solves.first_failure().is_some());
    Ok(ExitCode::from(if failed { 3 } else { 0 }))
}

/// A plan in words, or as JSON; fitting the head before, where there is none, is no part of it.
pub(super) fn describe(plan: &Plan, fits_head: bool, as_json: bool) -> String {
    if as_json {
        let mut said = json!(plan);
        said["fits_head"] = fits_head.into();
        return said.to_string();
    }
    let besides = match fits_head {
        true => " besides fitting the head",
        false => "",
    };
    let mapped = plan
        .mapped
        .iter()
        .map(|side| format!("{side} features too large for the memory: mapped from their file\n"));
    format!(
        "solver {}: {}\nsolves for the {} images\n{}{:.3} TFLOP at {:.0} GFLOP/s on {}: about {:.1} s{besides}\nabout {:.2} GiB of memory",
        json!(plan.method).as_str().unwrap_or_default(),
        plan.reason,
        plan.solves_for,
        mapped.collect::<String>(),
        plan.operations / 1e12,
        plan.rate / 1e9,
        plan.device,
        plan.seconds,
        plan.bytes / GIB,
    )
}

fn print(summary: &RankSummary, measurement: Measurement, folder: &Path) {
    let line = |set, loss, accuracy| say!("{set}: loss {loss:.4} nats, accuracy {accuracy:.4}");
    line("train", summary.train_loss, summary.train_accuracy);
    match measurement {
        Measurement::Label => line("test", summary.test_loss, summary.test_accuracy),
        Measurement::Prediction => say!(
            "test: loss {:.4} nats at the predicted classes",
            summary.test_loss
        ),
    }
    say!("scores in {}, {SIGN}", summary.unit);
    if let Some(certified) = summary.certified {
        say!(
            "certified: {:.2} % of the first {} ranks; all of them for {:.2} % of the queries",
            100.0 * certified.share_of_ranks,
            certified.ranks,
            100.0 * certified.share_of_queries
        );
    }
    print_groups(summary.group_scores.as_ref());
    path::print(summary.damping_path.as_ref());
    say!("results in {}", folder.display());
}

/// Groups that are listed from either end.
const GROUPS_LISTED: usize = 5;

/// The groups of training images, by what leaving them out does to the mean loss of the queries.
fn print_groups(scores: Option<&GroupScores>) {
    let Some(scores) = scores else {
        return;
    };
    let groups = scores.groups().iter();
    let mut groups: Vec<(f64, &str, usize)> = (groups.zip(scores.mean_of_all()))
        .map(|((name, members), mean)| (mean, name, members.len()))
        .collect();
    groups.sort_by(|a, b| b.0.total_cmp(&a.0));
    say!("groups of training images, by the rise of the mean loss that is predicted without them:");
    let hidden = groups.len().saturating_sub(2 * GROUPS_LISTED);
    for (place, (mean, name, images)) in groups.iter().enumerate() {
        if hidden > 0 && place == GROUPS_LISTED {
            say!("  … {hidden} more, in train_groups.parquet");
        }
        if place < GROUPS_LISTED || place >= GROUPS_LISTED + hidden {
            say!("  {mean:+.3e} {name} ({images} images)");
        }
    }
}

/// Fits the head to the training side and leaves it in the folder as `head.safetensors`.
fn fitted_head(
    run: &mut RunFolder,
    material: &Material,
    l2: f64,
    device: &Device,
) -> Result<SoftmaxHead> {
    run.stage("head")?;
    let features = placed(&material.train.features, DType::F64, device)?;
    let inputs = HeadInputs::new(&features, &material.train.labels, DType::F64)?;
    let start = SoftmaxHead::zeros(
        material.class_count,
        inputs.feature_count(),
        DType::F64,
        device,
    )?;
    let fit = Newton::new(l2).fit(&inputs, start)?;
    let head = fit.head.to_device(&Device::Cpu)?;
    write_head(&head, l2, &run.file("head.safetensors"))?;
    run.set_result(
        "fit",
        json!({ "steps": fit.steps, "gradient_norm": fit.gradient_norm }),
    )?;
    Ok(head)
}

fn results(summary: &RankSummary, measurement: Measurement) -> BTreeMap<&'static str, Value> {
    // Of no labels there is none.
    let test_accuracy = (measurement == Measurement::Label).then_some(summary.test_accuracy);
    let solves = |solves: &Solves| {
        let value = json!({
            "outcomes": solves.outcomes(),
            "largest_residual": solves.largest_residual(),
            "unmeasured": solves.unmeasured(),
        });
        (solves.set.to_owned(), value)
    };
    let solves: BTreeMap<String, Value> = summary.solves.iter().map(solves).collect();
    BTreeMap::from([
        ("train_loss", json!(summary.train_loss)),
        ("train_accuracy", json!(summary.train_accuracy)),
        ("test_loss", json!(summary.test_loss)),
        ("test_accuracy", json!(test_accuracy)),
        ("gradient_norm", json!(summary.gradient_norm)),
        ("solves", json!(solves)),
        ("resumed", json!(summary.resumed)),
        ("sign", json!(SIGN)),
        ("unit", json!(summary.unit)),
        ("solver", json!(summary.notes)),
        ("certified", json!(summary.certified)),
        ("damping_path", json!(summary.damping_path)),
        ("scoring", json!(summary.scoring)),
        ("train_groups", json!(summary.train_groups)),
    ])
}

/// Says on standard error what did not succeed, if anything.
fn warn(solves: &Solves, method: Method) {
    let count = solves
        .reports
        .iter()
        .filter(|report| !report.outcome.is_success())
        .count();
    if let Some((id, report)) = solves.first_failure() {
        note!(
            "ascribe: {} set: {count} of {} solves missed the tolerance, the first for {}: {} at residual {:.1e}; {}",
            solves.set,
            solves.reports.len(),
            solves.name(id),
            report.outcome.name(),
            report.residual,
            report.outcome.remedy_of(method),
        );
    }
}

/// Notes stages in `run.json` and shows scores.
pub(super) struct Follower<'a> {
    run: &'a mut RunFolder,
    scores: ScoreProgress,
}

impl<'a> Follower<'a> {
    pub(super) fn new(run: &'a mut RunFolder) -> Self {
        let scores = ScoreProgress::default();
        Self { run, scores }
    }
}

impl Progress for Follower<'_> {
    fn stage(&mut self, name: &'static str) -> Result<()> {
        self.run.stage(name)
    }

    fn scores(&mut self, set: &str, done: usize, total: usize) {
        self.scores.show(set, done, total);
    }

    fn resumed(&mut self, set: &str, done: usize, total: usize) {
        self.scores.resume(set, done, total);
    }

    fn note(&mut self, text: &str) {
        note!("ascribe: {text}");
    }
}
