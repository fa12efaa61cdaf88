//! What was decided on training images: which are left out, which have another label.
//!
//! A CSV file with a header, as an audit's page exports it or any program writes it; columns in any order, others are passed over:
//!
//! | column | what |
//! |---|---|
//! | `train` | the image's id; may be missing where there is `file` |
//! | `decision` | `exclude` or `relabel` |
//! | `label` | the new label, by its number or its class's name; not looked at for `exclude` |
//! | `file` | the image's file, where the set is a folder of files; beside an id it must be that image's |
//! | `data` | the digest of the set whose rows the ids are: it must be that of the set that the decisions are used on |

mod target;

use super::Dataset;
use super::label_changes::NewLabels;
use crate::{Error, Result};
use csv::StringRecord;
use std::collections::BTreeSet;
use std::path::Path;
use target::Target;

const COLUMNS: &str = "train (or file), decision and label";
const REMEDY: &str = "write it as docs/audit.md says, or export it from an audit's page";

const AUDIT_AGAIN: &str = "give the --train that was audited, as it was then, or audit this one";

/// What was decided on training images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decisions {
    /// Ids of images to be left out.
    pub excluded: BTreeSet<usize>,
    /// Images to be relabelled.
    pub relabelled: NewLabels,
}

/// What is wrong in a row: what was expected, and what was found.
type Wrong = (String, String);

impl Decisions {
    /// Reads a file of decisions on a set.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a table; an id, file or label that there is not; two decisions on one image; decisions
    /// on another set, or on this one before it changed.
    pub fn read(path: &Path, set: &Dataset) -> Result<Self> {
        Self::on(path, &Target::of(set))
    }

    fn on(path: &Path, target: &Target) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader.headers().cloned();
        let columns = header
            .map_err(|reason| reason.to_string())
            .and_then(|header| Columns::of(&header))
            .map_err(|found| Error::format(path, "columns", COLUMNS, found, REMEDY))?;
        let mut decisions = Self::default();
        for row in reader.records() {
            let place = line_of(&row);
            let refused = |(expected, found): Wrong, remedy: &str| {
                Error::format(path, place.clone(), expected, found, remedy)
            };
            let wrong = |wrong: Wrong| refused(wrong, REMEDY);
            let row = row.map_err(|reason| wrong(damaged(&reason)))?;
            // Names may begin and end with spaces.
            let name = |column: Option<usize>| column.and_then(|at| row.get(at));
            let cell = |column: Option<usize>| name(column).map(str::trim);
            target
                .check_digest(cell(columns.data))
                .map_err(|other| refused(other, AUDIT_AGAIN))?;
            let image = target
                .image(cell(columns.train), name(columns.file))
                .map_err(wrong)?;
            let word = cell(Some(columns.decision)).unwrap_or_default();
            let label = name(columns.label).unwrap_or_default();
            decisions.note(target, image, word, label).map_err(wrong)?;
        }
        Ok(decisions)
    }

    fn note(
        &mut self,
        target: &Target,
        image: usize,
        word: &str,
        label: &str,
    ) -> std::result::Result<(), Wrong> {
        if self.excluded.contains(&image) || self.relabelled.contains_key(&image) {
            return Err((
                "one decision on each image".into(),
                format!("another on {image}"),
            ));
        }
        match word {
            "exclude" => {
                self.excluded.insert(image);
            }
            "relabel" => {
                self.relabelled.insert(image, target.label(label)?);
            }
            other => return Err(("exclude or relabel".into(), named(other))),
        }
        Ok(())
    }

    /// How many images are decided on that are not among `taken`, and how many in all.
    pub fn outside(&self, taken: &BTreeSet<usize>) -> (usize, usize) {
        let relabelled = self.relabelled.keys().copied();
        let decided: BTreeSet<usize> = self.excluded.iter().copied().chain(relabelled).collect();
        (decided.difference(taken).count(), decided.len())
    }

    /// Those of `ids` that are not left out, and their labels where some are given: the decided ones, else those of `labels`.
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

/// Where in a row things stand.
struct Columns {
    train: Option<usize>,
    decision: usize,
    label: Option<usize>,
    file: Option<usize>,
    data: Option<usize>,
}

impl Columns {
    /// Or what the header is, where something is missing.
    fn of(header: &StringRecord) -> std::result::Result<Self, String> {
        let at = |name: &str| header.iter().position(|column| column.trim() == name);
        let (train, file, decision) = (at("train"), at("file"), at("decision"));
        match decision {
            Some(decision) if train.or(file).is_some() => Ok(Self {
                train,
                decision,
                label: at("label"),
                file,
                data: at("data"),
            }),
            _ => Err(named(&header.iter().collect::<Vec<_>>().join(","))),
        }
    }
}

