//! Test accuracy against one of the six variables, the others fixed: means over seeds, and differences to the natural
//! source paired by seed (Figures 1 and 2 of Utrera et al.), with 95 % bootstrap intervals over seeds.

use super::Row;
use crate::evaluate::{Bootstrap, Interval};
use crate::model::Blocks;
use crate::train::Norm;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Which rows are looked at; what is not given is the largest there is, and all sources and targets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Number of training images.
    pub images: Option<usize>,
    /// Fine-tuned blocks.
    pub blocks: Option<Blocks>,
    /// Epochs of the whole run.
    pub epochs: Option<usize>,
    /// Names of sources.
    pub sources: Vec<String>,
    /// Names of target sets.
    pub targets: Vec<String>,
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
    /// The natural source that others are compared with, where there is one.
    pub natural: Option<String>,
    /// Test accuracy.
    pub accuracy: Vec<Curve>,
    /// Difference to the natural source, paired by seed.
    pub difference: Vec<Curve>,
    /// Runs left out because their loss stopped being finite.
    pub diverged: usize,
}

/// Sources along the axis, in order: what each is called there.
type Places = Vec<(String, String)>;

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
        let diverged = rows.iter().filter(|row| row.diverged).count();
        let blocks = block_places(&rows);
        let mut table = Table::new();
        let mut labels = BTreeMap::new();
        for row in &rows {
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
            let key = (row.target.clone(), source, place);
            let of_seeds = table.entry(key).or_default();
            of_seeds.insert(row.seed, 100.0 * accuracy);
        }
        let natural = natural(&rows, &sources);
        let mut summary = Self {
            variable,
            fixed,
            natural: natural.map(|at| sources[at].0.clone()),
            accuracy: Vec::new(),
            difference: Vec::new(),
            diverged,
        };
        for ((target, source, place), of_seeds) in &table {
            let values: Vec<f64> = of_seeds.values().copied().collect();
            let name = match variable {
                Variable::Epsilon => "",
                _ => &sources[*source].0,
            };
            let label = &labels[place];
            let spot = (target.as_str(), name, *place, label.as_str());
            push(&mut summary.accuracy, spot, &values);
            let Some(natural) = natural.filter(|natural| natural != source) else {
                continue;
            };
            let beside = match variable {
                Variable::Epsilon => natural as u64,
                _ => *place,
            };
            let Some(others) = table.get(&(target.clone(), natural, beside)) else {
                continue;
            };
            let pairs = of_seeds
                .iter()
                .filter_map(|(seed, value)| Some(value - others.get(seed)?));
            let pairs: Vec<f64> = pairs.collect();
            if !pairs.is_empty() {
                push(&mut summary.difference, spot, &pairs);
            }
        }
        Ok(summary)
    }
}

