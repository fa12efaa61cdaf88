//! What a table of scores came from and how its numbers read: the metadata of every file.

use std::collections::BTreeMap;

/// The unit of scores that are not normalised.
pub const NATS: &str = "nats";

/// Digests of what went in, and the unit of what came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// SHA-256 by role: `train`, `test`, `head` …
    pub digests: BTreeMap<String, String>,
    /// The unit of the scores.
    pub unit: &'static str,
}

impl Default for Provenance {
    fn default() -> Self {
        Self {
            digests: BTreeMap::new(),
            unit: NATS,
        }
    }
}
