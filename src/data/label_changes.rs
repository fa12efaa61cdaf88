//! Labels that are not those of the file: flipped for an experiment, or corrected after an audit; and images left out.
//!
//! Decisions are a CSV file with the columns `train` (an id), `decision` (`exclude` or `relabel`) and `label` (the new one's
//! number; empty for an exclusion), as an audit's page exports it: then with `file` (of the image, for the reader) and `data`, the
//! digest of the data set whose rows the ids are, which must be that of the set that the decisions are used on.

use super::Dataset;
use super::random::{Purpose, generator};
use crate::{Error, Result};
use rand::RngExt;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The result in `run.json` that holds labels other than those of the training file.
pub(crate) const RELABELLED: &str = "relabelled";

/// New labels by id.
pub type NewLabels = BTreeMap<usize, usize>;

/// What was decided on training images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decisions {
    /// Ids of images to be left out.
    pub excluded: BTreeSet<usize>,
    /// Images to be relabelled.
    pub relabelled: NewLabels,
}

#[derive(serde::Deserialize)]
struct Row {
    train: usize,
    decision: String,
    label: Option<usize>,
    data: Option<String>,
}

const COLUMNS: &str = "train,decision,label";

impl Decisions {
    /// Reads a file of decisions on a set.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a table; an id or label that there is not; two decisions on one image; decisions on
    /// another set, or on this one before it changed.
    pub fn read(path: &Path, set: &Dataset) -> Result<Self> {
        Self::on(path, (set.len(), set.classes().len()), set.digest())
    }

    /// Those on a set of so many images and classes, and this digest.
    fn on(path: &Path, (count, classes): (usize, usize), digest: &str) -> Result<Self> {
        let malformed = |place: String, expected: String, found: String| {
            let remedy = "give a file exported from an audit's page";
            Error::format(path, place, expected, found, remedy)
        };
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let mut decisions = Self::default();
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader
            .headers()
            .map(|header| header.iter().collect::<Vec<_>>().join(","));
        let header = header.unwrap_or_else(|reason| reason.to_string());
        if header != COLUMNS && header != format!("{COLUMNS},file,data") {
            let expected = format!("{COLUMNS} or {COLUMNS},file,data");
            return Err(malformed("columns".into(), expected, header));
        }
        for (line, row) in reader.deserialize::<Row>().enumerate() {
            let place = format!("row {}", line + 1);
            let wrong = |expected: String, found: String| malformed(place.clone(), expected, found);
            let row = row.map_err(|reason| {
                wrong("an id, a decision and a label".into(), reason.to_string())
            })?;
            if let Some(data) = row.data.filter(|data| data != digest) {
                let expected = format!("decisions on the data set with the digest {digest}");
                let remedy = "give the --train that was audited, as it was then, or audit this one";
                return Err(Error::format(path, place, expected, data, remedy));
            }
            if row.train >= count {
                return Err(wrong(format!("an id below {count}"), row.train.to_string()));
            }
            let is_new = !decisions.excluded.contains(&row.train)
                && !decisions.relabelled.contains_key(&row.train);
            match (row.decision.as_str(), row.label) {
                ("exclude", _) => {
                    decisions.excluded.insert(row.train);
                }
                ("relabel", Some(label)) if label < classes => {
                    decisions.relabelled.insert(row.train, label);
                }
                ("relabel", label) => {
                    let found = label.map_or("none".into(), |label| label.to_string());
                    return Err(wrong(format!("a label below {classes}"), found));
                }
                (other, _) => return Err(wrong("exclude or relabel".into(), other.into())),
            }
            if !is_new {
                return Err(wrong(
                    "one decision on each image".into(),
                    format!("another on {}", row.train),
                ));
            }
        }
        Ok(decisions)
    }

    /// Those of `ids` that are not left out, and their labels where these are not the file's: the decided ones, else those of
    /// `labels`.
    ///
    /// # Errors
    /// Where no image is left.
    pub fn apply(
        self,
        mut ids: Vec<usize>,
        mut labels: NewLabels,
    ) -> Result<(Vec<usize>, NewLabels)> {
        ids.retain(|id| !self.excluded.contains(id));
        if ids.is_empty() {
            let reason = "expected a training image that is left, found none";
            return Err(Error::config("exclude", reason));
        }
        let kept: BTreeSet<usize> = ids.iter().copied().collect();
        labels.extend(self.relabelled);
        labels.retain(|id, _| kept.contains(id));
        Ok((ids, labels))
    }
}

/// The training images of a model, and what was changed of their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingImages {
    /// Those that are left.
    pub ids: Vec<usize>,
    /// Their labels, where these are not the file's.
    pub labels: NewLabels,
    /// Those whose label was flipped for an experiment, whatever was decided on them after.
    pub flipped: Vec<usize>,
}

impl TrainingImages {
    /// `ids` of a set after a share of their labels was flipped ([`flipped`], from a seed) and then `decisions` were applied, which may
    /// undo a flip.
    ///
    /// # Errors
    /// A share outside 0 to 1; no image that is left.
    pub fn of(
        set: &Dataset,
        ids: Vec<usize>,
        decisions: Decisions,
        (share, seed): (f64, u64),
    ) -> Result<Self> {
        let flips = match share {
            0.0 => NewLabels::new(),
            share => flipped(&ids, set.labels(), set.classes().len(), share, seed)?,
        };
        let flipped = flips.keys().copied().collect();
        let (ids, labels) = decisions.apply(ids, flips)?;
        Ok(Self {
            ids,
            labels,
            flipped,
        })
    }

