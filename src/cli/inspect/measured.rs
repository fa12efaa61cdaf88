//! How well a model predicts a test set, clean and under attack.

use super::Report;
use crate::artefact::Input;
use crate::cli::adversary_options::AttackedPerformance;
use crate::cli::class_positions::note_matched_by_position;
use crate::cli::measuring::measured;
use crate::data::{Dataset, Pixels, Transform, are_numbers, subset};
use crate::model::ResNet;
use crate::train::{Attack, Performance, usual_memory_bytes};
use crate::{Error, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What was measured.
#[derive(Serialize)]
pub(super) struct Measured {
    kind: &'static str,
    path: PathBuf,
    test: PathBuf,
    images: usize,
    clean: Performance,
    attacked: Vec<AttackedPerformance>,
}

/// Measures a model of a file on `images` of the data set `test`, balanced over its classes, or on all.
pub(super) fn read(
    (model, file): (ResNet, Input),
    (test, images): (&Path, Option<usize>),
    attacks: Vec<Attack>,
) -> Result<Measured> {
    let path = file.path;
    let data = Dataset::open(test)?;
    check_classes(&model, &path, &data)?;
    note_matched_by_position(&model, &data, "test set");
    let ids = match images {
        Some(images) => subset(data.labels(), data.classes().len(), images, 0)?,
        None => (0..data.len()).collect(),
    };
    let (transform, most) = (Transform::default(), usual_memory_bytes());
    let pixels = Pixels::within(&data, &ids, transform, model.framing(), most)?;
    let clean = measured(&model, &pixels, None)?;
    let attacked = |attack: Attack| {
        let performance = measured(&model, &pixels, Some(&attack))?;
        Ok(AttackedPerformance::new(attack, performance))
    };
    Ok(Measured {
        kind: "measured-model",
        path,
        test: test.to_path_buf(),
        images: ids.len(),
        clean,
        attacked: attacks.into_iter().map(attacked).collect::<Result<_>>()?,
    })
}

/// Classes must be the same where the set names them, and as many as the model's at most where it does not.
fn check_classes(model: &ResNet, path: &Path, data: &Dataset) -> Result<()> {
    let (own, theirs) = (model.classes(), data.classes());
    let agree = match data.has_class_names() {
        true => own.len() == theirs.len() && (are_numbers(own) || own == theirs),
        false => theirs.len() <= own.len(),
    };
    if !agree {
        let listed = |names: &[String]| {
            let first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
            format!("{} classes ({}, …)", names.len(), first.join(", "))
        };
        return Err(Error::mismatch(
            format!("--test: classes of {}", data.path().display()),
            format!("those of {}: {}", path.display(), listed(own)),
            listed(theirs),
            "give a test set of the classes that the model was trained on",
        ));
    }
    Ok(())
}

impl Report for Measured {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let row = |Performance { accuracy, loss }: Performance| {
            format!("accuracy {:.2} %, loss {loss:.4}", 100.0 * accuracy)
        };
        let images = format!("{} of {}", self.images, self.test.display());
        let mut lines = vec![
            ("model", self.path.display().to_string()),
            ("test images", images),
            ("clean", row(self.clean)),
        ];
        let attacked = self.attacked.iter();
        lines.extend(attacked.map(|it| {
            let row = row(it.performance());
            ("attacked", format!("{}: {row}", it.name()))
        }));
        lines
    }
}
