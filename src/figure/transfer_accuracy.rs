//! Figures 1 and 2: test accuracy of transferred models against the number of training images or the epoch, and the
//! difference to the natural source, paired by seed; the same against fine-tuned blocks or ε.
//!
//! Utrera et al. (2020), figures 1 (few images) and 2 (few epochs). One colour for each target set and one marker for each
//! source, hollow lines for target sets after all colours and hollow markers for sources after all shapes; of a single target set and more
//! than two sources a colour and a marker for each source. The natural source is dashed. Bands are 95 % bootstrap intervals of the mean
//! over seeds.

mod drawing;
mod legend;
#[cfg(test)]
mod tests;

use self::legend::Look;
use super::{Drawn, Figure, Sheet, Style};
use crate::study::{Curve, Summary, Variable};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// The curves of a study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransferAccuracy {
    /// Means and differences.
    pub summary: Summary,
    /// Of a study that is not finished, how much of it there is.
    #[serde(default)]
    pub share: Option<Share>,
}

/// A part of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Finished runs.
    pub finished: usize,
    /// All of them.
    pub runs: usize,
}

/// One row of the table.
#[derive(Serialize)]
struct Row<'a> {
    panel: &'a str,
    target: &'a str,
    source: &'a str,
    minus: &'a str,
    variable: Variable,
    at: &'a str,
    seeds: usize,
    value: f64,
    low: Option<f64>,
    high: Option<f64>,
}

impl TransferAccuracy {
    fn panels(&self) -> [(&'static str, &[Curve]); 2] {
        [
            ("a", &self.summary.accuracy),
            ("b", &self.summary.difference),
        ]
    }

    /// The target set or source that the second panel takes off.
    fn compared_with(&self) -> Option<&str> {
        let summary = &self.summary;
        summary.against.as_deref().or(summary.natural.as_deref())
    }

    /// Whether sources stand on the axis by their radii, and not by their names.
    fn has_radii(&self) -> bool {
        let is_radius = |label: &str| {
            let number = ["L2 ", "L∞ "]
                .iter()
                .find_map(|norm| label.strip_prefix(norm));
            number.is_some() || label.parse::<f64>().is_ok()
        };
        let points = (self.summary.accuracy.iter()).flat_map(|curve| &curve.points);
        points.map(|point| &*point.label).all(is_radius)
    }

    fn axis_name(&self) -> &'static str {
        match self.summary.variable {
            Variable::Images => "Training images",
            Variable::Epoch => "Epoch",
            Variable::Blocks => "Fine-tuned blocks besides the head",
            Variable::Epsilon if self.has_radii() => "ε of the source (0: natural)",
            Variable::Epsilon => "Source",
        }
    }

    /// What is drawn, below the panels.
    fn note(&self) -> String {
        let (least, most) = seeds_of(&self.summary.accuracy);
        let curves = self.panels().into_iter().flat_map(|(_, curves)| curves);
        let points = curves.flat_map(|curve| &curve.points);
        let of_bands = points.map(|point| point.seeds).filter(|seeds| *seeds > 1);
        // By simulation of normal accuracies.
        let few = match of_bands.min() {
            Some(2) => " (narrow for few: of 3 they hold the mean in 74 %, of 2 in fewer)",
            Some(3 | 4) => " (narrow for few: of 3 they hold the mean in 74 %, of 5 in 84 %)",
            Some(5..=10) => " (narrow for few: of 5 they hold the mean in 84 %, of 10 in 89 %)",
            _ => "",
        };
        let seeds = match (least, most) {
            (1, 1) => "One seed, and so no bands.".to_owned(),
            (least, most) if least == most => {
                format!("Means over {most} seeds; bands: 95 % bootstrap intervals over seeds{few}.")
            }
            (1, most) => format!(
                "Means over 1 to {most} seeds; bands: 95 % bootstrap intervals over seeds, none where there is one{few}."
            ),
            (least, most) => format!(
                "Means over {least} to {most} seeds; bands: 95 % bootstrap intervals over seeds{few}."
            ),
        };
        let fixed = (self.summary.fixed.iter())
            .map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("blocks", "0") => "the head alone".to_owned(),
                ("blocks", "all") => "all blocks".to_owned(),
                ("blocks", "1") => "head and 1 block".to_owned(),
                ("blocks", blocks) => format!("head and {blocks} blocks"),
                (name, "1") => format!("1 {}", name.strip_suffix('s').unwrap_or(name)),
                (_, value) => format!("{value} {name}"),
            })
            .collect::<Vec<_>>()
            .join(", ");
        let difference = match self.compared_with() {
            Some(other) if !self.summary.difference.is_empty() => {
                let pairs = match seeds_of(&self.summary.difference) {
                    pairs if pairs == (least, most) => String::new(),
                    (1, 1) => " (1 pair)".to_owned(),
                    (one, same) if one == same => format!(" ({same} pairs)"),
                    (few, many) => format!(" ({few} to {many} pairs)"),
                };
                format!(
                    " (b) Difference to {other}, run by run of the same seed{pairs}, in percentage points."
                )
            }
            _ => String::new(),
        };
        let diverged = match self.summary.diverged {
            0 => String::new(),
            1 => " 1 run whose loss stopped being finite is left out.".into(),
            count => format!(" {count} runs whose loss stopped being finite are left out."),
        };
        let apart = match &self.summary.apart[..] {
            [] => String::new(),
            names => format!(
                " Measured on other test images, and not compared: {}.",
                names.join(", ")
            ),
        };
        let share = (self.share).map_or_else(String::new, |Share { finished, runs }| {
            format!(" The study is not finished: {finished} of {runs} runs.")
        });
        let repeats = Look::of(self).repeats();
        format!("{seeds} Fine-tuned: {fixed}.{difference}{apart}{diverged}{share}{repeats}")
    }
}

