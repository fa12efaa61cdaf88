//! Decisions from up to two files, which may be one: the images that `exclude` leaves out, and the labels that `relabel` gives.

use super::{Dataset, Decisions};
use crate::artefact::Input;
use crate::{Error, Result};
use std::path::Path;

/// What files decide on the training images of a set.
#[derive(Debug, Clone, Default)]
pub struct DecisionFiles {
    /// Both files' together.
    pub decisions: Decisions,
    /// What `run.json` says of the files: `exclude`, `relabel`.
    pub inputs: Vec<Input>,
    /// Which rows change nothing, since the file is not given for what they say; in words.
    pub idle: Vec<String>,
}

impl DecisionFiles {
    /// Reads the files that are given, which must be of this set.
    ///
    /// # Errors
    /// As [`Decisions::read`].
    pub fn read(exclude: Option<&Path>, relabel: Option<&Path>, set: &Dataset) -> Result<Self> {
        let mut files = Self::default();
        let mut read = |role, path: Option<&Path>| match path {
            None => Ok(Decisions::default()),
            Some(path) => files.add(role, path, set),
        };
        let (excluding, relabelling) = (read("exclude", exclude)?, read("relabel", relabel)?);
        if let Some(path) = exclude {
            let idle =
                |(id, label): &(&usize, &usize)| relabelling.relabelled.get(id) != Some(label);
            let idle = excluding.relabelled.iter().filter(idle).count();
            files.note_idle(idle, (path, "relabel"), relabel);
        }
        if let Some(path) = relabel {
            let idle = relabelling.excluded.difference(&excluding.excluded).count();
            files.note_idle(idle, (path, "exclude"), exclude);
            let twice = |id: &&usize| excluding.excluded.contains(id);
            if let (Some(id), Some(other)) = (relabelling.relabelled.keys().find(twice), exclude) {
                return Err(Error::format(
                    path,
                    format!("image {id}"),
                    "one decision on each image of both files",
                    format!("a new label, where {} leaves it out", other.display()),
                    "take it out of one of them",
                ));
            }
        }
        files.decisions.excluded = excluding.excluded;
        files.decisions.relabelled = relabelling.relabelled;
        Ok(files)
    }

    fn add(&mut self, role: &str, path: &Path, set: &Dataset) -> Result<Decisions> {
        let read = Decisions::read(path, set)?;
        self.inputs.push(Input::of_file(role, path.to_path_buf())?);
        Ok(read)
    }

    /// Says of `rows` of a file that are to do something that `other` file, if any, is given for.
    fn note_idle(&mut self, rows: usize, (path, what): (&Path, &str), other: Option<&Path>) {
        if rows == 0 {
            return;
        }
        let decisions = match rows {
            1 => "1 decision of".into(),
            _ => format!("{rows} decisions of"),
        };
        let (path, be) = (path.display(), if rows == 1 { "is" } else { "are" });
        let other = other.map_or_else(
            || format!("no file to {what} by is given"),
            |other| format!("{}, which is given for that, has them not", other.display()),
        );
        self.idle
            .push(format!("{decisions} {path} {be} to {what}, and {other}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits_train;

    #[test]
    fn of_two_files_what_neither_does_is_told_and_contradictions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let set = digits_train().unwrap();
        let file = |name: &str, rows: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("train,decision,label\n{rows}")).unwrap();
            path
        };
        let a = file("a.csv", "1,relabel,3\n2,relabel,3\n4,exclude,\n");
        let b = file(
            "b.csv",
            "2,relabel,3\n3,relabel,7\n4,exclude,\n9,exclude,\n",
        );
        let read = DecisionFiles::read(Some(&a), Some(&b), &set).unwrap();
        let Decisions {
            excluded,
            relabelled,
        } = read.decisions;
        assert_eq!(excluded.into_iter().collect::<Vec<_>>(), [4]);
        assert_eq!(relabelled.into_iter().collect::<Vec<_>>(), [(2, 3), (3, 7)]);
        let [of_a, of_b] = &read.idle[..] else {
            panic!("{:?}", read.idle);
        };
        assert!(of_a.starts_with("1 decision of") && of_a.contains("a.csv is to relabel"));
        assert!(of_b.contains("b.csv is to exclude, and") && of_b.contains("a.csv, which"));
        let both = DecisionFiles::read(Some(&a), Some(&a), &set).unwrap();
        assert!(both.idle.is_empty());
        let alone = DecisionFiles::read(Some(&a), None, &set).unwrap();
        assert!(alone.idle[0].contains("no file to relabel by is given"));
        let c = file("c.csv", "4,relabel,1\n");
        let message = DecisionFiles::read(Some(&a), Some(&c), &set)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("c.csv: image 4: expected one decision") && message.contains("a.csv"),
            "{message}"
        );
    }
}
