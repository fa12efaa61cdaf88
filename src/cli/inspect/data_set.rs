//! What is in a data set.

use super::Report;
use crate::Result;
use crate::data::Dataset;
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// A data set in words and numbers.
#[derive(Serialize)]
pub(super) struct DataSet {
    kind: &'static str,
    path: PathBuf,
    format: &'static str,
    images: usize,
    /// Whether the format has class names.
    named: bool,
    classes: Vec<Class>,
    /// Smallest and largest.
    height: [usize; 2],
    width: [usize; 2],
    digest: String,
}

#[derive(Serialize)]
struct Class {
    name: String,
    images: usize,
}

pub(super) fn read(path: &Path) -> Result<DataSet> {
    let set = Dataset::open(path)?;
    let ids = 0..set.len();
    let sizes: Vec<(usize, usize)> = ids
        .into_par_iter()
        .map(|id| set.image_size(id))
        .collect::<Result<_>>()?;
    let range = |of: fn(&(usize, usize)) -> usize| {
        let least = sizes.iter().map(of).min().unwrap_or(0);
        [least, sizes.iter().map(of).max().unwrap_or(0)]
    };
    let mut counts = vec![0; set.classes().len()];
    set.labels().iter().for_each(|&label| counts[label] += 1);
    let classes = set.classes().iter().cloned().zip(counts);
    Ok(DataSet {
        kind: "data-set",
        path: set.path().to_path_buf(),
        format: set.format(),
        images: set.len(),
        named: set.has_class_names(),
        classes: classes
            .map(|(name, images)| Class { name, images })
            .collect(),
        height: range(|size| size.0),
        width: range(|size| size.1),
        digest: set.digest().to_owned(),
    })
}

/// Classes shown one a line; of more, JSON has all.
const SHOWN: usize = 30;

impl Report for DataSet {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let size = |[least, most]: [usize; 2]| match least == most {
            true => least.to_string(),
            false => format!("{least} to {most}"),
        };
        let counts = self.classes.iter().map(|class| class.images);
        let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
        let names = if self.named { "" } else { ", without names" };
        let mut lines = vec![
            (
                "data set",
                format!("{} ({})", self.path.display(), self.format),
            ),
            ("images", self.images.to_string()),
            (
                "size",
                format!("{} high, {} wide", size(self.height), size(self.width)),
            ),
            (
                "classes",
                format!(
                    "{}{names}; {least} to {most} images each",
                    self.classes.len()
                ),
            ),
            ("sha256", self.digest.clone()),
        ];
        for class in self.classes.iter().take(SHOWN) {
            lines.push(("class", format!("{}: {}", class.name, class.images)));
        }
        if self.classes.len() > SHOWN {
            let more = self.classes.len() - SHOWN;
            lines.push(("class", format!("and {more} more (--json has all)")));
        }
        lines
    }
}
