//! A finished run of `ascribe rank`, taken up again: its images, its head and its options.

use super::Rank;
use super::material::Material;
use super::measurement::query_labels;
use super::transferred::{TRAINED_ON, Transferred};
use crate::artefact::RunRecord;
use crate::cli::recorded_data::{changed, check_there};
use crate::cli::recorded_options::parsed;
use crate::data::HeadFile;
use crate::derivative::head::SoftmaxHead;
use crate::influence::{RankOptions, resident_limit};
use crate::model::Blocks;
use crate::solve::Method;
use crate::{Error, Result};
use candle_core::Device;
use clap::Parser;
use std::path::PathBuf;

/// Options that say where and how results are kept, not what they are.
const LEFT_ASIDE: [&str; 13] = [
    "out",
    "json",
    "query-groups",
    "groups-only",
    "train-groups",
    "damping-path",
    "path-queries",
    "style",
    "device",
    "memory",
    "record-every",
    "scores",
    "skip-train",
];

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    rank: Rank,
}

/// What a run was made from, and how.
pub(in crate::cli) struct Recorded {
    pub(in crate::cli) material: Material,
    /// Where the run is of a model and images, not of features alone.
    pub(in crate::cli) transferred: Option<Transferred>,
    pub(in crate::cli) head: SoftmaxHead,
    pub(in crate::cli) options: RankOptions,
    /// Of a run through residual blocks or unrolled training, whose scores cannot be computed from features.
    pub(in crate::cli) through_blocks: Option<ThroughBlocks>,
}

/// A run through residual blocks.
pub(in crate::cli) struct ThroughBlocks {
    /// Those that its scores go through.
    pub(in crate::cli) blocks: Blocks,
    /// Where its score matrix lies, if it kept one.
    pub(in crate::cli) scores: PathBuf,
}

/// Opens the data of the run `record`, which must be as they were. The material of a run through residual blocks is that of its
/// head: features of the whole model.
pub(in crate::cli) fn reopen(record: &RunRecord) -> Result<Recorded> {
    if record.command != "rank" {
        let reason = format!("holds a run of ascribe {}", record.command);
        let remedy = "give a folder left by ascribe rank";
        return Err(Error::conflict(&record.folder, reason, remedy));
    }
    check_has_rankings(record)?;
    // The L2 term of a model is found with it.
    let with_model = record
        .options
        .get("model")
        .is_some_and(|model| !model.is_null());
    // A run that only keeps scores has nothing to refuse here.
    let keeps_none = record.options.get("top").is_some_and(|top| *top == 0);
    // The tolerance that took effect is recorded; one that nobody typed is no demand, on the run's method or another.
    let typed = |word: &String| word == "--tolerance" || word.starts_with("--tolerance=");
    let asks_tolerance = record.arguments.iter().any(typed);
    let aside = |name: &str| {
        let given = name == "l2" && with_model
            || name == "top" && keeps_none
            || name == "tolerance" && !asks_tolerance;
        given || LEFT_ASIDE.contains(&name)
    };
    let mut rank = parsed::<Words>(record, aside)?.rank;
    rank.locate(record)?;
    let double = matches!(rank.precision, super::Precision::F64);
    let (mut material, training, mut transferred) =
        rank.open_with_model(resident_limit(None, double), &Device::Cpu)?;
    let labels = query_labels(record)?;
    material.test.relabel(&labels);
    if let Some(transferred) = &mut transferred {
        transferred.relabel(&labels)?;
    }
    for input in &material.inputs {
        match record.input(&input.role) {
            Some(known) if known.digest == input.digest => {}
            // Runs of before did not record it.
            None if input.role == TRAINED_ON => {}
            _ => return Err(changed(record, input)),
        }
    }
    let head = match &material.head {
        Some(head) => head.clone(),
        None => {
            let file = HeadFile::open(&record.folder.join("head.safetensors"))?;
            SoftmaxHead::new(&file.weight, &file.bias)?
        }
    };
    let through_blocks = (rank.unrolled || rank.blocks != Blocks::Last(0)).then(|| ThroughBlocks {
        blocks: rank.blocks,
        scores: record.folder.join("scores.npy"),
    });
    let mut options = rank.rank_options(training)?;
    if options.solver.method == Method::Auto {
        // What the run took, which its plan says.
        options.solver.method = planned(record).unwrap_or(Method::Direct);
    }
    Ok(Recorded {
        material,
        transferred,
        head,
        options,
        through_blocks,
    })
}

/// Refuses a run of groups of queries alone, which ranks nothing for a query.
///
/// # Errors
/// It is one.
pub(in crate::cli) fn check_has_rankings(record: &RunRecord) -> Result<()> {
    match record.options.get("groups-only") {
        Some(only) if *only == true => Err(Error::conflict(
            &record.folder,
            "ranks for groups of queries alone, and not for each query",
            "give a run of ascribe rank without --groups-only",
        )),
        _ => Ok(()),
    }
}

impl Rank {
    /// Names what is read by paths that lead there from here, if it is still there.
    fn locate(&mut self, record: &RunRecord) -> Result<()> {
        let paths = [
            &mut self.model,
            &mut self.train,
            &mut self.test,
            &mut self.head,
        ];
        for path in paths.into_iter().flatten() {
            *path = record.located(path);
            check_there(record, path)?;
        }
        Ok(())
    }
}

fn planned(record: &RunRecord) -> Option<Method> {
    let plan = record.results.get("plan")?.get("method")?.as_str()?;
    clap::ValueEnum::from_str(plan, true).ok()
}
