//! What can go wrong, sorted by what the reader can do about it.
//!
//! Every message is one line: the file or option it is about, what was expected, what was found, and the remedy.
//! A solver that does not converge is *not* an error: it is an outcome stored beside its result (see `solve`).

use std::path::{Path, PathBuf};

/// The result of every fallible call of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write a path.
    #[error("{}: cannot {action}: {source}{}", path.display(), io_remedy(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was attempted: "read", "write", "create" …
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file's content is not what its format promises.
    #[error("{}: {place}: expected {expected}, found {found}; {remedy}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Where in the file: "row 17", "header", "byte 12", "tensor layer1.0.conv1.weight".
        place: String,
        /// What the format promises there.
        expected: String,
        /// What stands there.
        found: String,
        /// What the reader can do.
        remedy: String,
    },
    /// Two things that must fit together do not: sizes, classes, dimensions.
    #[error("{what}: expected {expected}, found {found}; {remedy}")]
    Mismatch {
        /// What is compared, with the file or option it came from.
        what: String,
        /// The size or value needed.
        expected: String,
        /// The size or value at hand.
        found: String,
        /// What the reader can do.
        remedy: String,
    },
    /// An option's value cannot be used.
    #[error("--{option}: {reason}")]
    Config {
        /// The option's name without dashes.
        option: &'static str,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A curvature with its damping has no Cholesky factor: it is not positive definite, or not in rounded numbers.
    #[error("--damping: {0}")]
    NoFactor(&'static str),
    /// A thing that exists but that this version cannot do.
    #[error("{what} is not supported; {instead}")]
    Unsupported {
        /// The thing asked for.
        what: String,
        /// What to do instead.
        instead: String,
    },
    /// NaN or infinity where a number is needed.
    #[error("{what}: not a finite number at {place}; {remedy}")]
    NonFinite {
        /// The file, tensor or stage.
        what: String,
        /// Row, column, epoch or block.
        place: String,
        /// What the reader can do.
        remedy: String,
    },
    /// A loss that stopped being finite in training.
    #[error("{what}: not a finite number at {place}; {remedy}")]
    Diverged {
        /// Which loss.
        what: String,
        /// Epoch and batch, or the images measured.
        place: String,
        /// What the reader can do.
        remedy: String,
    },
    /// A download failed.
    #[error("{url}: {reason}; {remedy}")]
    Network {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
        /// What the reader can do.
        remedy: String,
    },
    /// An output folder holds something that must not be overwritten or continued.
    #[error("{}: {reason}; {remedy}", path.display())]
    Conflict {
        /// The folder or file.
        path: PathBuf,
        /// What is there and why it does not fit.
        reason: String,
        /// What the reader can do.
        remedy: String,
    },
    /// A tensor operation failed: a bug of ours, or memory exhausted.
    #[error("tensor computation: {}", with_remedy(.0))]
    Tensor(#[from] candle_core::Error),
    /// A matrix factorisation failed for another reason than its mathematics.
    #[error("linear algebra: {0}")]
    LinearAlgebra(#[from] ndarray_linalg::error::LinalgError),
    /// A figure could not be drawn.
    #[error("{}: cannot draw: {reason}", path.display())]
    Drawing {
        /// The picture.
        path: PathBuf,
        /// The drawing library's reason.
        reason: String,
    },
}

fn io_remedy(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{
        AlreadyExists, FileTooLarge, InvalidFilename, NotADirectory, NotFound, PermissionDenied,
        QuotaExceeded, StorageFull,
    };
    match source.kind() {
        NotFound => "; check the path",
        PermissionDenied => "; check who owns it",
        AlreadyExists => "; what stands there is no folder: choose another place",
        NotADirectory => "; a part of the path is a file: check the path",
        InvalidFilename => "; shorten the name",
        StorageFull | QuotaExceeded | FileTooLarge => "; free some space or choose another --out",
        _ => "",
    }
}

/// The reason without the trace that candle puts below it where `RUST_BACKTRACE` is set; and what helps where a device has no memory
/// left, which CUDA and its libraries say by such names alone.
fn with_remedy(error: &candle_core::Error) -> String {
    let text = error.to_string();
    let reason = text.lines().next().unwrap_or_default();
    let exhausted = ["OUT_OF_MEMORY", "ALLOC_FAILED"];
    match exhausted.iter().any(|name| reason.contains(name)) {
        true => format!(
            "the device's memory does not suffice ({reason}); see with nvidia-smi what else runs there, take less at once (--batch-size, --blocks, \
             --memory, --jobs), or use --device cpu"
        ),
        false => reason.to_owned(),
    }
}

/// What a library says in several lines, in one.
fn one_line(text: String) -> String {
    match text.contains('\n') {
        true => text.split_whitespace().collect::<Vec<_>>().join(" "),
        false => text,
    }
}

impl Error {
    /// Wraps an operating-system error with the path and the attempted action; made for `map_err`.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    /// A malformed file.
    pub fn format(
        path: &Path,
        place: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Format {
            path: path.to_path_buf(),
            place: place.into(),
            expected: expected.into(),
            found: one_line(found.into()),
            remedy: remedy.into(),
        }
    }

    /// A finite number, of `what`, that is none in f32.
    pub(crate) fn beyond_f32(what: impl Into<String>) -> Self {
        let (expected, remedy) = (
            "numbers of at most 3.4e38, as f32 has",
            "add --precision f64",
        );
        Self::mismatch(what, expected, "a larger one", remedy)
    }

    /// Two things that must fit together do not.
    pub fn mismatch(
        what: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Mismatch {
            what: what.into(),
            expected: expected.to_string(),
            found: one_line(found.to_string()),
            remedy: remedy.into(),
        }
    }

    /// The message as one line of text, whatever stands in the files and names that it tells of: control characters are escaped.
    #[must_use]
    pub fn line(&self) -> String {
        let mut line = String::new();
        for character in self.to_string().chars() {
            match character.is_control() {
                true => line.extend(character.escape_default()),
                false => line.push(character),
            }
        }
        line
    }

    /// The same with more said of what the reader can do about a malformed file.
    pub(crate) fn and_remedy(self, more: impl std::fmt::Display) -> Self {
        match self {
            Self::Format {
                path,
                place,
                expected,
                found,
                remedy,
            } => Self::format(&path, place, expected, found, format!("{remedy}; {more}")),
            other => other,
        }
    }

    /// NaN or infinity where a number is needed.
    pub fn non_finite(
        what: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::NonFinite {
            what: what.into(),
            place: place.into(),
            remedy: remedy.into(),
        }
    }

    /// A loss that stopped being finite in training.
    pub fn diverged(
        what: impl Into<String>,
        place: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::Diverged {
            what: what.into(),
            place: place.into(),
            remedy: remedy.into(),
        }
    }

    /// A folder or file that must not be overwritten, continued or taken for what it is not.
    pub fn conflict(path: &Path, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Conflict {
            path: path.to_path_buf(),
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// A thing that exists but that this version cannot do.
    pub fn unsupported(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::Unsupported {
            what: what.into(),
            instead: instead.into(),
        }
    }

    /// An option's value cannot be used.
    pub fn config(option: &'static str, reason: impl Into<String>) -> Self {
        Self::Config {
            option,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_whatever_the_file_says() {
        let found = "\u{1b}[31mred\u{7}";
        let error = Error::mismatch("class\none", "a\tname", found, "rename it");
        let expected = r"class\none: expected a\tname, found \u{1b}[31mred\u{7}; rename it";
        assert_eq!(error.line(), expected);
    }

    #[test]
    fn where_a_device_has_no_memory_left_the_line_says_what_to_do() {
        let said = |reason: &str| Error::from(candle_core::Error::Msg(reason.to_owned())).line();
        let full = said("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")\n   0: a trace");
        assert!(
            full.contains("(DriverError(CUDA_ERROR_OUT_OF_MEMORY"),
            "{full}"
        );
        assert!(
            full.contains("--batch-size") && !full.contains("trace"),
            "{full}"
        );
        assert_eq!(
            said("shapes differ\na trace"),
            "tensor computation: shapes differ"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_made_comes_with_a_remedy() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere/at/all", at("dangling")).unwrap();
        std::os::unix::fs::symlink("loop", at("loop")).unwrap();
        for (name, remedy) in [
            ("file".to_owned(), "; what stands there is no folder: "),
            ("dangling".into(), "; what stands there is no folder: "),
            ("loop".into(), "; what stands there is no folder: "),
            ("file/run".into(), "; a part of the path is a file: "),
            ("x".repeat(300), "; shorten the name"),
        ] {
            let path = at(&name);
            let made = std::fs::create_dir_all(&path).map_err(Error::io(&path, "create"));
            let message = made.unwrap_err().to_string();
            assert!(message.contains(remedy), "{message}");
        }
    }
}
