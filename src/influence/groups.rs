//! Named groups of images: queries whose losses are asked about together, or training images that leave together.

use super::Images;
use crate::data::line_of;
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Named groups of images, by position; an image may be in several, or in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    groups: BTreeMap<String, Vec<usize>>,
}

/// How queries are put into groups.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grouping {
    /// All of them in one group.
    All,
    /// One group a label.
    Class,
    /// One group a pair of label and prediction.
    Confusion,
    /// As a CSV file with the columns query and group says.
    File(PathBuf),
}

impl Grouping {
    /// The groups of `queries`. A file may name other images too: [`Groups::from_file`] says how many, and which are none.
    ///
    /// # Errors
    /// As [`Groups::from_file`].
    pub fn groups(&self, queries: Images, classes: &[String]) -> Result<Groups> {
        Ok(match self {
            Self::All => Groups::of_all(queries.ids.len()),
            Self::Class => Groups::by_class(queries.labels, classes),
            Self::Confusion => Groups::by_confusion(queries.labels, queries.predictions, classes),
            Self::File(path) => Groups::from_file(path, ANY_IMAGE, queries.ids)?.0,
        })
    }

    /// How many groups there are at most among queries with these ids and labels, whatever `classes` classes they are predicted as.
    ///
    /// # Errors
    /// As [`Groups::from_file`].
    pub fn most_groups(&self, ids: &[usize], labels: &[usize], classes: usize) -> Result<usize> {
        let distinct = || labels.iter().collect::<BTreeSet<_>>().len();
        Ok(match self {
            Self::All => 1,
            Self::Class => distinct(),
            Self::Confusion => ids.len().min(distinct() * classes),
            Self::File(path) => Groups::from_file(path, ANY_IMAGE, ids)?.0.count(),
        })
    }
}

/// What a file of groups says of images of the data set that are not among those that are asked about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Aside {
    /// Rows that name one.
    pub rows: usize,
    /// Groups that have no others.
    pub groups: usize,
}

/// What the images of groups are; the column of their ids in a file. They are some of a data set, whose others may be named too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouped {
    /// Queries: `query`.
    Queries {
        /// Images of the data set.
        of: usize,
    },
    /// Training images: `train`.
    Training {
        /// Images of the data set.
        of: usize,
    },
}

/// Of a data set whose size is not known here.
const ANY_IMAGE: Grouped = Grouped::Queries { of: usize::MAX };

impl Grouped {
    fn column(self) -> &'static str {
        match self {
            Self::Queries { .. } => "query",
            Self::Training { .. } => "train",
        }
    }

    /// Ids below this are those of images, if not of these.
    fn others(self) -> usize {
        match self {
            Self::Queries { of } | Self::Training { of } => of,
        }
    }

    fn these(self) -> &'static str {
        match self {
            Self::Queries { .. } => "an image that is asked about",
            Self::Training { .. } => "an image that was trained on",
        }
    }

    fn one(self) -> &'static str {
        match self {
            Self::Queries { .. } => "query",
            Self::Training { .. } => "training image",
        }
    }
}

impl Groups {
    /// One group of `count` images.
    pub fn of_all(count: usize) -> Self {
        let groups = BTreeMap::from([("all".to_owned(), (0..count).collect())]);
        Self { groups }
    }

    /// A group for each label.
    pub fn by_class(labels: &[usize], classes: &[String]) -> Self {
        Self::by(labels.iter().map(|&label| name(classes, label)))
    }

    /// A group for each pair of label and prediction, `label → prediction`.
    fn by_confusion(labels: &[usize], predictions: &[usize], classes: &[String]) -> Self {
        let cells = labels.iter().zip(predictions).map(|(&label, &prediction)| {
            format!("{} → {}", name(classes, label), name(classes, prediction))
        });
        Self::by(cells)
    }

