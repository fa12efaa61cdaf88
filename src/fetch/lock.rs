//! `fetch.json`: what a folder's files are, and by whose word.

use super::Entry;
use crate::artefact::{read_json, write_json};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const NAME: &str = "fetch.json";

/// The record beside fetched files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The entry's name.
    pub name: String,
    /// The terms it is under, as far as known.
    pub licence: String,
    /// Whole files, by name.
    pub files: BTreeMap<String, Fetched>,
    /// The server's tags of files that broke off: only the same file is taken up again.
    #[serde(default)]
    pub pending: BTreeMap<String, String>,
}

/// A fetched file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where it came from.
    pub from: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// Who else has said that this is its digest: `registry`, `hub`, `fetch.json` (an earlier fetch); empty at a first
    /// fetch that nobody published a digest for.
    pub checked_against: Vec<String>,
    /// When: UTC, RFC 3339.
    pub at: String,
}

impl Fetched {
    pub(super) fn new(from: String, bytes: u64, sha256: String, checked: Vec<String>) -> Self {
        Self {
            from,
            bytes,
            sha256,
            checked_against: checked,
            at: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        }
    }
}

impl Lock {
    /// The folder's record, or an empty one.
    pub(super) fn open(folder: &Path, entry: &Entry) -> Result<Self> {
        let path = folder.join(NAME);
        if !path.exists() {
            return Ok(Self {
                name: entry.name.clone(),
                licence: entry.licence.clone(),
                files: BTreeMap::new(),
                pending: BTreeMap::new(),
            });
        }
        let lock: Self = read_json(&path)?;
        if lock.name == entry.name {
            return Ok(lock);
        }
        let reason = format!("holds {}", lock.name);
        Err(Error::conflict(folder, reason, "choose another --out"))
    }

    pub(super) fn note(&mut self, name: &str, fetched: Fetched) {
        self.files.insert(name.to_owned(), fetched);
    }

    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        write_json(folder.join(NAME), self)
    }
}
