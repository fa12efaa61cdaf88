//! Predicted against actual rise of a query's loss when a training image is left out, one point a pair.

use super::{Frame, LABELS_BELOW, MARGIN, Note, TITLE, ends, finite};
use crate::Result;
use crate::data::random::{Purpose, generator};
use crate::evaluate::{Agreement, Interval};
use crate::figure::axis::Axis;
use crate::figure::palette::{QUIET, colour};
use crate::figure::sheet::dots;
use crate::figure::{Drawn, Figure, Sheet, Style};
use crate::influence::NATS;
use ndarray::Array2;
use rand::seq::index::sample;
use serde::{Deserialize, Serialize};

/// Points drawn at most; of more so many are drawn at random, always the same.
const POINTS: usize = 4000;
const WIDTH: f64 = 90.0;
const CHART: f64 = 72.0;

/// The points and what they come to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaveOneOut {
    /// Evenly chosen where there are many.
    pub points: Vec<ScatterPoint>,
    /// All pairs.
    pub pairs: usize,
    /// Over queries.
    pub pearson: Interval,
    /// Over queries.
    pub spearman: Interval,
    /// Over queries.
    pub slope: Interval,
    /// Of the scores: of others than nats only the order is compared.
    pub unit: String,
    /// Whether heads were fitted again, or else models trained.
    pub of_heads: bool,
    /// Whether an image's loss alone was left out of a training.
    pub losses_alone: bool,
    /// Queries.
    pub queries: usize,
    /// Images left out.
    pub images: usize,
}

/// A query and an image that was left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScatterPoint {
    /// The query's id.
    pub query: usize,
    /// The id of the image that was left out.
    pub train: usize,
    /// What the score says, in its unit.
    pub predicted: f64,
    /// What fitting or training again measured, in nats.
    pub actual: f64,
}

/// One row of the table.
#[derive(Serialize)]
struct Row<'a> {
    query: usize,
    train: usize,
    predicted_rise: f64,
    actual_rise: f64,
    unit: &'static str,
    predicted_unit: &'a str,
}

impl LeaveOneOut {
    /// From changes `[query, image]`, and the ids of queries and images: of scores in nats and heads that were fitted again.
    pub fn of(
        predicted: &Array2<f64>,
        actual: &Array2<f64>,
        (query_ids, train_ids): (&[usize], &[usize]),
        agreement: &Agreement,
    ) -> Self {
        let (queries, images) = actual.dim();
        let pairs = queries * images;
        let kept = pairs.min(POINTS);
        // Drawn at random: even steps through the pairs would meet the same few images in every row.
        let mut drawn = sample(&mut generator(Purpose::Thinning, 0, 0, 0), pairs, kept).into_vec();
        drawn.sort_unstable();
        let point = |at: usize| {
            let (query, image) = (at / images, at % images);
            ScatterPoint {
                query: query_ids[query],
                train: train_ids[image],
                predicted: predicted[[query, image]],
                actual: actual[[query, image]],
            }
        };
        Self {
            points: drawn.into_iter().map(point).collect(),
            pairs,
            pearson: agreement.pearson,
            spearman: agreement.spearman,
            slope: agreement.slope,
            unit: NATS.into(),
            of_heads: true,
            losses_alone: false,
            queries,
            images,
        }
    }

    fn is_in_nats(&self) -> bool {
        self.unit == NATS
    }

    fn note(&self) -> String {
        let words = |interval: &Interval| {
            format!(
                "{:.3} [{:.3}, {:.3}]",
                interval.value, interval.low, interval.high
            )
        };
        let thinned = match self.points.len() < self.pairs {
            true => format!(" {} of {} pairs drawn.", self.points.len(), self.pairs),
            false => String::new(),
        };
        let (what, again) = match (self.losses_alone, self.of_heads) {
            (true, _) => ("image’s loss", "trained again without, in the same batches"),
            (false, true) => ("image", "fitted again without"),
            (false, false) => ("image", "trained again without"),
        };
        let slope = format!(
            "; slope of predicted on actual, of all queries together, each about its own means, {}",
            words(&self.slope)
        );
        let other = format!("Scores are in another unit ({}).", self.unit);
        let (sizes, slope) = match self.is_in_nats() {
            true => ("Line: equal.", &*slope),
            false => (&*other, ""),
        };
        format!(
            "Rise of a query’s loss when one training {what} is left out, {} images {again}, {} queries. {sizes} With \
             95 % bootstrap intervals, means over queries of Pearson {} and Spearman {}{slope}.{thinned}",
            self.images,
            self.queries,
            words(&self.pearson),
            words(&self.spearman),
        )
    }
}

impl Figure for LeaveOneOut {
    fn title(&self) -> String {
        "Predicted and actual change of the loss when one training image is left out".into()
    }

    fn caption(&self) -> String {
        self.note()
    }

    fn check(&self) -> Result<()> {
        finite(
            "leave-one-out",
            self.points.iter().flat_map(|p| [p.predicted, p.actual]),
        )
    }

    fn size(&self, _: Style) -> (f64, f64) {
        let note = Note::of(&self.note(), WIDTH).height();
        (WIDTH, 2.0 * MARGIN + TITLE + CHART + note + 1.0)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        let frame = Frame {
            left: MARGIN,
            width: WIDTH - 2.0 * MARGIN,
            height: CHART,
            title: "One image left out",
            x: "Actual rise of the loss (nats)",
            y: match self.is_in_nats() {
                true => "Predicted (nats)",
                false => "Score",
            },
        };
        let across = ends(self.points.iter().map(|point| point.actual));
        let up = ends(self.points.iter().map(|point| point.predicted));
        let across_axis = Axis::numbers(across.0, across.1);
        let label = across_axis.label();
        let chart = frame.draw(sheet, (across_axis, label), Axis::numbers(up.0, up.1))?;
        let area = chart.plotting_area();
        let (low, high) = (across.0.max(up.0), across.1.min(up.1));
        if self.is_in_nats() && low < high {
            let line = [low, high].map(|value| area.map_coordinate(&(value, value)));
            sheet.line(line.to_vec(), 0.7, QUIET)?;
        }
        for point in &self.points {
            let (x, y) = area.map_coordinate(&(point.actual, point.predicted));
            let half = dots(0.3 * sheet.style().marker());
            let corners = vec![(x - half, y), (x, y - half), (x + half, y), (x, y + half)];
            sheet.shape(corners, colour(0))?;
        }
        let top = MARGIN + TITLE + CHART + 0.1 * LABELS_BELOW;
        Note::of(&self.note(), WIDTH).draw(sheet, top)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        self.points.iter().try_for_each(|point| {
            rows.serialize(Row {
                query: point.query,
                train: point.train,
                predicted_rise: point.predicted,
                actual_rise: point.actual,
                unit: NATS,
                predicted_unit: &self.unit,
            })
        })
    }
}