    /// Groups of the images with these `ids` from a CSV file with two columns: an id ([`Grouped`]), and `group`; and what is said of
    /// other images of the data set.
    ///
    /// # Errors
    /// A file that cannot be read or is not such a table, or names an image that is none, one twice in a group, or none of these.
    pub fn from_file(path: &Path, grouped: Grouped, ids: &[usize]) -> Result<(Self, Aside)> {
        let (column, one) = (grouped.column(), grouped.one());
        let malformed = |place: String, found: String| {
            let expected = format!("a {one}'s id and its group");
            let remedy = format!("give a CSV file with the columns {column},group");
            Error::format(path, place, expected, found, remedy)
        };
        let bytes = std::fs::read(path).map_err(Error::io(path, "read"))?;
        let positions: BTreeMap<usize, usize> = ids.iter().copied().zip(0..).collect();
        let mut groups = BTreeMap::<String, BTreeSet<usize>>::new();
        let (mut aside, others) = (Aside::default(), grouped.others());
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        let header = reader
            .headers()
            .map_err(|reason| malformed("columns".into(), reason.to_string()))?;
        let names: Vec<&str> = header.iter().collect();
        let at = |wanted: &str| names.iter().position(|name| *name == wanted);
        let (Some(id_at), Some(group_at), 2) = (at(column), at("group"), names.len()) else {
            return Err(malformed("columns".into(), names.join(",")));
        };
        for row in reader.records() {
            let place = line_of(&row);
            let wrong = |found: String| malformed(place.clone(), found);
            let row = row.map_err(|reason| wrong(reason.to_string()))?;
            let (text, group) = (&row[id_at], &row[group_at]);
            let id: usize = text.parse().map_err(|_| wrong(text.to_owned()))?;
            if group.is_empty() {
                return Err(wrong(format!("{one} {id} without a group")));
            }
            let members = groups.entry(group.to_owned()).or_default();
            let position = match positions.get(&id) {
                Some(&position) => position,
                None if id < others => {
                    aside.rows += 1;
                    continue;
                }
                None => return Err(wrong(format!("{id}, which is no {one}"))),
            };
            if !members.insert(position) {
                return Err(wrong(format!("{one} {id} once more")));
            }
        }
        let named = groups.len();
        groups.retain(|_, members| !members.is_empty());
        aside.groups = named - groups.len();
        if groups.is_empty() {
            let found = match aside.rows {
                0 => "no rows".to_owned(),
                rows => format!("{rows} rows, none of {}", grouped.these()),
            };
            return Err(malformed("table".into(), found));
        }
        let listed = |(name, members): (String, BTreeSet<usize>)| {
            let members = members.into_iter().collect();
            (name, members)
        };
        let groups = groups.into_iter().map(listed).collect();
        Ok((Self { groups }, aside))
    }

    /// A group for each name, with the positions that have it.
    fn by(names: impl Iterator<Item = String>) -> Self {
        let mut groups = BTreeMap::<String, Vec<usize>>::new();
        for (position, name) in names.enumerate() {
            groups.entry(name).or_default().push(position);
        }
        Self { groups }
    }

    /// Names and positions of the members, in the order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[usize])> {
        let groups = self.groups.iter();
        groups.map(|(name, members)| (name.as_str(), members.as_slice()))
    }

    /// The groups at these places in the order of names.
    #[must_use]
    pub fn at(&self, places: &[usize]) -> Self {
        let groups = self.groups.iter().enumerate();
        let chosen = groups.filter(|(place, _)| places.contains(place));
        Self {
            groups: chosen
                .map(|(_, (name, members))| (name.clone(), members.clone()))
                .collect(),
        }
    }

    /// Their names, in order.
    pub fn names(&self) -> Vec<String> {
        self.groups.keys().cloned().collect()
    }

    /// How many groups.
    pub fn count(&self) -> usize {
        self.groups.len()
    }
}

fn name(classes: &[String], class: usize) -> String {
    classes
        .get(class)
        .cloned()
        .unwrap_or_else(|| class.to_string())
}
