//! What happens to the mean loss without each group of training images, and what the scores predicted.

use super::{LABELS_BELOW, MARGIN, Note, POINTS, TITLE, draw_mesh, draw_title, ends, finite};
use crate::Result;
use crate::evaluate::{GroupLeftOut, GroupsLeftOut, Interval};
use crate::figure::axis::Axis;
use crate::figure::palette::{INK, QUIET, colour};
use crate::figure::sheet::{DOTS_PER_MM, dots};
use crate::figure::text::{Align, Text, distinct, text_width};
use crate::figure::{Drawn, Figure, Sheet, Style};
use crate::influence::NATS;
use plotters::prelude::*;
use serde::Serialize;

/// The run's own estimator among the predictions.
const RUN: &str = "run";
/// Groups that are drawn at most, those whose absence changes most; the table has all.
const DRAWN: usize = 30;
const WIDTH: f64 = 130.0;
const NAMES: f64 = 46.0;
const ROW: f64 = 4.8;
const KEY: f64 = 5.0;

/// The groups of an evaluation, as a figure.
pub struct GroupEffects {
    /// What was measured.
    pub found: GroupsLeftOut,
}

/// One row of the table.
#[derive(Serialize)]
struct Row<'a> {
    group: &'a str,
    images: usize,
    predicted_rise: Option<f64>,
    actual_rise: f64,
    low: Option<f64>,
    high: Option<f64>,
    right: Option<f64>,
    right_change: Option<f64>,
    unit: &'static str,
}

/// Nothing where the run's scores are not in nats.
fn predicted(group: &GroupLeftOut) -> Option<f64> {
    group.predicted.get(RUN).copied()
}

impl GroupEffects {
    fn predicts(&self) -> bool {
        self.found.groups.iter().any(|it| predicted(it).is_some())
    }

    /// Nothing of one query.
    fn interval(&self, group: &GroupLeftOut) -> Option<Interval> {
        group.actual.over(self.found.queries)
    }

    /// What is drawn, the group whose absence costs most first.
    fn drawn(&self) -> Vec<&GroupLeftOut> {
        let mut groups: Vec<&GroupLeftOut> = self.found.groups.iter().collect();
        let rise = |group: &GroupLeftOut| group.actual.value;
        groups.sort_by(|a, b| rise(b).abs().total_cmp(&rise(a).abs()));
        groups.truncate(DRAWN);
        groups.sort_by(|a, b| rise(b).total_cmp(&rise(a)));
        groups
    }

    fn note(&self) -> String {
        let (all, drawn) = (self.found.groups.len(), self.found.groups.len().min(DRAWN));
        let thinned = match drawn < all {
            true => format!(" The {drawn} of {all} groups that change most."),
            false => String::new(),
        };
        let queries = self.found.queries;
        let said = |is_so: bool, words: &'static str| if is_so { words } else { "" };
        let keep_weight = self.found.of_heads || self.found.losses_alone;
        let weight = said(keep_weight, ", the others keeping their weight");
        let interval = said(
            queries > 1,
            ", with the 95 % bootstrap interval over queries",
        );
        let sum = said(
            self.predicts(),
            ", and as the sum of its images’ scores predicts",
        );
        format!(
            "Rise of the mean loss of {queries} queries when a group of training images is left out{weight}: measured by training \
             again{interval}{sum}.{thinned}"
        )
    }

    fn rows_height(&self) -> f64 {
        self.drawn().len() as f64 * ROW
    }

    /// What the two marks stand for, under the title.
    fn key(&self, sheet: &Sheet) -> Drawn {
        let (mut left, y) = (MARGIN + NAMES, MARGIN + TITLE + KEY / 2.0 - 0.8);
        let marks = ["measured", "predicted"].into_iter().enumerate();
        for (index, words) in marks.take(1 + usize::from(self.predicts())) {
            sheet.marker(index, (dots(left + 1.0), dots(y)), 0.95)?;
            let look = Text::new(POINTS, INK, Align::Left);
            sheet.text(words, (left + 3.0, y), look)?;
            left += 8.0 + text_width(words, POINTS);
        }
        Ok(())
    }
}

