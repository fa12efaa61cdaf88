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

/// A class and how many examples it has.
#[derive(Serialize)]
pub(super) struct Class {
    name: String,
    count: usize,
}

impl Class {
    pub(super) fn counted(names: Vec<String>, labels: &[usize]) -> Vec<Self> {
        let mut counts = vec![0; names.len()];
        labels.iter().for_each(|&label| counts[label] += 1);
        let pairs = names.into_iter().zip(counts);
        pairs.map(|(name, count)| Self { name, count }).collect()
    }
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
    Ok(DataSet {
        kind: "data-set",
        path: set.path().to_path_buf(),
        format: set.format(),
        images: set.len(),
        named: set.has_class_names(),
        classes: Class::counted(set.classes().to_vec(), set.labels()),
        height: range(|size| size.0),
        width: range(|size| size.1),
        digest: set.digest().to_owned(),
    })
}

/// The smallest and the largest of some numbers, in words.
fn from_to([least, most]: [usize; 2]) -> String {
    match least == most {
        true => least.to_string(),
        false => format!("{least} to {most}"),
    }
}

/// Classes shown one a line; of more, JSON has all.
const SHOWN: usize = 30;

/// How many classes, and of each how many examples.
pub(super) fn class_lines(classes: &[Class], named: bool) -> Vec<(&'static str, String)> {
    let counts = classes.iter().map(|class| class.count);
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    let names = if named { "" } else { ", without names" };
    let each = from_to([least, most]);
    let examples = match (least, most) {
        (1, 1) => "example",
        _ => "examples",
    };
    let summary = format!("{}{names}; {each} {examples} each", classes.len());
    let mut lines = vec![("classes", summary)];
    for class in classes.iter().take(SHOWN) {
        lines.push(("class", format!("{}: {}", class.name, class.count)));
    }
    if classes.len() > SHOWN {
        let more = format!("and {} more (--json has all)", classes.len() - SHOWN);
        lines.push(("class", more));
    }
    lines
}

impl Report for DataSet {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let (height, width) = (from_to(self.height), from_to(self.width));
        let mut lines = vec![
            (
                "data set",
                format!("{} ({})", self.path.display(), self.format),
            ),
            ("images", self.images.to_string()),
            ("size", format!("{height} high, {width} wide")),
        ];
        lines.extend(class_lines(&self.classes, self.named));
        lines.push(("sha256", self.digest.clone()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_example_is_told_as_one() {
        let summary = |labels: &[usize]| {
            let classes = Class::counted(vec!["cat".into(), "dog".into()], labels);
            class_lines(&classes, true)[0].1.clone()
        };
        assert_eq!(summary(&[0, 1]), "2; 1 example each");
        assert_eq!(summary(&[0, 1, 0, 1]), "2; 2 examples each");
        assert_eq!(summary(&[0]), "2; 0 to 1 examples each");
    }
}
