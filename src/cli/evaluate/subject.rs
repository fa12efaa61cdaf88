//! What is evaluated: the run's images and head, the queries that are asked about, and the options of its scores.

use super::{At, Evaluate};
use crate::artefact::{Input, RunFolder, RunRecord, digest_bytes};
use crate::cli::rank::{Recorded, Side, query_labels, reopen};
use crate::data::{PresentClasses, evenly_spaced};
use crate::derivative::head::SoftmaxHead;
use crate::influence::{Groups, Measurement, Normalise, RankOptions, StoredScores};
use crate::{Error, Result, number_range};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;

/// A run to be evaluated.
pub(super) struct Subject {
    pub(super) train: Side,
    /// Those that are evaluated.
    pub(super) queries: Side,
    pub(super) head: SoftmaxHead,
    pub(super) options: RankOptions,
    pub(super) l2: f64,
    /// The damping that stands for the training of the head, where that is known, matters, and is not that of the scores.
    pub(super) trained: Option<f64>,
    pub(super) class_count: usize,
    pub(super) classes: Option<Vec<String>>,
    pub(super) inputs: Vec<Input>,
    /// Where the queries' losses are measured: at their labels, or at these predictions.
    pub(super) measurement: String,
    /// Groups of training images that are left out as a whole, where that is asked for.
    pub(super) groups: Option<Groups>,
    /// Of a run through residual blocks or training itself, which cannot be fitted again here.
    pub(super) through_blocks: Option<ThroughBlocks>,
    /// What the run's own ranks are proven to be, where that was asked for and they are scored as they were.
    pub(super) certified: Option<f64>,
}

/// What a run through residual blocks or training itself left of its scores.
pub(super) struct ThroughBlocks {
    /// `[query, train]`
    pub(super) scores: Array2<f64>,
    /// That the run took for its solver, and the part of those for its scores that the queries are of its own.
    pub(super) seconds: f64,
}

/// Takes up the run, whose data must be as they were; where nothing is asked of it, what is usual is.
pub(super) fn open(evaluate: &mut Evaluate) -> Result<Subject> {
    let record = RunFolder::read(&evaluate.run)?;
    let Recorded {
        mut material,
        head,
        mut options,
        through_blocks,
        ..
    } = reopen(&record)?;
    evaluate.asked.ask_the_usual(material.train.ids.len())?;
    let evaluate = &*evaluate;
    if through_blocks.is_some() {
        check_through_blocks(evaluate)?;
    }
    let l2 = number_range::at_least_zero("l2", evaluate.l2.unwrap_or(options.l2))?;
    if l2 == 0.0 && evaluate.fits_heads() {
        let reason = format!(
            "{l2} is not above 0, so that no best head exists to be fitted again; give one above 0 without --retrain, or with --retrain \
             ask for --leave-one-out, --lds and --leave-group-out alone"
        );
        return Err(Error::config("l2", reason));
    }
    if let Some(damping) = evaluate.damping {
        options.damping = number_range::at_least_zero("damping", damping)?;
    }
    let trained = (record.results.get("training_time"))
        .and_then(|time| Some(1.0 / time.as_f64()?))
        .filter(|trained| *trained > l2 && (options.damping / trained - 1.0).abs() > 1e-6)
        .filter(|_| options.solver.method.is_damped());
    options.certify = None;
    if options.normalise != Normalise::None {
        note!(
            "ascribe: the run's scores are normalised: their sizes predict no change of the loss, only their order is compared"
        );
    }
    let as_ranked = evaluate.at == At::Run && evaluate.l2.is_none() && evaluate.damping.is_none();
    let certified = (record.results.get("certified"))
        .filter(|_| as_ranked)
        .and_then(|value| value.get("share_of_ranks")?.as_f64());
    let there = PresentClasses::of(&material.train.labels).count();
    if evaluate.asked.classes && there < 4 {
        let reason = format!(
            "puts classes together two by two: needs training images of 4 or more, found {there}; leave it out"
        );
        return Err(Error::config("classes", reason));
    }
    let groups = (evaluate.asked.leave_group_out.as_ref())
        .map(|grouping| material.train_groups(grouping))
        .transpose()?;
    if let Some(groups) = &groups {
        check_groups(groups, material.train.ids.len())?;
    }
    let positions = chosen(&material.test, evaluate)?;
    let sizes = (material.test.ids.len(), material.train.ids.len());
    let through_blocks = match through_blocks {
        None => None,
        Some(through) => Some(ThroughBlocks {
            scores: read_scores(&through.scores, sizes, &positions)?,
            seconds: seconds_of(&record, positions.len() as f64 / sizes.0 as f64),
        }),
    };
    Ok(Subject {
        measurement: measurement(&record)?,
        queries: material.test.part(&positions)?,
        groups,
        through_blocks,
        train: material.train,
        class_count: material.class_count,
        classes: material.classes,
        inputs: material.inputs,
        head,
        options,
        l2,
        trained,
        certified,
    })
}

