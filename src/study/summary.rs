//! Test accuracy against one of the six variables, the others fixed: means over seeds, and differences to the natural
//! source, or to another target set, paired by seed (Figures 1 and 2 of Utrera et al.), with 95 % bootstrap intervals over seeds.

mod places;
mod selection;
#[cfg(test)]
mod tests;

pub use selection::Selection;

use self::places::{block_places, natural, source_places};
use self::selection::selected;
use super::Row;
use crate::evaluate::{Bootstrap, Interval};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How often the bootstrap draws, and from which seed.
const BOOTSTRAP: Bootstrap = Bootstrap {
    seed: 0,
    draws: 2000,
};

/// What lies along the horizontal axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variable {
    /// Number of training images (Figure 1).
    Images,
    /// The epoch after which a run was measured (Figure 2).
    Epoch,
    /// Fine-tuned blocks.
    Blocks,
    /// The source: ε and norm.
    Epsilon,
}

/// One mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Where on the axis: the number, or the place of a block count or source among those there are.
    pub place: f64,
    /// What stands there on the axis.
    pub label: String,
    /// Seeds behind the mean.
    pub seeds: usize,
    /// In percent, or percentage points.
    pub value: Interval,
}

impl Point {
    /// One seed has no interval.
    pub fn interval(&self) -> Option<Interval> {
        (self.seeds > 1).then_some(self.value)
    }
}

/// Means along the axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Target set.
    pub target: String,
    /// Source; empty where the sources lie along the axis.
    pub source: String,
    /// By place.
    pub points: Vec<Point>,
}

/// All curves of a figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// What lies along the axis.
    pub variable: Variable,
    /// What was held fixed, with its value.
    pub fixed: Vec<(String, String)>,
    /// The natural source, where there is one.
    pub natural: Option<String>,
    /// The target set that others are compared with; where it is not given, sources are compared with the natural one.
    pub against: Option<String>,
    /// Target sets that are measured on other test images than that one, and are not compared with it.
    #[serde(default)]
    pub apart: Vec<String>,
    /// Test accuracy.
    pub accuracy: Vec<Curve>,
    /// Difference to what is compared with, paired by seed.
    pub difference: Vec<Curve>,
    /// Runs left out because their loss stopped being finite.
    pub diverged: usize,
}

/// Accuracies in percent, by target, source, place and seed.
type Table = BTreeMap<(String, usize, u64), BTreeMap<u64, f64>>;

impl Summary {
    /// Of a study's table.
    ///
    /// # Errors
    /// No row is as selected; the selected value is not in the table.
    pub fn of(rows: &[Row], variable: Variable, selection: &Selection) -> Result<Self> {
        let sources = source_places(rows);
        let (rows, fixed) = selected(rows, variable, selection)?;
        let natural = natural(&rows, &sources);
        let mut summary = Self {
            variable,
            fixed,
            natural: natural.map(|at| sources[at].0.clone()),
            against: selection.against.clone(),
            apart: apart(&rows, selection.against.as_deref()),
            accuracy: Vec::new(),
            difference: Vec::new(),
            diverged: rows.iter().filter(|row| row.diverged).count(),
        };
        let (table, labels) = tabulated(&rows, variable, &sources);
        for ((target, source, place), of_seeds) in &table {
            let name = match variable {
                Variable::Epsilon => "",
                _ => &sources[*source].0,
            };
            let spot = (target.as_str(), name, *place, labels[place].as_str());
            let values: Vec<f64> = of_seeds.values().copied().collect();
            push(&mut summary.accuracy, spot, &values);
            let beside = match &selection.against {
                Some(against) if against != target && !summary.apart.contains(target) => {
                    (against.clone(), *source, *place)
                }
                Some(_) => continue,
                None => match natural.filter(|natural| natural != source) {
                    Some(natural) if variable == Variable::Epsilon => {
                        (target.clone(), natural, natural as u64)
                    }
                    Some(natural) => (target.clone(), natural, *place),
                    None => continue,
                },
            };
            if let Some(others) = table.get(&beside) {
                let pair = |(seed, value): (&u64, &f64)| Some(value - others.get(seed)?);
                let pairs: Vec<f64> = of_seeds.iter().filter_map(pair).collect();
                push(&mut summary.difference, spot, &pairs);
            }
        }
        match &selection.against {
            Some(against) if summary.difference.is_empty() => {
                let reason = format!(
                    "there is no other target set to hold against {against}, of the same test images, sources and seeds"
                );
                Err(Error::config("against", reason))
            }
            _ => Ok(summary),
        }
    }
}

/// The target sets of other test images than `against`, by name.
fn apart(rows: &[&Row], against: Option<&str>) -> Vec<String> {
    let test = |row: &Row| (row.test.clone(), row.test_images);
    let of_it = rows.iter().find(|row| Some(&*row.target) == against);
    let Some(wanted) = of_it.map(|row| test(row)) else {
        return Vec::new();
    };
    let others = rows.iter().filter(|row| test(row) != wanted);
    let names: BTreeSet<&str> = others.map(|row| &*row.target).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Accuracies, and what stands at each place.
fn tabulated(
    rows: &[&Row],
    variable: Variable,
    sources: &[(String, String)],
) -> (Table, BTreeMap<u64, String>) {
    let blocks = block_places(rows);
    let (mut table, mut labels) = (Table::new(), BTreeMap::new());
    for row in rows {
        let Some(accuracy) = row.test_accuracy else {
            continue;
        };
        let source = sources.iter().position(|(name, _)| *name == row.source);
        let source = source.unwrap_or(0);
        let (place, label) = match variable {
            Variable::Images => (row.images as u64, row.images.to_string()),
            Variable::Epoch => (row.epoch as u64, row.epoch.to_string()),
            Variable::Blocks => {
                let place = blocks.iter().position(|blocks| *blocks == row.blocks);
                (place.unwrap_or(0) as u64, row.blocks.to_string())
            }
            Variable::Epsilon => (source as u64, sources[source].1.clone()),
        };
        labels.insert(place, label);
        let of_seeds: &mut BTreeMap<u64, f64> = table
            .entry((row.target.clone(), source, place))
            .or_default();
        of_seeds.insert(row.seed, 100.0 * accuracy);
    }
    (table, labels)
}

/// Adds a point to its curve, where there are values; points come by place within a curve.
fn push(
    curves: &mut Vec<Curve>,
    (target, source, place, label): (&str, &str, u64, &str),
    values: &[f64],
) {
    if values.is_empty() {
        return;
    }
    let point = Point {
        place: place as f64,
        label: label.to_owned(),
        seeds: values.len(),
        value: Interval::of_mean(values, &BOOTSTRAP),
    };
    let of_it = |curve: &&mut Curve| curve.target == target && curve.source == source;
    match curves.iter_mut().find(of_it) {
        Some(curve) => curve.points.push(point),
        None => curves.push(Curve {
            target: target.to_owned(),
            source: source.to_owned(),
            points: vec![point],
        }),
    }
}
