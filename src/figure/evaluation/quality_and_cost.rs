//! How well estimators predict retraining against the seconds they take.

use super::{Frame, MARGIN, Note, TITLE, draw_names, ends, finite, names_height, power};
use crate::Result;
use crate::evaluate::Comparison;
use crate::figure::axis::Axis;
use crate::figure::palette::colour;
use crate::figure::{Drawn, Figure, Sheet, Style};
use serde::{Deserialize, Serialize};

const WIDTH: f64 = 150.0;
const CHART: f64 = 76.0;
/// Beside the chart: the names.
const NAMES: f64 = 36.0;

/// Every estimator's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityAndCost {
    /// Whether subsets were retrained (LDS) or single images left out.
    pub lds: bool,
    /// Retrainings behind every number.
    pub retrainings: usize,
    /// Queries.
    pub queries: usize,
    /// In the order compared.
    pub estimators: Vec<PlacedEstimator>,
}

/// An estimator's cost and quality.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlacedEstimator {
    /// Its name.
    pub name: String,
    /// Mean Spearman correlation over queries.
    pub spearman: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Of computing the scores.
    pub seconds: f64,
    /// Beyond what the process held before, where known.
    pub bytes: Option<u64>,
    /// Share of ranks proven, where asked for.
    pub certified: Option<f64>,
    /// p of the difference to the first estimator.
    pub p_to_first: Option<f64>,
}

impl QualityAndCost {
    /// Of a comparison on subsets (`lds`) or on single images.
    pub fn of(comparison: &Comparison, lds: bool) -> Self {
        let estimators = comparison.rows.iter().map(|row| PlacedEstimator {
            name: row.name.clone(),
            spearman: row.agreement.spearman.value,
            low: row.agreement.spearman.low,
            high: row.agreement.spearman.high,
            seconds: row.seconds,
            bytes: row.bytes,
            certified: row.certified,
            p_to_first: row.minus_first.map(|difference| difference.p),
        });
        Self {
            lds,
            retrainings: comparison.retrainings,
            queries: comparison.queries,
            estimators: estimators.collect(),
        }
    }

    fn quality(&self) -> &'static str {
        if self.lds {
            "LDS (mean Spearman)"
        } else {
            "Leave-one-out (mean Spearman)"
        }
    }

    fn note(&self) -> String {
        let what = match self.lds {
            true => "random subsets",
            false => "training sets without one image",
        };
        format!(
            "Correlation of predicted and actual loss over {} {what}, mean of {} queries, with 95 % bootstrap intervals over both; \
             seconds to compute all scores.",
            self.retrainings, self.queries
        )
    }
}

impl Figure for QualityAndCost {
    fn title(&self) -> String {
        "How well estimators predict retraining, and what they cost".into()
    }

    fn caption(&self) -> String {
        let rows = self.estimators.iter().map(|row| {
            format!(
                "{}: {:.3} [{:.3}, {:.3}] in {:.2} s",
                row.name, row.spearman, row.low, row.high, row.seconds
            )
        });
        format!("{} {}.", self.note(), rows.collect::<Vec<_>>().join("; "))
    }

    fn check(&self) -> Result<()> {
        let values = self.estimators.iter();
        finite(
            "quality and cost",
            values.flat_map(|row| [row.spearman, row.low, row.high, row.seconds]),
        )
    }

    fn size(&self, style: Style) -> (f64, f64) {
        let share = style.shrink(WIDTH);
        let width = share * WIDTH;
        let note = Note::of(&self.note(), width).height();
        let names = names_height(self.estimators.len());
        (
            width,
            2.0 * MARGIN + TITLE + (share * CHART).max(names) + note + 1.0,
        )
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        let share = sheet.style().shrink(WIDTH);
        let width = share * WIDTH;
        let frame = Frame {
            left: MARGIN,
            width: width - 2.0 * MARGIN - NAMES,
            height: share * CHART,
            title: "Quality and cost",
            x: "Seconds",
            y: self.quality(),
        };
        let seconds = ends(self.estimators.iter().map(|row| row.seconds.max(1e-4)));
        let (low, high) = ends(self.estimators.iter().flat_map(|row| [row.low, row.high]));
        let chart = frame.draw(
            sheet,
            (Axis::decades(seconds.0, seconds.1, 8), power),
            Axis::numbers(low.min(0.0), high.max(0.2)),
        )?;
        let area = chart.plotting_area();
        for (index, row) in self.estimators.iter().enumerate() {
            let at = |value: f64| area.map_coordinate(&(row.seconds.max(1e-4).log10(), value));
            sheet.line(vec![at(row.low), at(row.high)], 0.7, colour(index))?;
            sheet.marker(index, at(row.spearman), 0.95)?;
        }
        let left = width - MARGIN - NAMES + 3.0;
        draw_names(sheet, left, self.estimators.iter().map(|row| &*row.name))?;
        let names = names_height(self.estimators.len());
        let top = MARGIN + TITLE + (share * CHART).max(names) + 0.8;
        Note::of(&self.note(), width).draw(sheet, top)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        self.estimators
            .iter()
            .try_for_each(|row| rows.serialize(row))
    }
}