impl Figure for GroupEffects {
    fn title(&self) -> String {
        "What happens without groups of training images".into()
    }

    fn caption(&self) -> String {
        let rows = self.drawn().into_iter().map(|group| {
            let ends = self.interval(group);
            let ends = ends.map(|it| format!(" [{:.3}, {:.3}]", it.low, it.high));
            let sum = predicted(group).map(|sum| format!(", predicted {sum:.3}"));
            format!(
                "{} ({} images): {:.3}{}{}",
                group.group,
                group.images,
                group.actual.value,
                ends.unwrap_or_default(),
                sum.unwrap_or_default()
            )
        });
        format!("{} {}.", self.note(), rows.collect::<Vec<_>>().join("; "))
    }

    fn check(&self) -> Result<()> {
        let values = self.found.groups.iter().flat_map(|group| {
            let actual = group.actual;
            let measured = [actual.value, actual.low, actual.high];
            measured.into_iter().chain(predicted(group))
        });
        finite("groups left out", values)
    }

    fn size(&self, _: Style) -> (f64, f64) {
        let note = Note::of(&self.note(), WIDTH).height();
        let chart = KEY + self.rows_height() + LABELS_BELOW;
        (WIDTH, 2.0 * MARGIN + TITLE + chart + note + 1.0)
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        let groups = self.drawn();
        draw_title(sheet, MARGIN, &["Without a group of training images"])?;
        self.key(sheet)?;
        let top = MARGIN + TITLE + KEY;
        let (height, left) = (self.rows_height() + LABELS_BELOW, MARGIN + NAMES);
        let area = sheet.part(left, top, WIDTH - MARGIN - left, height);
        let values = groups.iter().flat_map(|group| {
            let actual = group.actual;
            let measured = [0.0, actual.low, actual.high];
            measured.into_iter().chain(predicted(group))
        });
        let (low, high) = ends(values);
        let across = Axis::numbers(low, high);
        let label = across.label();
        let places: Vec<f64> = (0..groups.len()).map(|place| place as f64).collect();
        let mut chart = ChartBuilder::on(&area)
            .set_label_area_size(LabelAreaPosition::Bottom, dots(LABELS_BELOW))
            .margin_right(dots(1.5))
            .build_cartesian_2d(across, Axis::categories(&places))?;
        let nothing = |_: &f64| String::new();
        let described = "Rise of the mean loss without it (nats)";
        draw_mesh(sheet, &mut chart, (described, &label), ("", &nothing))?;
        let area = chart.plotting_area();
        let last = groups.len().saturating_sub(1);
        let place = |row: usize, value: f64| area.map_coordinate(&(value, (last - row) as f64));
        let ends = [-0.5, last as f64 + 0.5].map(|up| area.map_coordinate(&(0.0, up)));
        sheet.line(ends.to_vec(), 0.7, QUIET)?;
        let names: Vec<&str> = groups.iter().map(|group| group.group.as_str()).collect();
        let names = distinct(&names, POINTS, NAMES - 3.0);
        for (row, (group, name)) in groups.iter().zip(&names).enumerate() {
            if let Some(Interval { low, high, .. }) = self.interval(group) {
                sheet.line(vec![place(row, low), place(row, high)], 0.9, colour(0))?;
            }
            sheet.marker(0, place(row, group.actual.value), 0.95)?;
            if let Some(sum) = predicted(group) {
                sheet.marker(1, place(row, sum), 0.95)?;
            }
            let y = f64::from(place(row, 0.0).1) / DOTS_PER_MM;
            let look = Text::new(POINTS, INK, Align::Right);
            sheet.text(name, (left - 1.5, y), look)?;
        }
        Note::of(&self.note(), WIDTH).draw(sheet, top + height + 0.8)
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        self.found.groups.iter().try_for_each(|group| {
            rows.serialize(Row {
                group: &group.group,
                images: group.images,
                predicted_rise: predicted(group),
                actual_rise: group.actual.value,
                low: self.interval(group).map(|it| it.low),
                high: self.interval(group).map(|it| it.high),
                right: group.correct.map(|share| share.value),
                right_change: group.correct_change.map(|change| change.value),
                unit: NATS,
            })
        })
    }
}
