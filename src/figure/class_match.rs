//! Figure 6: how often the training images behind a prediction are of the query's class.
//!
//! For every rank k from 1 to 100 (fewer where fewer are known): the percent of queries whose k-th most helpful training
//! image has the query's *true* class (of a test image that is ranked at its prediction, the predicted one). Per rank, not
//! cumulative. Each curve has a band, the 95 % Wilson score interval over queries taken as independent, and a dotted level:
//! the match expected if training images were ranked at random, Σ_c share_c(queries) · share_c(training images).
//!
//! | panel | queries | read from |
//! |---|---|---|
//! | (a) | the training images, each itself among the images ranked | `train_rankings.parquet` |
//! | (a’) | the training images, each itself passed over and the ranks after it moved up | `train_rankings.parquet` |
//! | (b) | the test images | `rankings.parquet` |
//!
//! Where models rank for the same queries, each is held against the first query by query ([`PairedRankings`]).
//!
//! Read are the columns `query`, `query_label`, `rank`, `train`, `train_label` and the order of `score`.
//!
//! Utrera et al. (2020, figure 6) draw (a) and (b) for two models, without band or level. In (a) an image is nearly always
//! among the most helpful for itself, so its own class matches at a low rank for free; (a’) is the same without that gift.

mod curve;
mod drawing;
mod table;
#[cfg(test)]
mod tests;

use super::{Drawn, Figure, Sheet, Style};
use crate::evaluate::{Interval, PairedRankings, Pairing};
use crate::influence::QueryRanking;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Class match by rank: panels of queries, in them one curve for each model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMatch {
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// The curves of one set of queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Whose training images are ranked.
    pub queries: QuerySet,
    /// One for each model.
    pub curves: Vec<Curve>,
    /// Each model but the first held against the first, where both rank for the same images.
    #[serde(default)]
    pub pairs: Vec<Pair>,
}

/// A model held against the first on the same queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// The model's name.
    pub model: String,
    /// The first model's.
    pub first: String,
    /// How they differ: this one less the first.
    pub difference: PairedRankings,
}

/// Which images are the queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuerySet {
    /// (a): the training images, each ranked among the others and itself.
    TrainingItselfIncluded,
    /// (a’): the training images, each ranked among the others alone.
    TrainingItselfExcluded,
    /// (b): the test images.
    Test,
}

/// How one model's rankings match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// The model's name.
    pub model: String,
    /// Whether the queries count as images of the class that is predicted.
    #[serde(default)]
    pub predicted: bool,
    /// Queries behind every percentage.
    pub query_count: usize,
    /// The match expected from a random ranking, in percent.
    pub chance_percent: f64,
    /// Percent of queries of whose five most helpful images at least three match; `None` with fewer than five ranks.
    pub three_of_top_five_percent: Option<f64>,
    /// By rank, from 1.
    pub points: Vec<Point>,
}

/// The match at one rank, in percent of queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// From 1, most helpful first.
    pub rank: usize,
    /// Queries whose training image at this rank has their class.
    pub match_percent: f64,
    /// Lower end of the 95 % interval.
    pub low_percent: f64,
    /// Upper end of the 95 % interval.
    pub high_percent: f64,
}

/// A model's rankings, as `influence::read_rankings` gives them.
#[derive(Debug, Clone, Copy)]
pub struct ModelRankings<'a> {
    /// What the model is called.
    pub model: &'a str,
    /// With all training images as queries; none where they were left out (`ascribe rank --skip-train`).
    pub train: &'a [QueryRanking],
    /// With the test images as queries.
    pub test: &'a [QueryRanking],
    /// The labels of all training images.
    pub labels: &'a [usize],
    /// What tells the training and the test images from others'; models are held against each other where these are the same.
    pub images: Option<[&'a str; 2]>,
    /// Whether its test images count as images of the class that is predicted.
    pub predicted: bool,
}

impl QuerySet {
    /// All panels, from left to right.
    pub const ALL: [Self; 3] = [
        Self::TrainingItselfIncluded,
        Self::TrainingItselfExcluded,
        Self::Test,
    ];

    /// The panel's letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Self::TrainingItselfIncluded => "a",
            Self::TrainingItselfExcluded => "a’",
            Self::Test => "b",
        }
    }

    /// The queries in words.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::TrainingItselfIncluded => "training images, self included",
            Self::TrainingItselfExcluded => "training images, self excluded",
            Self::Test => "test images",
        }
    }
}

impl ClassMatch {
    /// All three panels for the given models; the last alone where one of them has no training images as queries.
    ///
    /// # Errors
    /// No model, no query, a query without or with fewer images than the others, scores that do not fall with the rank.
    pub fn of(models: &[ModelRankings]) -> Result<Self> {
        let panel = |queries| {
            let curves = models.iter().map(|model| Curve::of(model, queries));
            let curves = curves.collect::<Result<_>>()?;
            let pairs = (models.split_first().into_iter()).flat_map(|(first, others)| {
                others
                    .iter()
                    .filter_map(move |other| pair(first, other, queries))
            });
            Ok(Panel {
                queries,
                curves,
                pairs: pairs.collect(),
            })
        };
        let all = models.iter().all(|model| !model.train.is_empty());
        let panels = (QuerySet::ALL.into_iter())
            .filter(|queries| all || *queries == QuerySet::Test)
            .map(panel);
        let figure = Self {
            panels: panels.collect::<Result<_>>()?,
        };
        figure.check()?;
        Ok(figure)
    }
}