/// Adds a point to its curve; points come by place within a curve.
fn push(
    curves: &mut Vec<Curve>,
    (target, source, place, label): (&str, &str, u64, &str),
    values: &[f64],
) {
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

/// By norm, then ε, then name; labelled by ε and norm, or by name where two sources have the same.
fn source_places(rows: &[Row]) -> Places {
    let norm = |row: &Row| match row.norm {
        None => 0,
        Some(Norm::L2) => 1,
        Some(Norm::Linf) => 2,
    };
    let mut all: Vec<&Row> = Vec::new();
    for row in rows {
        if !all.iter().any(|other| other.source == row.source) {
            all.push(row);
        }
    }
    all.sort_by(|a, b| {
        (norm(a).cmp(&norm(b)))
            .then(a.epsilon.total_cmp(&b.epsilon))
            .then(a.source.cmp(&b.source))
    });
    let label = |row: &Row| match row.norm {
        None => format!("{}", row.epsilon),
        Some(Norm::L2) => format!("L2 {}", row.epsilon),
        Some(Norm::Linf) => format!("L∞ {}", row.epsilon),
    };
    let mut labels: Vec<String> = all.iter().map(|row| label(row)).collect();
    labels.sort_unstable();
    labels.dedup();
    let unique = labels.len() == all.len();
    let named = |row: &Row| {
        if unique {
            label(row)
        } else {
            row.source.clone()
        }
    };
    (all.into_iter())
        .map(|row| (row.source.clone(), named(row)))
        .collect()
}

/// The first source with ε = 0.
fn natural(rows: &[&Row], sources: &Places) -> Option<usize> {
    let natural = |(name, _): &(String, String)| {
        let mut of_it = rows.iter().filter(|row| row.source == *name);
        of_it.any(|row| row.epsilon == 0.0)
    };
    sources.iter().position(natural)
}

/// Fewest first, all last.
fn block_places(rows: &[&Row]) -> Vec<Blocks> {
    let mut blocks: Vec<Blocks> = Vec::new();
    for row in rows {
        if !blocks.contains(&row.blocks) {
            blocks.push(row.blocks);
        }
    }
    blocks.sort_by_key(|blocks| block_order(*blocks));
    blocks
}

fn block_order(blocks: Blocks) -> usize {
    match blocks {
        Blocks::Last(count) => count,
        Blocks::All => usize::MAX,
    }
}

/// The rows, and what they have in common.
fn selected<'a>(
    rows: &'a [Row],
    variable: Variable,
    selection: &Selection,
) -> Result<(Vec<&'a Row>, Vec<(String, String)>)> {
    let named = |names: &[String], name: &String| names.is_empty() || names.contains(name);
    for (option, names, there) in [
        (
            "sources",
            &selection.sources,
            names(rows, |row| &row.source),
        ),
        (
            "targets",
            &selection.targets,
            names(rows, |row| &row.target),
        ),
    ] {
        if let Some(name) = names.iter().find(|name| !there.contains(name)) {
            let there = there.join(", ");
            let reason = format!("expected some of {there}, found {name}");
            return Err(Error::config(option, reason));
        }
    }
    let mut left: Vec<&Row> = rows
        .iter()
        .filter(|row| named(&selection.sources, &row.source))
        .filter(|row| named(&selection.targets, &row.target))
        .collect();
    let mut fixed = Vec::new();
    let epochs = fix(&mut left, "epochs", selection.epochs, |row| row.epochs)?;
    fixed.push(("epochs".to_owned(), epochs.to_string()));
    if variable != Variable::Blocks {
        let order = selection.blocks.map(block_order);
        fix(&mut left, "blocks", order, |row| block_order(row.blocks))?;
        let blocks = left
            .first()
            .map_or(String::new(), |row| row.blocks.to_string());
        fixed.push(("blocks".to_owned(), blocks));
    }
    if variable != Variable::Images {
        let images = fix(&mut left, "images", selection.images, |row| row.images)?;
        fixed.push(("images".to_owned(), images.to_string()));
    }
    if variable != Variable::Epoch {
        left.retain(|row| row.epoch == row.epochs);
    }
    Ok((left, fixed))
}

