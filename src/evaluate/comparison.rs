//! Estimators side by side, measured on the same retrainings.

use super::agreement::{Agreement, Difference};
use super::bootstrap::Bootstrap;
use super::estimator::Measured;
use super::retrained::Retrained;
use super::retrained_file::Ids;
use super::table;
use crate::Result;
use crate::artefact::Columns;
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Every estimator on one set of retrainings; the run's own comes first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Retrainings behind every number.
    pub retrainings: usize,
    /// Queries.
    pub queries: usize,
    /// One for each estimator.
    pub rows: Vec<ComparedEstimator>,
}

/// One estimator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedEstimator {
    /// Its name.
    pub name: String,
    /// The unit of its scores; of others than nats the slope says nothing of sizes.
    pub unit: String,
    /// With what the retrainings measured.
    pub agreement: Agreement,
    /// Compared with the first estimator on the same draws; nothing for the first itself.
    pub minus_first: Option<Difference>,
    /// Of computing the scores.
    pub seconds: f64,
    /// Beyond what the process held before.
    pub bytes: Option<u64>,
    /// Share of ranks that is proven, where a proof was asked for.
    pub certified: Option<f64>,
    /// Solves that missed their tolerance.
    pub failures: usize,
}

impl Comparison {
    /// Of estimators with what `retrained` measured.
    ///
    /// # Errors
    /// Too few retrainings, or a number that is not finite.
    pub fn of(
        estimators: &[Measured],
        retrained: &Retrained,
        bootstrap: &Bootstrap,
    ) -> Result<Self> {
        let actual = retrained.rises();
        let mut rows: Vec<ComparedEstimator> = Vec::new();
        for measured in estimators {
            let predicted = retrained.predicted(&measured.estimate.scores);
            let agreement = Agreement::of(&predicted, &actual, bootstrap)?;
            rows.push(ComparedEstimator {
                name: measured.name.clone(),
                unit: measured.unit.to_owned(),
                minus_first: rows.first().map(|first| agreement.minus(&first.agreement)),
                agreement,
                seconds: measured.seconds,
                bytes: measured.bytes,
                certified: measured.estimate.certified,
                failures: measured.estimate.failures,
            });
        }
        Ok(Self {
            retrainings: actual.ncols(),
            queries: actual.nrows(),
            rows,
        })
    }

    /// Writes a table of predicted and actual rises: estimator, subset, train, group (where `groups` names the subsets), query, predicted
    /// and its unit, actual.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_changes(
        path: &Path,
        estimators: &[Measured],
        (retrained, groups): (&Retrained, Option<&[String]>),
        ids: Ids,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        let actual = retrained.rises();
        let predicted: Vec<Array2<f64>> = (estimators.iter())
            .map(|measured| retrained.predicted(&measured.estimate.scores))
            .collect();
        let (queries, subsets) = actual.dim();
        let pairs = move || {
            (0..subsets).flat_map(move |subset| (0..queries).map(move |query| (subset, query)))
        };
        let rows = (0..estimators.len())
            .flat_map(move |method| pairs().map(move |(subset, query)| (method, subset, query)));
        let alone = |subset: usize| match retrained.left_out[subset].as_slice() {
            [at] => Some(ids.train[*at] as i64),
            _ => None,
        };
        let columns = Columns::of(rows)
            .words("estimator", |(method, ..)| &estimators[method].name)
            .integers("subset", |(_, subset, _)| subset as i64)
            .optional_integers("train", |(_, subset, _)| alone(subset));
        let columns = match groups {
            None => columns,
            Some(names) => columns.words("group", |(_, subset, _)| &names[subset]),
        };
        let columns = columns
            .integers("query", |(.., query)| ids.queries[query] as i64)
            .numbers("predicted", |(method, subset, query)| {
                predicted[method][[query, subset]]
            })
            .words("predicted_unit", |(method, ..)| estimators[method].unit)
            .numbers("actual", |(_, subset, query)| actual[[query, subset]]);
        table::write(path, metadata, columns.done())
    }
}
