//! A finished run of `ascribe rank`, taken up again: its images, its head and its options.

use super::Rank;
use super::material::Material;
use crate::artefact::RunRecord;
use crate::cli::recorded_data::changed;
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
const LEFT_ASIDE: [&str; 11] = [
    "out",
    "json",
    "query-groups",
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
    pub(in crate::cli) head: SoftmaxHead,
    pub(in crate::cli) options: RankOptions,
}

/// Opens the data of the run `record`, of the head alone, which must be as they were.
pub(in crate::cli) fn reopen(record: &RunRecord) -> Result<Recorded> {
    match reopen_any(record)? {
        (recorded, None) => Ok(recorded),
        (_, Some(_)) => Err(Error::Unsupported {
            what: "fitting residual blocks again".into(),
            instead: "give a run of the head alone (--blocks 0)".into(),
        }),
    }
}

/// The same, also for a run through residual blocks, whose scores cannot be computed from features: where they lie comes
/// back too.
pub(in crate::cli) fn reopen_any(record: &RunRecord) -> Result<(Recorded, Option<PathBuf>)> {
    if record.command != "rank" {
        let reason = format!("holds a run of ascribe {}", record.command);
        return Err(Error::Conflict {
            path: record.folder.clone(),
            reason,
            remedy: "give a folder left by ascribe rank".into(),
        });
    }
    // The L2 term of a model is found with it.
    let with_model = record
        .options
        .get("model")
        .is_some_and(|model| !model.is_null());
    let aside = |name: &str| LEFT_ASIDE.contains(&name) || (name == "l2" && with_model);
    let rank = parsed::<Words>(record, aside)?.rank;
    let double = matches!(rank.precision, super::Precision::F64);
    let (material, l2) = rank.open(resident_limit(None, double), &Device::Cpu)?;
    for input in &material.inputs {
        let known = record.input(&input.role).map(|known| &known.digest);
        if known != Some(&input.digest) {
            return Err(changed(record, input));
        }
    }
    let head = match &material.head {
        Some(head) => head.clone(),
        None => {
            let file = HeadFile::open(&record.folder.join("head.safetensors"))?;
            SoftmaxHead::new(&file.weight, &file.bias)?
        }
    };
    let scores = match rank.blocks {
        Blocks::Last(0) => None,
        _ => Some(record.folder.join("scores.npy")),
    };
    let mut options = rank.rank_options(l2)?;
    if options.solver.method == Method::Auto {
        // What the run took, which its plan says.
        options.solver.method = planned(record).unwrap_or(Method::Direct);
    }
    let recorded = Recorded {
        material,
        head,
        options,
    };
    Ok((recorded, scores))
}

fn planned(record: &RunRecord) -> Option<Method> {
    let plan = record.results.get("plan")?.get("method")?.as_str()?;
    clap::ValueEnum::from_str(plan, true).ok()
}