/// The fewest and the most seeds behind a point.
fn seeds_of(curves: &[Curve]) -> (usize, usize) {
    let seeds = (curves.iter())
        .flat_map(|curve| &curve.points)
        .map(|point| point.seeds);
    seeds.fold((usize::MAX, 0), |(least, most), seeds| {
        (least.min(seeds), most.max(seeds))
    })
}

/// A percentage without what rounding added on the way, as to 0.29 times 100, which comes to 28.999999999999996.
fn clean(percent: f64) -> f64 {
    // Not −0, which would be written so.
    (1e10 * percent).round() / 1e10 + 0.0
}

impl Figure for TransferAccuracy {
    fn title(&self) -> String {
        let along = match self.summary.variable {
            Variable::Images => "number of training images",
            Variable::Epoch => "epoch",
            Variable::Blocks => "number of fine-tuned blocks",
            Variable::Epsilon => "ε of the source model",
        };
        format!("Test accuracy of transferred models by {along}")
    }

    fn caption(&self) -> String {
        let last = |curve: &Curve| {
            let point = curve.points.last()?;
            let source = match curve.source.as_str() {
                "" => String::new(),
                source => format!(", {source}"),
            };
            let interval = point
                .interval()
                .map(|interval| format!(" ({:.1} to {:.1})", interval.low, interval.high));
            Some(format!(
                "{}{source} at {}: {:.1}{}",
                curve.target,
                point.label,
                point.value.value,
                interval.unwrap_or_default()
            ))
        };
        let listed = |curves: &[Curve]| {
            let all: Vec<String> = curves.iter().filter_map(last).collect();
            all.join("; ")
        };
        let mut caption = format!(
            "{} Accuracy in percent: {}.",
            self.note(),
            listed(&self.summary.accuracy)
        );
        if !self.summary.difference.is_empty() {
            caption += &format!(" Differences: {}.", listed(&self.summary.difference));
        }
        caption
    }

    fn check(&self) -> Result<()> {
        let points = || {
            let panels = self.panels().into_iter();
            panels
                .flat_map(|(_, curves)| curves)
                .flat_map(|curve| &curve.points)
        };
        if points().next().is_none() {
            let remedy = "run ascribe study again, or select other rows";
            return Err(Error::mismatch("curves", "at least one", "none", remedy));
        }
        let sound = |value: f64| value.is_finite();
        let all_sound =
            points().all(|it| sound(it.value.value) && sound(it.value.low) && sound(it.value.high));
        match all_sound {
            true => Ok(()),
            false => {
                let remedy = "run ascribe study again";
                Err(Error::non_finite("curves", "some point", remedy))
            }
        }
    }

    fn size(&self, style: Style) -> (f64, f64) {
        drawing::size(self, style)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        drawing::draw(self, sheet)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        let other = self.compared_with().unwrap_or("");
        for (panel, curves) in self.panels() {
            for curve in curves {
                for point in &curve.points {
                    rows.serialize(Row {
                        panel,
                        target: &curve.target,
                        source: &curve.source,
                        minus: if panel == "b" { other } else { "" },
                        variable: self.summary.variable,
                        at: &point.label,
                        seeds: point.seeds,
                        value: clean(point.value.value),
                        low: point.interval().map(|interval| clean(interval.low)),
                        high: point.interval().map(|interval| clean(interval.high)),
                    })?;
                }
            }
        }
        Ok(())
    }
}
