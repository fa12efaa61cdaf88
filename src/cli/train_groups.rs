//! `--train-groups`, `--leave-group-out`: which groups of training images are asked about as a whole.

use super::recorded_data::{changed, check_there};
use crate::Result;
use crate::artefact::{Input, RunRecord, digest_file};
use crate::influence::{Aside, Grouped, Groups};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The option of `ascribe rank`, and the role of a file of groups among its inputs.
const TRAIN_GROUPS: &str = "train-groups";

/// Groups of training images as they are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TrainGrouping {
    /// One group a label.
    Class,
    /// As a CSV file with the columns train and group says.
    File(PathBuf),
}

/// The training images of a run.
pub(super) struct TrainImages<'a> {
    pub(super) ids: &'a [usize],
    pub(super) labels: &'a [usize],
    pub(super) classes: &'a [String],
}

impl TrainGrouping {
    /// From `class` or a path.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "" => Err("expected class or a file".into()),
            "class" => Ok(Self::Class),
            file => Ok(Self::File(file.into())),
        }
    }

    /// The groups; a file is noted among the inputs, and may name other images of the training set, of which a note is made.
    pub(super) fn groups(&self, images: &TrainImages, inputs: &mut Vec<Input>) -> Result<Groups> {
        let (groups, aside) = self.resolved(images, inputs)?;
        let Self::File(path) = self else {
            return Ok(groups);
        };
        note_aside(path, aside, "the model was not trained on");
        inputs.push(Input::of_file(TRAIN_GROUPS, path.clone())?);
        Ok(groups)
    }

    /// And what a file says of other images of the training set, which the `inputs` know.
    fn resolved(&self, images: &TrainImages, inputs: &[Input]) -> Result<(Groups, Aside)> {
        let path = match self {
            Self::Class => {
                return Ok((
                    Groups::by_class(images.labels, images.classes),
                    Aside::default(),
                ));
            }
            Self::File(path) => path,
        };
        let train = inputs.iter().find(|input| input.role == "train");
        let rows = train.and_then(|input| input.rows).unwrap_or_default();
        Groups::from_file(path, Grouped::Training { of: rows }, images.ids)
    }
}

/// The groups that the run `record` scored, where it did; a file of them must be as it was.
pub(super) fn recorded_groups(
    record: &RunRecord,
    images: &TrainImages,
    inputs: &[Input],
) -> Result<Option<Groups>> {
    // Runs of before know of no such option.
    let given = record.options.contains_key(TRAIN_GROUPS);
    let grouping = given.then(|| record.option(TRAIN_GROUPS)).transpose()?;
    let Some(mut grouping): Option<TrainGrouping> = grouping.flatten() else {
        return Ok(None);
    };
    if let TrainGrouping::File(path) = &mut grouping {
        *path = record.located(path);
        check_there(record, path)?;
        let digest = digest_file(path)?;
        if let Some(known) = record.input(TRAIN_GROUPS)
            && known.digest != digest
        {
            return Err(changed(record, known));
        }
    }
    grouping
        .resolved(images, inputs)
        .map(|(groups, _)| Some(groups))
}

/// Says how many rows of a file of groups name images of the data set that are of no concern, as they are `what`.
pub(super) fn note_aside(path: &Path, aside: Aside, what: &str) {
    if aside.rows == 0 {
        return;
    }
    let groups = match aside.groups {
        0 => String::new(),
        groups => format!(", and with them {groups} groups that have no others"),
    };
    note!(
        "ascribe: {}: {} rows name images that {what}; they are left aside{groups}",
        path.display(),
        aside.rows
    );
}

/// Says which groups are all that there is of a class: the first order cannot say what happens without it.
pub(super) fn note_whole_classes(groups: &Groups, labels: &[usize]) {
    let counted = |positions: &mut dyn Iterator<Item = usize>| {
        let mut counts = BTreeMap::<usize, usize>::new();
        positions.for_each(|at| *counts.entry(labels[at]).or_default() += 1);
        counts
    };
    let all = counted(&mut (0..labels.len()));
    let holds_a_class = |members: &[usize]| {
        let own = counted(&mut members.iter().copied());
        own.iter()
            .any(|(label, count)| all.get(label) == Some(count))
    };
    let whole = groups.iter().filter(|(_, members)| holds_a_class(members));
    let names: Vec<&str> = whole.map(|(name, _)| name).collect();
    let Some(first) = names.first() else {
        return;
    };
    note!(
        "ascribe: {} of {} groups hold all images of a class, the first {first}: what happens without a class is far more than scores \
         can predict, which say for which predictions it matters more; ascribe evaluate --leave-group-out measures it",
        names.len(),
        groups.count()
    );
}
