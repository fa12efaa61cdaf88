//! The figures of the paper, by the article's numbers (`docs/paper.md` has those of its first version), one file each, drawn from plain
//! records.
//!
//! A figure is a record: a serialisable struct without tensors that holds exactly the numbers that are drawn.
//! [`write()`] leaves up to three files of one name: `.svg` and `.png`, made by the same drawing code, and `.csv` with the
//! data behind them, one row for each value drawn.
//!
//! | figure | record | drawn from |
//! |---|---|---|
//! | 1, 2, blocks, epsilon | [`TransferAccuracy`] | `results.parquet` of a study |
//! | 4 | [`LossSensitivity`] | a model and images |
//! | 5 | [`HelpfulExamples`] | `rankings.parquet` and the images |
//! | 6 | [`ClassMatch`] | `rankings.parquet` and `train_rankings.parquet` |
//! | influence matrix | [`InfluenceMatrix`] | `scores.npy` and `train_scores.npy` |
//! | leave-one-out, groups, removal, quality and cost | [`LeaveOneOut`], [`GroupEffects`], [`RemovalCurves`], [`QualityAndCost`] | a run of `ascribe evaluate` |
//! | damping path | [`DampingPath`](crate::influence::DampingPath) | a run of `ascribe rank --damping-path` |
//!
//! A new figure is one file with a record that implements [`Figure`], and one line here.
//!
//! Lengths are millimetres on the printed page: a full width of 180 mm, text of at least 7 pt. For screens the same is drawn
//! on a smaller sheet, which makes everything larger ([`Style`]). Colours are those of Okabe and Ito (2008), which
//! colour-blind readers can tell apart; every distinction is also made by a marker or a frame.

mod axis;
mod canvas;
mod chart;
mod class_match;
mod damping_path;
mod evaluation;
mod helpful_examples;
mod image_grid;
mod influence_matrix;
mod letters;
mod loss_sensitivity;
mod note;
mod palette;
mod picture;
mod render;
mod sheet;
mod style;
mod text;
mod transfer_accuracy;

pub use canvas::CanvasError;
pub use class_match::{ClassMatch, Curve, ModelRankings, Pair, Panel, Point, QuerySet};
pub use evaluation::{
    GroupEffects, LeaveOneOut, PlacedEstimator, QualityAndCost, RemovalCurves, ScatterPoint,
};
pub use helpful_examples::{
    HelpfulExample, HelpfulExamples, MOST_QUERIES, ModelExamples, ModelImages, QueryExample,
    one_per_class,
};
pub use influence_matrix::{InfluenceMatrix, MatrixPanel, MatrixQueries, ModelScores};
pub use loss_sensitivity::{LossSensitivity, ModelSensitivity, SensitivityMap};
pub use picture::Picture;
pub use render::{Format, render};
pub use sheet::{Drawn, Sheet};
pub use style::Style;
pub use transfer_accuracy::{Share, TransferAccuracy};

use self::render::render_noting;
use crate::artefact::write_atomically;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A record that can be drawn.
pub trait Figure {
    /// What the figure is called, in a few words: the title of the SVG.
    fn title(&self) -> String;

    /// What is drawn, with sign and unit, and its main numbers: the description of the SVG.
    fn caption(&self) -> String;

    /// How what is drawn differs, where that is told in words alone: for the record beside the figure.
    fn differences(&self) -> Option<serde_json::Value> {
        None
    }

    /// Whether the record can be drawn.
    ///
    /// # Errors
    /// It is empty, its parts do not fit together, or a number in it is not finite.
    fn check(&self) -> Result<()>;

    /// Width and height of the sheet in a style, in millimetres.
    fn size(&self, style: Style) -> (f64, f64);

    /// Draws the record, which has passed [`check`](Self::check), on a white sheet of [`size`](Self::size) in its style.
    ///
    /// # Errors
    /// The back end's.
    fn draw(&self, sheet: &Sheet) -> Drawn;

    /// The data that is drawn: a header, then one row for each value.
    ///
    /// # Errors
    /// The writer's.
    fn table(&self, rows: &mut csv::Writer<Vec<u8>>) -> csv::Result<()>;
}

/// What [`write()`] left.
#[derive(Debug)]
pub struct Written {
    /// The pictures, in the order of their formats, and the table.
    pub files: Vec<PathBuf>,
    /// Words with letters that the font of a PNG lacks, which has boxes for them; an SVG has them as text.
    pub boxed: BTreeSet<String>,
}

/// Writes `stem.csv` and the figure in a style as `stem.svg`, `stem.png` into `folder`, which is made where it is missing;
/// each file whole or not at all. The CSV is the same in every style.
///
/// # Errors
/// As [`Figure::check`]; or the folder cannot be written.
pub fn write(
    figure: &dyn Figure,
    folder: &Path,
    stem: &str,
    formats: &[Format],
    style: Style,
) -> Result<Written> {
    figure.check()?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let table = folder.join(format!("{stem}.csv"));
    write_atomically(&table, &csv_bytes(figure, &table)?)?;
    let (mut files, mut boxed) = (Vec::new(), BTreeSet::new());
    for format in formats {
        let path = folder.join(format!("{stem}.{format}"));
        let picture = render_noting(figure, *format, style, &path, &mut boxed)?;
        write_atomically(&path, &picture)?;
        files.push(path);
    }
    files.push(table);
    Ok(Written { files, boxed })
}

fn csv_bytes(figure: &dyn Figure, path: &Path) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::io(path, "write")(std::io::Error::other(reason));
    let mut rows = csv::Writer::from_writer(Vec::new());
    figure
        .table(&mut rows)
        .map_err(|reason| failed(reason.to_string()))?;
    rows.into_inner()
        .map_err(|reason| failed(reason.to_string()))
}