fn named(text: &str) -> String {
    match text.is_empty() {
        true => "none".into(),
        false => text.into(),
    }
}

/// The line of its file, from 1, that a row begins in, or that could not be read.
pub(crate) fn line_of(row: &csv::Result<csv::StringRecord>) -> String {
    let position = match row {
        Ok(row) => row.position(),
        Err(reason) => reason.position(),
    };
    position.map_or_else(|| "a row".into(), |place| format!("line {}", place.line()))
}

fn damaged(reason: &csv::Error) -> Wrong {
    let found = match reason.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            return (
                format!("{expected_len} cells, as in the header"),
                len.to_string(),
            );
        }
        csv::ErrorKind::Utf8 { .. } => "bytes that are no UTF-8".into(),
        _ => reason.to_string(),
    };
    ("an id, a decision and a label".into(), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Result<Decisions> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decisions.csv");
        std::fs::write(&path, text).unwrap();
        let classes = ["cat", "dog", "7", " b"].map(str::to_owned);
        let target = Target {
            count: 10,
            classes: &classes,
            digest: "0f1e",
            files: BTreeMap::from([("a/4.png", 4), ("b/2.png", 2), (" c, \"x\"/1.png", 1)]),
        };
        Decisions::on(&path, &target)
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
    fn what_other_programs_write_is_read_too() {
        let found = read("train,decision,label\n4,exclude,\n2,relabel,1\n").unwrap();
        for text in [
            // pandas with its index, of a column with gaps.
            ",train,decision,label\n0,4,exclude,\n1,2,relabel,1.0\n",
            "train,decision,label\n4.0,exclude,\n2.0,relabel,dog\n",
            "label,note,decision,file\n,far off,exclude,a/4.png\ndog,,relabel,b/2.png\n",
            "\u{feff}train, decision, label\r\n4, exclude, \r\n2, relabel, dog\r\n",
            "train,decision,label,file,data\n4,exclude,,a/4.png,\n,relabel,1,b/2.png,0f1e\n",
        ] {
            assert_eq!(read(text).unwrap(), found, "{text}");
        }
        // Names with spaces around them, as they are and quoted by a page.
        let spaced =
            "train,decision,label,file\n4,exclude,,a/4.png \n,relabel, b,\" c, \"\"x\"\"/1.png\"\n";
        let spaced = read(spaced).unwrap();
        assert_eq!(spaced.excluded, found.excluded);
        assert_eq!(spaced.relabelled, NewLabels::from([(1, 3)]));
        let twins = ["cat", "dog", "cat"].map(str::to_owned);
        let target = Target {
            count: 3,
            classes: &twins,
            digest: "0f1e",
            files: BTreeMap::new(),
        };
        assert_eq!(target.label("dog"), Ok(1));
        let (_, found) = target.label("cat").unwrap_err();
        assert_eq!(found, "cat, as classes 0 and 2 are both called");
        // A name goes before a number.
        let named = read("train,decision,label\n2,relabel,7\n").unwrap();
        assert_eq!(named.relabelled, NewLabels::from([(2, 2)]));
    }

    #[test]
    fn anything_else_is_refused_with_its_row() {
        for (text, said) in [
            ("", "columns"),
            ("train,label\n1,2\n", "columns"),
            ("train,decision,label,file,data\n1,exclude,,,0f1f\n", "0f1f"),
            ("train,decision,label\n10,exclude,\n", "below 10"),
            ("train,decision,label\n1,relabel,4\n", "below 4"),
            ("train,decision,label\n1,relabel,\n", "found none"),
            ("train,decision,label\n1,remove,\n", "found remove"),
            (
                "train,decision,label\n1,relabel,bird\n",
                "a class's name, or a label below 4, found bird",
            ),
            ("train,decision,label\n1,relabel,1.5\n", "found 1.5"),
            (
                "train,decision,label\n-1,exclude,\n",
                "an id below 10, found -1",
            ),
            (
                "file,decision\nc/1.png,exclude\n",
                "a file of the training set, found c/1.png",
            ),
            (
                "train,file,decision\n3,a/4.png,exclude\n",
                "the file of image 3, found a/4.png, that of image 4",
            ),
            (
                "train,decision,label\n,exclude,\n",
                "an image's id or file, found none",
            ),
            ("train,decision,label\nx,exclude,\n", "line 2"),
            ("train,decision,label\n1,exclude\n", "line 2"),
            ("train,decision,label\n1,exclude,\n1,exclude,\n", "line 3"),
            ("train,decision,label\n1,exclude,\n1,relabel,2\n", "line 3"),
            ("train,decision,label\n1,relabel,2\n1,exclude,\n", "line 3"),
        ] {
            let reason = read(text).unwrap_err().to_string();
            assert!(
                reason.contains(said) && reason.contains("decisions.csv"),
                "{text}: {reason}"
            );
        }
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
}
