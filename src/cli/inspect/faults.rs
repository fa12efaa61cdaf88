//! What in a data set cannot be used.

use super::{Checked, Report};
use crate::Result;
use crate::cli::counting::Counting;
use crate::data::faults;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The faults of a data set.
#[derive(Serialize)]
pub(super) struct Faults {
    kind: &'static str,
    path: PathBuf,
    /// Images that were decoded, or could not be.
    images: usize,
    faults: Vec<String>,
}

pub(super) fn read(path: &Path) -> Result<Faults> {
    let counting = Mutex::new(Counting::new("looked at", "images"));
    let (images, faults) = faults(path, &|done, total| {
        // Where another thread shows a later number, this one is of no interest.
        if let Ok(mut counting) = counting.try_lock() {
            counting.show(done, total);
        }
    })?;
    Ok(Faults {
        kind: "data-set-faults",
        path: path.to_path_buf(),
        images,
        faults: faults.iter().map(ToString::to_string).collect(),
    })
}

impl Checked for Faults {
    fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl Report for Faults {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let summary = match self.faults.len() {
            0 => "none; every image decodes".to_owned(),
            count => count.to_string(),
        };
        let mut lines = vec![
            ("data set", self.path.display().to_string()),
            ("images", self.images.to_string()),
            ("faults", summary),
        ];
        lines.extend(self.faults.iter().map(|fault| ("fault", fault.clone())));
        lines
    }
}
