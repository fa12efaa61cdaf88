//! What comes from outside: images, features and weights in all formats, sound or not, and what is fetched.

mod bad_data;
mod bad_models;
mod brought_source;
mod checkpoints;
pub(crate) mod fetch;
#[cfg(unix)]
mod names;
mod sources;

use ascribe::{Error, Result};

/// The message of a refusal, after checking that it is one line with all of these parts.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T>, parts: &[&str]) -> String {
    one_line(result.err(), parts)
}

#[track_caller]
fn one_line(error: Option<Error>, parts: &[&str]) -> String {
    let message = error.expect("this must be refused").to_string();
    assert!(!message.contains('\n'), "more than one line: {message}");
    assert!(message.contains("; "), "no remedy: {message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    message
}
