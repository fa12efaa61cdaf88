//! Audits: by `ascribe audit`, of runs through blocks too, and their page in a browser.

mod command;
mod page;
mod through_blocks;

use serde_json::Value;
use std::path::Path;

/// A piece of a page's data.
pub(crate) fn piece(page: &Path, name: &str) -> Value {
    let script = std::fs::read_to_string(page.join(format!("data/{name}.js"))).unwrap();
    let start = script.find(", ").unwrap() + 2;
    serde_json::from_str(&script[start..script.rfind(')').unwrap()]).unwrap()
}