/// A model held against the first, where both rank for the same images.
fn pair(first: &ModelRankings, model: &ModelRankings, queries: QuerySet) -> Option<Pair> {
    let [train, test] = [0, 1].map(|at| {
        let sets = [first, model].map(|model| model.images.map(|images| images[at]));
        sets[0].is_some() && sets[0] == sets[1]
    });
    let (same, [one, other]) = match queries {
        QuerySet::Test => (test, [first.test, model.test]),
        _ => (train, [first.train, model.train]),
    };
    let pairing = Pairing {
        same_images: train,
        without_itself: queries == QuerySet::TrainingItselfExcluded,
    };
    let difference = same.then(|| PairedRankings::of(one, other, pairing))??;
    Some(Pair {
        model: model.model.to_owned(),
        first: first.model.to_owned(),
        difference,
    })
}

impl Figure for ClassMatch {
    fn title(&self) -> String {
        "Class match of the most helpful training images by rank".into()
    }

    fn caption(&self) -> String {
        let mut caption = drawing::note(self);
        for panel in &self.panels {
            let Panel {
                queries, curves, ..
            } = panel;
            caption.push_str(&format!(
                " ({}) {}:",
                queries.letter(),
                queries.description()
            ));
            let curves: Vec<String> = curves.iter().map(curve_caption).collect();
            caption.push_str(&format!(" {}.", curves.join("; ")));
            panel
                .pairs
                .iter()
                .for_each(|pair| caption.push_str(&pair_caption(pair)));
        }
        caption
    }

    fn differences(&self) -> Option<Value> {
        let of_panel = |panel: &Panel| {
            let of_pair = |pair: &Pair| json!({ "queries": panel.queries, "pair": pair });
            panel.pairs.iter().map(of_pair).collect::<Vec<_>>()
        };
        let differences: Vec<Value> = self.panels.iter().flat_map(of_panel).collect();
        (!differences.is_empty()).then_some(Value::Array(differences))
    }

    fn check(&self) -> Result<()> {
        let remedy = "make the record from at least one run";
        if self.panels.iter().all(|panel| panel.curves.is_empty()) {
            return Err(Error::mismatch(
                "class match",
                "at least one curve",
                "none",
                remedy,
            ));
        }
        for panel in &self.panels {
            panel
                .curves
                .iter()
                .try_for_each(|curve| check_curve(panel.queries, curve))?;
        }
        Ok(())
    }

    fn size(&self, style: Style) -> (f64, f64) {
        drawing::size(self, style)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        drawing::draw(self, sheet)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        table::write(self, rows)
    }
}

fn check_curve(queries: QuerySet, curve: &Curve) -> Result<()> {
    let what = || {
        format!(
            "class match of {} on {}",
            curve.model,
            queries.description()
        )
    };
    if curve.points.is_empty() {
        let remedy = "rank with --top 2 or more";
        return Err(Error::mismatch(what(), "at least one rank", "none", remedy));
    }
    for (point, rank) in curve.points.iter().zip(1..) {
        if point.rank != rank {
            let remedy = "make the record again";
            return Err(Error::mismatch(
                what(),
                format!("rank {rank}"),
                point.rank,
                remedy,
            ));
        }
        let values = [
            point.match_percent,
            point.low_percent,
            point.high_percent,
            curve.chance_percent,
        ];
        if values.iter().any(|value| !value.is_finite()) {
            let place = format!("rank {rank}");
            return Err(Error::non_finite(what(), place, "make the record again"));
        }
    }
    Ok(())
}

/// The first ranks of a pair, which the note below the panels has no room for.
fn pair_caption(pair: &Pair) -> String {
    let Pair {
        model,
        first,
        difference,
    } = pair;
    let PairedRankings {
        query_count,
        ranks,
        ranks_match,
        shared,
        ..
    } = difference;
    let shared = shared.map_or_else(String::new, |shared| {
        format!("; of these both have {}", percent_within(shared))
    });
    format!(
        " {model} less {first} on the same {query_count} queries: over the first {ranks} ranks {} points{shared}.",
        points(*ranks_match)
    )
}

/// A difference in points of percent, and its 95 % interval.
fn points(of: Interval) -> String {
    let [value, low, high] =
        [of.value, of.low, of.high].map(|value| format!("{:+.1}", 100.0 * value).replace('-', "−"));
    format!("{value} ({low} to {high})")
}

/// A share in percent, and its 95 % interval.
fn percent_within(of: Interval) -> String {
    let [value, low, high] =
        [of.value, of.low, of.high].map(|value| format!("{:.1}", 100.0 * value));
    format!("{value} % ({low} to {high})")
}

fn curve_caption(curve: &Curve) -> String {
    let percent = drawing::percent;
    let three = curve.three_of_top_five_percent;
    format!(
        "{} top 1 {}, at least 3 of the top 5 {}, chance {}",
        curve.model,
        percent(curve.top_one_percent()),
        percent(three),
        percent(Some(curve.chance_percent))
    )
}
