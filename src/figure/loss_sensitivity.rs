//! Figure 4: to which pixels of a test image its loss is sensitive, by each model.
//!
//! Below every image, model by model, the gradient of its loss with respect to its pixels, clipped at ±3 standard deviations
//! of its own values and scaled so that grey is no response ([`sensitivity`](crate::audit::sensitivity)). Each picture has its
//! own scale, which the CSV gives: the pictures show where, not how much.
//!
//! Utrera et al. (2020, figure 4) show one image of ImageNet; the recipe is that of Tsipras et al. (2019).

use super::image_grid::{COLUMNS, Cells, ImageGrid, ROW_GAP, Shown};
use super::note::of_predicted;
use super::{Drawn, Figure, MOST_QUERIES, Picture, QueryExample, Sheet, Style};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What is said below the images.
const NOTE: &str = "Top: test images. Below: how the loss of each responds to its pixels by each model, red, green and blue, \
    clipped at ±3 standard deviations; grey: no response. Each picture has a scale of its own.";

/// Test images with their loss sensitivity by each model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossSensitivity {
    /// From left to right.
    pub queries: Vec<QueryExample>,
    /// From top to bottom.
    pub models: Vec<ModelSensitivity>,
}

/// One model's pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSensitivity {
    /// The model's name.
    pub model: String,
    /// Whether test images count as images of the class that it predicts.
    #[serde(default)]
    pub predicted: bool,
    /// One for each query, in their order.
    pub maps: Vec<SensitivityMap>,
}

/// One model's response to one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SensitivityMap {
    /// The image's loss in nats.
    pub loss: f64,
    /// Three standard deviations: what white and black stand for, in nats for a pixel going from 0 to 1.
    pub limit: f64,
    /// 128 is no response.
    pub picture: Picture,
}

#[derive(Debug, Serialize)]
struct Row<'a> {
    class: usize,
    query: usize,
    query_label: &'a str,
    model: &'a str,
    loss_nats: f64,
    three_deviations_nats_per_unit_pixel: f64,
    /// In figures where some are.
    #[serde(skip_serializing_if = "Option::is_none")]
    query_class_predicted: Option<bool>,
}

impl Figure for LossSensitivity {
    fn title(&self) -> String {
        "To which pixels the loss is sensitive".into()
    }

    fn caption(&self) -> String {
        self.note()
    }

    fn check(&self) -> Result<()> {
        let count = self.queries.len();
        let fits = self.models.iter().all(|model| model.maps.len() == count);
        if count == 0 || count > MOST_QUERIES || self.models.is_empty() || !fits {
            let expected =
                format!("1 to {MOST_QUERIES} queries and a picture of each by each model");
            let found = format!("{count} queries and {} models", self.models.len());
            return Err(Error::mismatch(
                "figure of sensitivity",
                expected,
                found,
                "choose other queries or runs",
            ));
        }
        for query in &self.queries {
            query.picture.check(&format!("query {}", query.query))?;
        }
        for model in &self.models {
            for (map, query) in model.maps.iter().zip(&self.queries) {
                map.picture
                    .check(&format!("query {} by {}", query.query, model.model))?;
                if !(map.loss.is_finite() && map.limit.is_finite()) {
                    let what = format!("loss sensitivity by {}", model.model);
                    let place = format!("query {}", query.query);
                    let remedy = "look at the model with ascribe inspect";
                    return Err(Error::non_finite(what, place, remedy));
                }
            }
        }
        Ok(())
    }

    fn size(&self, style: Style) -> (f64, f64) {
        self.grid(style, &self.note()).size()
    }

