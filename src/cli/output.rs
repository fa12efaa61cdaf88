//! What is printed: results on standard output, with `--json` as one object; notes and progress on standard error.
//!
//! A command whose reader has gone away (`ascribe rank … | head -1`) still does its work. Where standard output cannot be written for
//! another reason, as on a full disk, the command does its work, says so, and fails.

use crate::artefact::Input;
use crate::data::{Dataset, TrainingImages, listed};
use crate::figure::Written;
use crate::{Error, Result};
use clap::Args;
use serde_json::Value;
use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

/// Words that a note names.
const LISTED: usize = 10;

/// Why standard output could not be written, the first time.
static FAILED: Mutex<Option<std::io::Error>> = Mutex::new(None);
/// Whether results go to standard error, as those of commands within one that is asked for JSON.
static ASIDE: AtomicBool = AtomicBool::new(false);

/// A line on standard output, as `println!` takes it.
macro_rules! say {
    () => { $crate::cli::output::say(format_args!("")) };
    ($($word:tt)*) => { $crate::cli::output::say(format_args!($($word)*)) };
}

/// A line on standard error, as `eprintln!` takes it.
macro_rules! note {
    ($($word:tt)*) => { $crate::cli::output::note(format_args!($($word)*)) };
}

/// `--json`, of every command that leaves or finds something a script would want.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(super) struct Json {
    /// Print a machine-readable summary
    #[arg(long)]
    json: bool,
}

impl Json {
    pub(super) fn is_asked(self) -> bool {
        self.json
    }

    /// Prints the object that `value` gives where JSON is asked for, or else what `lines` says.
    pub(super) fn print(self, value: impl FnOnce() -> Value, lines: impl FnOnce()) {
        match self.json {
            true => say!("{}", value()),
            false => lines(),
        }
    }

    /// Does `work`, which runs other commands: what they say goes to standard error where JSON is asked for.
    pub(super) fn beside<T>(self, work: impl FnOnce() -> T) -> T {
        ASIDE.store(self.json, Ordering::Relaxed);
        let done = work();
        ASIDE.store(false, Ordering::Relaxed);
        done
    }
}

/// A path in JSON, as it is printed; one that is not Unicode has no other form there.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

pub(super) fn say(line: Arguments) {
    if ASIDE.load(Ordering::Relaxed) {
        return note(line);
    }
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

/// Says so where training and test images are the same; once, of however many runs.
pub(super) fn note_same_images(inputs: &[Input]) {
    static SAID: Once = Once::new();
    let digest = |role: &str| {
        inputs
            .iter()
            .find(|input| input.role == role)
            .map(|it| &it.digest)
    };
    if let (Some(train), Some(test)) = (digest("train"), digest("test"))
        && train == test
    {
        SAID.call_once(|| {
            note!(
                "ascribe: --train and --test are the same images: what is measured on them says nothing of new ones"
            );
        });
    }
}

/// Says what was done to the images that a model is trained on, and which classes have none.
pub(super) fn note_taken(taken: &TrainingImages, set: &Dataset) {
    for words in [taken.changed(), taken.without(set)].into_iter().flatten() {
        note!("ascribe: {words}");
    }
}

/// Says so where a figure's PNG has boxes in the place of letters.
pub(super) fn note_boxes(Written { files, boxed }: &Written) {
    let file = |ending: &str| {
        let mut files = files.iter();
        files.find(|file| file.extension().is_some_and(|it| it == ending))
    };
    let (Some(picture), false) = (file("png"), boxed.is_empty()) else {
        return;
    };
    // A name may hold anything.
    let words = boxed.iter().map(|word| word.escape_debug().to_string());
    let words = listed(&words.collect::<Vec<_>>(), LISTED);
    let text = file("svg").map_or("an SVG (--format svg)".to_owned(), |file| shown(file));
    note!(
        "ascribe: {}: its font lacks letters of {words}, and has boxes for them; {text} has them as text",
        shown(picture)
    );
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
