//! How a run came to be asked for.

use super::record::RunRecord;
use super::run::difference;
use crate::{Error, Result};

/// What was typed, and the run that it is to repeat, if any.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// The words after `ascribe`.
    pub arguments: Vec<String>,
    /// The run that this one repeats: it must have the same options and inputs.
    pub repeated: Option<Box<RunRecord>>,
}

impl From<Vec<String>> for Invocation {
    fn from(arguments: Vec<String>) -> Self {
        Self {
            arguments,
            repeated: None,
        }
    }
}

impl Invocation {
    /// Refuses a run that is not the one to be repeated.
    pub(super) fn check(&self, run: &RunRecord) -> Result<()> {
        let Some(repeated) = &self.repeated else {
            return Ok(());
        };
        match difference(repeated, run) {
            None => Ok(()),
            Some(difference) => Err(Error::conflict(
                &repeated.folder,
                format!("cannot be repeated: {difference}"),
                match repeated.ascribe == run.ascribe {
                    true => "put back what it was made from, or run the command that `ascribe inspect` shows as another run".to_owned(),
                    false => format!("repeat it with version {}", repeated.ascribe),
                },
            )),
        }
    }
}