    fn draw(&self, sheet: &Sheet) -> Drawn {
        let (cells, note) = (Cells::of(sheet.style()), self.note());
        let grid = self.grid(sheet.style(), &note);
        grid.draw(sheet, |index, first, top| {
            let model = &self.models[index];
            let shown = Shown {
                name: &model.model,
                words: &["loss", "sensitivity"],
                unit: None,
            };
            let images = top + cells.heading;
            cells.say(sheet, (top, images), &shown)?;
            for (column, map) in model.maps.iter().skip(first).take(COLUMNS).enumerate() {
                let left = cells.left_of(column);
                sheet.picture(&map.picture, left, images, cells.side_pixels);
            }
            Ok(())
        })
    }

    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()> {
        let some_predicted = self.models.iter().any(|model| model.predicted);
        for (at, query) in self.queries.iter().enumerate() {
            for ModelSensitivity {
                model,
                predicted,
                maps,
            } in &self.models
            {
                rows.serialize(Row {
                    class: query.class,
                    query: query.query,
                    query_label: &query.label,
                    model,
                    loss_nats: maps[at].loss,
                    three_deviations_nats_per_unit_pixel: maps[at].limit,
                    query_class_predicted: some_predicted.then_some(*predicted),
                })?;
            }
        }
        Ok(())
    }
}

impl LossSensitivity {
    fn note(&self) -> String {
        let models = self.models.iter();
        match of_predicted(models.map(|model| (&*model.model, model.predicted))) {
            None => NOTE.to_owned(),
            Some(of) => {
                format!("{NOTE} The loss of test images{of} is that of their predicted class.")
            }
        }
    }

    fn grid<'a>(&'a self, style: Style, note: &'a str) -> ImageGrid<'a> {
        let cells = Cells::of(style);
        ImageGrid {
            cells,
            queries: &self.queries,
            row: cells.side + ROW_GAP,
            rows: self.models.len(),
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{Format, Style, render};
    use std::path::Path;

    fn figure(queries: usize) -> LossSensitivity {
        let picture = Picture {
            channels: 3,
            height: 2,
            width: 2,
            pixels: (0..12).map(|value| value * 20).collect(),
        };
        let query = |query: usize| QueryExample {
            query,
            class: query % 3,
            label: format!("class {}", query % 3),
            picture: picture.clone(),
        };
        let map = |at: usize| SensitivityMap {
            loss: at as f64,
            limit: 0.5,
            picture: picture.clone(),
        };
        let model = |model: &str| ModelSensitivity {
            model: model.into(),
            predicted: false,
            maps: (0..queries).map(map).collect(),
        };
        LossSensitivity {
            queries: (0..queries).map(query).collect(),
            models: vec![model("natural"), model("robust")],
        }
    }

    #[test]
    fn it_is_drawn_with_a_row_for_each_model_and_picture() {
        let figure = figure(12);
        let mut rows = csv::Writer::from_writer(Vec::new());
        figure.table(&mut rows).unwrap();
        let table = String::from_utf8(rows.into_inner().unwrap()).unwrap();
        assert_eq!(table.lines().count(), 1 + 24);
        assert!(table.contains("2,5,class 2,robust,5.0,0.5"), "{table}");
        for format in [Format::Svg, Format::Png] {
            assert!(
                render(&figure, format, Style::Paper, Path::new("figure4"))
                    .unwrap()
                    .len()
                    > 1000
            );
        }
        // Twelve images are two bands.
        for style in [Style::Paper, Style::Screen] {
            assert!(figure.size(style).1 > 1.7 * self::figure(10).size(style).1);
        }
    }

    #[test]
    fn losses_of_predicted_classes_are_said_to_be() {
        let mut figure = figure(2);
        figure.models[1].predicted = true;
        let expected = " The loss of test images of robust is that of their predicted class.";
        assert!(figure.caption().ends_with(expected));
        figure.models[0].predicted = true;
        let expected = " The loss of test images is that of their predicted class.";
        assert!(figure.caption().ends_with(expected));
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        assert!(figure(0).check().is_err());
        let mut short = figure(3);
        short.models[1].maps.truncate(2);
        assert!(short.check().is_err());
        let mut broken = figure(3);
        broken.models[0].maps[1].limit = f64::NAN;
        let reason = broken.check().unwrap_err().to_string();
        assert!(
            reason.contains("natural") && reason.contains("query 1"),
            "{reason}"
        );
    }
}