    /// What `run.json` says of changed labels, by the names of its results; nothing where there are none.
    pub(crate) fn changes(&self) -> Vec<(&'static str, Value)> {
        let flipped = (!self.flipped.is_empty()).then(|| ("flipped", json!(self.flipped)));
        let labels = (!self.labels.is_empty()).then(|| (RELABELLED, json!(self.labels)));
        flipped.into_iter().chain(labels).collect()
    }
}

/// Each of a `share` of `ids`, drawn from `seed`, with a label other than its own, each other class as likely.
///
/// # Errors
/// A share outside 0 to 1, or a single class.
pub fn flipped(
    ids: &[usize],
    labels: &[usize],
    classes: usize,
    share: f64,
    seed: u64,
) -> Result<NewLabels> {
    if !(0.0..=1.0).contains(&share) {
        let reason = format!("{share} is not between 0 and 1");
        return Err(Error::config("flip-labels", reason));
    }
    if classes < 2 {
        return Err(Error::config("flip-labels", "needs at least two classes"));
    }
    let mut order = ids.to_vec();
    order.shuffle(&mut generator(Purpose::Flips, seed, 0, 0));
    order.truncate((share * ids.len() as f64).round() as usize);
    let flip = |id: usize| {
        let step = generator(Purpose::Flips, seed, 1, id as u64).random_range(1..classes);
        (id, (labels[id] + step) % classes)
    };
    Ok(order.into_iter().map(flip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Decisions> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.csv");
        std::fs::write(&path, text).unwrap();
        Decisions::on(&path, (10, 3), "0f1e")
    }

    #[test]
    fn decisions_of_a_page_are_read() {
        let found = read("train,decision,label\n4,exclude,\n2,relabel,1\n").unwrap();
        assert_eq!(found.excluded, BTreeSet::from([4]));
        assert_eq!(found.relabelled, NewLabels::from([(2, 1)]));
        assert_eq!(
            read("train,decision,label\n").unwrap(),
            Decisions::default()
        );
        let exported =
            "train,decision,label,file,data\n4,exclude,,a/4.png,0f1e\n2,relabel,1,,0f1e\n";
        assert_eq!(read(exported).unwrap(), found);
    }

    #[test]
    fn anything_else_is_refused_with_its_row() {
        for (text, said) in [
            ("", "columns"),
            ("train,label\n1,2\n", "columns"),
            ("train,decision,label,file,data\n1,exclude,,,0f1f\n", "0f1f"),
            ("train,decision,label\n10,exclude,\n", "below 10"),
            ("train,decision,label\n1,relabel,3\n", "below 3"),
            ("train,decision,label\n1,relabel,\n", "found none"),
            ("train,decision,label\n1,remove,\n", "found remove"),
            ("train,decision,label\nx,exclude,\n", "row 1"),
            ("train,decision,label\n1,exclude\n", "row 1"),
            ("train,decision,label\n1,exclude,\n1,exclude,\n", "row 2"),
            ("train,decision,label\n1,exclude,\n1,relabel,2\n", "row 2"),
            ("train,decision,label\n1,relabel,2\n1,exclude,\n", "row 2"),
        ] {
            let reason = read(text).unwrap_err().to_string();
            assert!(
                reason.contains(said) && reason.contains("decisions.csv"),
                "{text}: {reason}"
            );
        }
        assert!(Decisions::on(Path::new("/nowhere.csv"), (1, 2), "0f1e").is_err());
    }

    #[test]
    fn what_is_left_out_has_no_new_label_and_decisions_go_before_flips() {
        let decisions = |text: &str| read(&format!("train,decision,label\n{text}")).unwrap();
        let flips = NewLabels::from([(1, 2), (4, 2), (5, 0)]);
        let decided = decisions("4,exclude,\n5,relabel,1\n9,relabel,0\n");
        let (ids, labels) = decided.apply(vec![1, 3, 4, 5], flips).unwrap();
        assert_eq!(ids, [1, 3, 5]);
        assert_eq!(labels, NewLabels::from([(1, 2), (5, 1)]));
        let all = decisions("4,exclude,\n").apply(vec![4], NewLabels::new());
        assert!(all.unwrap_err().to_string().contains("--exclude"));
    }

    #[test]
    fn flips_are_as_many_as_asked_and_never_the_own_label() {
        let labels: Vec<usize> = (0..1000).map(|id| id % 4).collect();
        let ids: Vec<usize> = (0..1000).step_by(2).collect();
        let flips = flipped(&ids, &labels, 4, 0.1, 3).unwrap();
        assert_eq!(flips.len(), 50);
        assert!(
            flips
                .iter()
                .all(|(id, label)| id % 2 == 0 && *label < 4 && *label != labels[*id])
        );
        assert_eq!(flips, flipped(&ids, &labels, 4, 0.1, 3).unwrap());
        assert_ne!(flips, flipped(&ids, &labels, 4, 0.1, 4).unwrap());
        assert!(flipped(&ids, &labels, 4, 0.0, 3).unwrap().is_empty());
        assert!(flipped(&ids, &labels, 4, f64::NAN, 3).is_err());
        assert!(flipped(&ids, &labels, 1, 0.1, 3).is_err());
    }
}
