//! What is printed: results on standard output, notes and progress on standard error.
//!
//! A command whose reader has gone away (`ascribe rank … | head -1`) still does its work. Where standard output cannot be written for
//! another reason, as on a full disk, the command does its work, says so, and fails.

use crate::artefact::Input;
use crate::data::{Dataset, TrainingImages};
use crate::{Error, Result};
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Mutex;

/// Why standard output could not be written, the first time.
static FAILED: Mutex<Option<std::io::Error>> = Mutex::new(None);

/// A line on standard output, as `println!` takes it.
macro_rules! say {
    () => { $crate::cli::output::say(format_args!("")) };
    ($($word:tt)*) => { $crate::cli::output::say(format_args!($($word)*)) };
}

/// A line on standard error, as `eprintln!` takes it.
macro_rules! note {
    ($($word:tt)*) => { $crate::cli::output::note(format_args!($($word)*)) };
}

pub(super) fn say(line: Arguments) {
    let Err(reason) = writeln!(std::io::stdout(), "{line}") else {
        return;
    };
    if reason.kind() != ErrorKind::BrokenPipe
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert(reason);
    }
}

/// There is nowhere left to say that standard error cannot be written.
pub(super) fn note(line: Arguments) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says so where training and test images are the same.
pub(super) fn note_same_images(inputs: &[Input]) {
    let digest = |role: &str| {
        inputs
            .iter()
            .find(|input| input.role == role)
            .map(|it| &it.digest)
    };
    if let (Some(train), Some(test)) = (digest("train"), digest("test"))
        && train == test
    {
        note!(
            "ascribe: --train and --test are the same images: what is measured on them says nothing of new ones"
        );
    }
}

/// Says what was done to the images that a model is trained on, and which classes have none.
pub(super) fn note_taken(taken: &TrainingImages, set: &Dataset) {
    for words in [taken.changed(), taken.without(set)].into_iter().flatten() {
        note!("ascribe: {words}");
    }
}

/// Whether all that was said has been written.
///
/// # Errors
/// Standard output could not be written.
pub(super) fn written() -> Result<()> {
    let reason = FAILED.lock().ok().and_then(|mut failed| failed.take());
    match reason {
        None => Ok(()),
        Some(reason) => Err(Error::io(Path::new("standard output"), "write")(reason)),
    }
}