fn names(rows: &[Row], name: fn(&Row) -> &String) -> Vec<String> {
    let mut names: Vec<String> = rows.iter().map(|row| name(row).clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Keeps the rows with the value asked for, or with the largest.
fn fix(
    rows: &mut Vec<&Row>,
    option: &'static str,
    asked: Option<usize>,
    value: impl Fn(&Row) -> usize,
) -> Result<usize> {
    let mut there: Vec<usize> = rows.iter().map(|row| value(row)).collect();
    there.sort_unstable();
    there.dedup();
    let Some(&largest) = there.last() else {
        let remedy = "run ascribe study again";
        return Err(Error::mismatch(
            "the study's table",
            "at least one row",
            "none",
            remedy,
        ));
    };
    let wanted = asked.unwrap_or(largest);
    if !there.contains(&wanted) {
        let all = there.iter().map(usize::to_string).collect::<Vec<_>>();
        let reason = format!("expected one of {}, found {wanted}", all.join(", "));
        return Err(Error::config(option, reason));
    }
    rows.retain(|row| value(row) == wanted);
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(source: &str, epsilon: f64, images: usize, seed: u64, accuracy: f64) -> Row {
        Row {
            source: source.into(),
            norm: (epsilon > 0.0).then_some(Norm::L2),
            epsilon,
            target: "digits".into(),
            transform: "none".into(),
            images,
            blocks: Blocks::Last(0),
            epochs: 2,
            seed,
            learning_rate: 0.1,
            l2: 0.0,
            head_deviation: 1.0,
            epoch: 2,
            train_loss: Some(0.0),
            train_accuracy: Some(1.0),
            test_loss: Some(1.0),
            test_accuracy: Some(accuracy),
            seconds: 1.0,
            diverged: false,
            run: "0".into(),
        }
    }

    fn rows() -> Vec<Row> {
        vec![
            row("robust", 0.25, 10, 0, 0.5),
            row("robust", 0.25, 10, 1, 0.7),
            // No natural run of this seed: it counts for accuracy alone.
            row("robust", 0.25, 10, 2, 0.9),
            row("natural", 0.0, 10, 0, 0.4),
            row("natural", 0.0, 10, 1, 0.5),
            row("natural", 0.0, 20, 1, 0.6),
        ]
    }

    #[test]
    fn means_are_over_seeds_and_differences_within_them() {
        let mut rows = rows();
        rows.push(Row {
            diverged: true,
            test_accuracy: None,
            ..row("robust", 0.25, 20, 1, 0.0)
        });
        let found = Summary::of(&rows, Variable::Images, &Selection::default()).unwrap();
        assert_eq!(
            (found.natural.as_deref(), found.diverged),
            (Some("natural"), 1)
        );
        let [natural, robust] = &found.accuracy[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (&natural.source[..], &robust.source[..]),
            ("natural", "robust")
        );
        let places: Vec<_> = natural
            .points
            .iter()
            .map(|it| (it.place, it.seeds))
            .collect();
        assert_eq!(places, [(10.0, 2), (20.0, 1)]);
        assert!((robust.points[0].value.value - 70.0).abs() < 1e-9);
        let [difference] = &found.difference[..] else {
            panic!("{found:?}")
        };
        let point = &difference.points[0];
        assert_eq!((difference.points.len(), point.seeds), (1, 2));
        assert!((point.value.value - 15.0).abs() < 1e-9);
        assert!(point.value.low >= 10.0 - 1e-9 && point.value.high <= 20.0 + 1e-9);
    }

    #[test]
    fn sources_may_lie_along_the_axis() {
        let selection = Selection {
            images: Some(10),
            ..Selection::default()
        };
        let found = Summary::of(&rows(), Variable::Epsilon, &selection).unwrap();
        assert_eq!((found.accuracy.len(), found.difference.len()), (1, 1));
        let labels: Vec<_> = found.accuracy[0]
            .points
            .iter()
            .map(|it| &it.label[..])
            .collect();
        assert_eq!(labels, ["0", "L2 0.25"]);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let message = |selection: Selection| {
            let found = Summary::of(&rows(), Variable::Epoch, &selection);
            found.unwrap_err().to_string()
        };
        let images = message(Selection {
            images: Some(30),
            ..Selection::default()
        });
        assert!(
            images.contains("--images") && images.contains("10, 20"),
            "{images}"
        );
        let sources = message(Selection {
            sources: vec!["rubust".into()],
            ..Selection::default()
        });
        assert!(
            sources.contains("--sources") && sources.contains("robust"),
            "{sources}"
        );
        let none = Summary::of(&[], Variable::Epoch, &Selection::default());
        assert!(none.unwrap_err().to_string().contains("at least one row"));
    }
}
