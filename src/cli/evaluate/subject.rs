//! What is evaluated: the run's images and head, the queries that are asked about, and the options of its scores.

use super::Evaluate;
use crate::artefact::{Input, RunFolder};
use crate::cli::rank::{Recorded, Side, reopen};
use crate::derivative::head::SoftmaxHead;
use crate::influence::{Correction, Normalise, RankOptions, evenly_spaced};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A run to be evaluated.
pub(super) struct Subject {
    pub(super) train: Side,
    /// Those that are evaluated.
    pub(super) queries: Side,
    pub(super) head: SoftmaxHead,
    pub(super) options: RankOptions,
    pub(super) l2: f64,
    pub(super) class_count: usize,
    pub(super) classes: Option<Vec<String>>,
    pub(super) inputs: Vec<Input>,
    /// What the run's own ranks are proven to be, where that was asked for.
    pub(super) certified: Option<f64>,
}

/// Takes up the run, whose data must be as they were.
pub(super) fn open(evaluate: &Evaluate) -> Result<Subject> {
    let record = RunFolder::read(&evaluate.run)?;
    let Recorded {
        material,
        head,
        mut options,
    } = reopen(&record)?;
    let l2 = evaluate.l2.unwrap_or(options.l2);
    if !(l2.is_finite() && l2 > 0.0) {
        let reason = format!(
            "{l2} is not above 0, so that no best head exists to be fitted again; give the L2 term that the head was trained with"
        );
        return Err(Error::config("l2", reason));
    }
    if let Some(damping) = evaluate.damping {
        if !(damping.is_finite() && damping >= 0.0) {
            let reason = format!("{damping} is not a number of 0 or more");
            return Err(Error::config("damping", reason));
        }
        options.damping = damping;
    }
    options.certify = None;
    if options.normalise != Normalise::None && options.correction == Correction::None {
        eprintln!(
            "ascribe: the run's scores are normalised: their sizes predict no change of the loss, only their order is compared"
        );
    }
    let certified = record
        .results
        .get("certified")
        .and_then(|value| value.get("share_of_ranks")?.as_f64());
    Ok(Subject {
        queries: chosen(material.test, evaluate)?,
        train: material.train,
        class_count: material.class_count,
        classes: material.classes,
        inputs: material.inputs,
        head,
        options,
        l2,
        certified,
    })
}

fn chosen(side: Side, evaluate: &Evaluate) -> Result<Side> {
    let positions = if evaluate.query.is_empty() {
        evenly_spaced(side.ids.len(), evaluate.queries)
    } else {
        let at: BTreeMap<usize, usize> = side.ids.iter().copied().zip(0..).collect();
        let find = |id: &usize| {
            let absent = || Error::config("query", format!("the run has no query {id}"));
            at.get(id).copied().ok_or_else(absent)
        };
        evaluate.query.iter().map(find).collect::<Result<_>>()?
    };
    let rows: Vec<u32> = positions.iter().map(|&at| at as u32).collect();
    Ok(Side {
        features: side.features.select(&rows)?.into(),
        labels: positions.iter().map(|&at| side.labels[at]).collect(),
        ids: positions.iter().map(|&at| side.ids[at]).collect(),
    })
}
