//! How well a model predicts a test set, clean and under attack.

use super::Report;
use crate::artefact::Input;
use crate::cli::adversary_options::AttackedPerformance;
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
    let named = data.has_class_names();
    if let Some(words) = by_position(model.classes(), (data.classes(), named)) {
        note!("ascribe: {words}");
    }
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

/// That classes which agree are matched by their position, in words; nothing where their names are the same.
fn by_position(own: &[String], (theirs, named): (&[String], bool)) -> Option<String> {
    let (one, other) = own.iter().zip(theirs).find(|(one, other)| one != other)?;
    let numbered = if named { "model" } else { "test set" };
    Some(format!(
        "the classes of the {numbered} are numbers, so that they are matched by their position: {other} of the test set with {one} of the model"
    ))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::numbered;

    #[test]
    fn classes_that_no_name_tells_apart_are_said_to_be_matched_by_position() {
        let names = ["cat", "dog", "eel"].map(str::to_owned);
        assert_eq!(by_position(&names, (&names, true)), None);
        // Numbers are compared as numbers, of however many classes.
        assert_eq!(by_position(&numbered(3), (&numbered(2), false)), None);
        let told = by_position(&numbered(3), (&names, true)).unwrap();
        assert!(
            told.starts_with("the classes of the model are numbers"),
            "{told}"
        );
        assert!(
            told.ends_with(": cat of the test set with 0 of the model"),
            "{told}"
        );
        let told = by_position(&names, (&numbered(2), false)).unwrap();
        assert!(
            told.starts_with("the classes of the test set are numbers"),
            "{told}"
        );
        assert!(
            told.ends_with(": 0 of the test set with cat of the model"),
            "{told}"
        );
        // Folders by their names, as text.
        let folders = ["0", "10", "2"].map(str::to_owned);
        let told = by_position(&numbered(3), (&folders, true)).unwrap();
        assert!(
            told.ends_with(": 10 of the test set with 1 of the model"),
            "{told}"
        );
    }
}
