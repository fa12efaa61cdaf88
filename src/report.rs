//! The audit: a page that a person reads, written from plain records.
//!
//! | what | where |
//! |---|---|
//! | the page with its style and its program | `index.html` |
//! | data in pieces, each loaded when it is needed | `data/NAME.js` |
//! | thumbnails in sheets | `images/NAME-N.png` |
//! | what it lists of training images and of what was measured, for programs | `training_images.csv`, `duplicates.csv`, `measured.csv` |
//!
//! The folder works from a disk, without a server and offline, and nothing in it asks for anything outside it. Embedded, all
//! of that is in `index.html` alone. Text of data sets is set as text by the program and by the template engine, never as
//! markup.
//!
//! Nothing is computed here: what a page shows is in the [`Audit`].

mod page;
mod pieces;
mod record;
mod sheets;
mod tables;
#[cfg(test)]
mod tests;

pub use record::{
    Absence, Audit, AuditedModel, ClassMatchCurve, Compared, Confusion, Duplicates, Fact, Flip,
    LabelledImage, Likeness, MeasuredGroup, ModelQuery, ModelTrainingImage, PairedQueries,
    Quantity, Ranked, Removal, Statement, Tone, TrainingData, TrainingGroup,
};
pub use sheets::Layout;
pub use tables::write_tables;

use crate::artefact::write_atomically;
use crate::data::Image;
use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use page::Page;
use pieces::pieces;
use std::path::Path;

/// Gives the image at a position of a list.
pub type GetImage<'a> = dyn Fn(usize) -> Result<Image> + 'a;

/// A list of images for the page.
pub struct Pictures<'a> {
    /// How they lie on sheets.
    pub layout: Layout,
    /// The images themselves.
    pub get: &'a GetImage<'a>,
}

/// Writes the page into `folder`; with `embed` all of it into `index.html`.
///
/// `pictures` are those the page knows by name: `test` (the queries), `train`, and `sensitivity-N` (the queries' loss
/// sensitivity at model N); where one is missing the page shows numbers instead.
///
/// # Errors
/// A record whose lists do not fit each other, an image that cannot be read, or a file that cannot be written.
pub fn write(audit: &Audit, pictures: &[Pictures], embed: bool, folder: &Path) -> Result<()> {
    check(audit)?;
    let layouts: Vec<Layout> = pictures.iter().map(|list| list.layout.clone()).collect();
    let mut page = Page::new(audit);
    let create = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(&path).map_err(Error::io(&path, "create"))
    };
    if !embed {
        create("data")?;
        create("images")?;
    }
    for piece in pieces(audit, &layouts) {
        let path = folder.join("data").join(format!("{}.js", piece.name));
        let script = piece.script(&path)?;
        match embed {
            true => page.embed_script(script),
            false => write_atomically(&path, script.as_bytes())?,
        }
    }
    for list in pictures {
        for sheet in 0..list.layout.sheets() {
            let name = format!("{}-{sheet}", list.layout.name);
            let path = folder.join("images").join(format!("{name}.png"));
            let png = list.layout.sheet(sheet, &path, list.get)?;
            match embed {
                true => page.embed_image(&name, &STANDARD.encode(png)),
                false => write_atomically(&path, &png)?,
            }
        }
    }
    let path = folder.join("index.html");
    write_atomically(&path, page.html(&path)?.as_bytes())
}

/// Whether every list is as long as the one it belongs to, and every position within its list.
fn check(audit: &Audit) -> Result<()> {
    let wrong = |what: String, expected: usize, found: usize| {
        Error::mismatch(what, expected, found, "make the record again")
    };
    let (queries, training) = (audit.queries.len(), audit.training.len());
    let classes = audit.classes.len();
    let within = |what: &str, position: usize, count: usize| match position < count {
        true => Ok(()),
        false => Err(wrong(format!("audit: {what} below"), count, position)),
    };
    for image in audit.queries.iter().chain(&audit.training) {
        within("a label", image.label, classes)?;
    }
    within("a model", audit.compared.model, audit.models.len())?;
    for group in &audit.duplicates {
        group
            .training
            .iter()
            .try_for_each(|&at| within("a training image", at, training))?;
        group
            .queries
            .iter()
            .try_for_each(|&at| within("a query", at, queries))?;
    }
    for model in &audit.models {
        if model.queries.len() != queries {
            return Err(wrong(
                format!("queries of {}", model.name),
                queries,
                model.queries.len(),
            ));
        }
        if model.training.len() != training {
            let found = model.training.len();
            return Err(wrong(
                format!("training images of {}", model.name),
                training,
                found,
            ));
        }
        for image in model.training.iter().flatten() {
            within("a label", image.label.max(image.prediction), classes)?;
        }
        for query in &model.queries {
            within("a prediction", query.prediction, classes)?;
            if query.probabilities.len() != classes {
                let what = format!("probabilities of a query of {}", model.name);
                return Err(wrong(what, classes, query.probabilities.len()));
            }
            check_ranked(query.helpful.iter().chain(&query.harmful), training)?;
        }
        for cell in &model.confusions {
            within("a prediction", cell.prediction.max(cell.label), classes)?;
            cell.queries
                .iter()
                .try_for_each(|&at| within("a query", at, queries))?;
            check_ranked(cell.helpful.iter().chain(&cell.harmful), training)?;
        }
    }
    Ok(())
}

fn check_ranked<'a>(images: impl Iterator<Item = &'a Ranked>, training: usize) -> Result<()> {
    for image in images {
        if image.train >= training {
            let what = "audit: a training image below";
            return Err(Error::mismatch(
                what,
                training,
                image.train,
                "make the record again",
            ));
        }
        if !image.score.is_finite() {
            let place = format!("training image {}", image.train);
            let remedy = "run ascribe rank again";
            return Err(Error::non_finite("audit: score", place, remedy));
        }
    }
    Ok(())
}
