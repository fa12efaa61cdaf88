//! What is in a features file.

use super::Report;
use super::data_set::{Class, class_lines};
use crate::Result;
use crate::data::{Features, numbered};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A features file in words and numbers.
#[derive(Serialize)]
pub(super) struct FeatureSet {
    kind: &'static str,
    path: PathBuf,
    rows: usize,
    dimension: usize,
    /// Whether the file has class names.
    named: bool,
    classes: Vec<Class>,
    digest: String,
}

pub(super) fn read(path: &Path) -> Result<FeatureSet> {
    let features = Features::open_within(path, Some(0))?;
    let numbers = || numbered(features.class_count());
    Ok(FeatureSet {
        kind: "features",
        rows: features.len(),
        dimension: features.dimension(),
        named: features.classes.is_some(),
        classes: Class::counted(
            features.classes.clone().unwrap_or_else(numbers),
            &features.labels,
        ),
        digest: features.digest.clone(),
        path: features.path,
    })
}

impl Report for FeatureSet {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("features", self.path.display().to_string()),
            (
                "rows",
                format!("{} of {} numbers", self.rows, self.dimension),
            ),
        ];
        lines.extend(class_lines(&self.classes, self.named));
        lines.push(("sha256", self.digest.clone()));
        lines
    }
}