fn measurement(record: &RunRecord) -> Result<String> {
    if Measurement::of(record) == Measurement::Label {
        return Ok("label".into());
    }
    // Of all queries of the run: those of another head may differ.
    let predicted = query_labels(record)?;
    let numbers = predicted.iter().flat_map(|(&id, &label)| [id, label]);
    let bytes: Vec<u8> = numbers
        .flat_map(|number| (number as u64).to_le_bytes())
        .collect();
    Ok(format!("prediction {}", digest_bytes(&bytes)))
}

/// Refuses a group without which nothing is left.
fn check_groups(groups: &Groups, count: usize) -> Result<()> {
    let whole = groups.iter().find(|(_, members)| members.len() == count);
    whole.map_or(Ok(()), |(name, _)| {
        let reason = format!(
            "the group {name} holds all {count} training images, so that none would be left; name groups that leave some"
        );
        Err(Error::config("leave-group-out", reason))
    })
}

/// Positions of the queries that are evaluated.
fn chosen(side: &Side, evaluate: &Evaluate) -> Result<Vec<usize>> {
    if evaluate.query.is_empty() {
        Ok(evenly_spaced(side.ids.len(), evaluate.queries))
    } else {
        let at: BTreeMap<usize, usize> = side.ids.iter().copied().zip(0..).collect();
        let mut positions = Vec::with_capacity(evaluate.query.len());
        for id in &evaluate.query {
            let absent = || Error::config("query", format!("the run has no query {id}"));
            let position = at.get(id).copied().ok_or_else(absent)?;
            if positions.contains(&position) {
                let reason = format!("names query {id} twice; name each once");
                return Err(Error::config("query", reason));
            }
            positions.push(position);
        }
        Ok(positions)
    }
}

/// Of a run's solver or repeated training, and of a `share` of its scores.
fn seconds_of(record: &RunRecord, share: f64) -> f64 {
    let seconds = |name: &str| -> f64 {
        let stages = record.stages.iter().filter(|stage| stage.name == name);
        stages.map(|stage| stage.seconds).sum()
    };
    seconds("solver") + seconds("training again") + share * seconds("scores")
}

fn read_scores(
    path: &Path,
    (queries, training): (usize, usize),
    positions: &[usize],
) -> Result<Array2<f64>> {
    if !path.exists() {
        let reason =
            "is not there, and a run through residual blocks or --unrolled is evaluated by it";
        return Err(Error::conflict(path, reason, "rank again with --scores"));
    }
    StoredScores::open(path, queries, training)?.at(positions)
}

/// Blocks are trained again only where that is asked for; what needs the head's refits or scores anew is refused, and said where it
/// is of other estimators alone.
fn check_through_blocks(evaluate: &Evaluate) -> Result<()> {
    if evaluate.l2.is_some() {
        let reason = "is of heads that are fitted again, and the run goes through residual blocks or training itself, which is had again by its recipe: leave it out";
        return Err(Error::config("l2", reason));
    }
    let of_others = [
        (evaluate.damping.is_some(), "damping"),
        (evaluate.at == At::Fitted, "at"),
    ];
    for (_, option) in of_others.into_iter().filter(|(given, _)| *given) {
        if evaluate.compare.is_empty() {
            let reason = "is of estimators that are computed here, and the scores of a run through residual blocks or --unrolled are those of its file: add --compare, or leave it out";
            return Err(Error::config(option, reason));
        }
        note!(
            "ascribe: --{option} is of the estimators of --compare: the scores of a run through residual blocks or --unrolled are those of its file"
        );
    }
    match evaluate.asked.question_of_heads() {
        None => Ok(()),
        Some(option) => Err(Error::config(
            option,
            "the run goes through residual blocks or training itself, which cannot be fitted like a head; train again with --retrain SEEDS, give \
             measurements of leave-one-out, lds or leave-group-out with --retrained, or evaluate a run of the head alone",
        )),
    }
}
