//! A table of the spec, taken key by key: what is left at the end was never known.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

/// A table with its place in the file.
pub(super) struct Keys<'a> {
    file: &'a Path,
    /// As in `target.digits`; empty at the top.
    place: String,
    table: toml::Table,
    /// All that was asked for.
    known: Vec<String>,
}

impl<'a> Keys<'a> {
    /// The whole file.
    pub(super) fn read(file: &'a Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).map_err(Error::io(file, "read"))?;
        let table = text.parse().map_err(|reason: toml::de::Error| {
            let before = &text[..reason.span().map_or(0, |span| span.start.min(text.len()))];
            let place = format!("line {}", before.matches('\n').count() + 1);
            let found = reason.message().replace('\n', " ");
            Error::format(file, place, "TOML", found, "docs/study.md has an example")
        })?;
        Ok(Self {
            file,
            place: String::new(),
            table,
            known: Vec::new(),
        })
    }

    /// A value, if it is there; `expected` says of what kind, for people.
    pub(super) fn take<T: DeserializeOwned>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>> {
        self.known.push(name.to_owned());
        let Some(value) = self.table.remove(name) else {
            return self.refuse_misspelt(name).map(|()| None);
        };
        let found = as_json(&value).to_string();
        let taken = value.try_into();
        (taken.map(Some)).map_err(|_| self.wrong(name, expected, found))
    }

    /// A value that must be there.
    pub(super) fn need<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Result<T> {
        match self.take(name, expected)? {
            Some(value) => Ok(value),
            None => Err(self.wrong(name, expected, "nothing")),
        }
    }

    /// Refuses a key that is nearly one that is not there, before that is missed.
    fn refuse_misspelt(&self, name: &str) -> Result<()> {
        let misspelt = |key: &&String| !self.knows(key) && is_misspelling(name, key);
        match self.table.keys().find(misspelt) {
            None => Ok(()),
            Some(key) => Err(Error::format(
                self.file,
                self.path(key),
                format!("a key {name}"),
                format!("the key {key}"),
                format!("did you mean {name}?"),
            )),
        }
    }

    /// Any value, as JSON.
    pub(super) fn take_any(&mut self, name: &str) -> Option<Value> {
        self.known.push(name.to_owned());
        self.table.remove(name).as_ref().map(as_json)
    }

    /// A table within, if it is there.
    pub(super) fn table(&mut self, name: &str) -> Result<Option<Self>> {
        let table: Option<toml::Table> = self.take(name, "a table")?;
        Ok(table.map(|table| Self {
            file: self.file,
            place: self.path(name),
            table,
            known: Vec::new(),
        }))
    }

    /// All tables of a table of tables, as in `[source.NAME]`, with their names; at least one.
    pub(super) fn tables(&mut self, name: &str) -> Result<Vec<(String, Self)>> {
        let expected = format!("tables [{name}.NAME], at least one");
        let tables: std::collections::BTreeMap<String, toml::Table> = self.need(name, &expected)?;
        if tables.is_empty() {
            return Err(self.wrong(name, expected, "none"));
        }
        let keys = |(inner, table): (String, toml::Table)| {
            let place = format!("{}.{inner}", self.path(name));
            let (file, known) = (self.file, Vec::new());
            let keys = Self {
                file,
                place,
                table,
                known,
            };
            (inner, keys)
        };
        Ok(tables.into_iter().map(keys).collect())
    }

    /// Refuses what nobody asked for, with the nearest of the keys that there are.
    pub(super) fn refuse_unknown(&self) -> Result<()> {
        let Some(unknown) = self.table.keys().find(|key| !self.knows(key)) else {
            return Ok(());
        };
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        let alike = |name: &str| near(name, unknown);
        let nearest = (known.iter().copied()).max_by(|a, b| alike(a).total_cmp(&alike(b)));
        let remedy = match nearest {
            Some(name) if alike(name) > 0.5 => format!("did you mean {name}?"),
            _ => "remove it; docs/study.md has all keys".to_owned(),
        };
        let expected = format!("one of {}", known.join(", "));
        Err(Error::format(
            self.file,
            self.path(unknown),
            expected,
            format!("the key {unknown}"),
            remedy,
        ))
    }

    fn knows(&self, key: &str) -> bool {
        self.known.iter().any(|known| known == key)
    }

    /// An unusable value of a key.
    pub(super) fn wrong(
        &self,
        name: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        let remedy = "correct the spec; docs/study.md has all keys";
        Error::format(self.file, self.path(name), expected, found, remedy)
    }

    fn path(&self, name: &str) -> String {
        match self.place.as_str() {
            "" => name.to_owned(),
            place => format!("{place}.{name}"),
        }
    }
}

/// Whether one is the other with two slips at most; keys that merely share words, as `seeds-of-images` and `epochs-of-images` do, are more
/// than that apart.
fn is_misspelling(name: &str, other: &str) -> bool {
    let slips = strsim::damerau_levenshtein(name, other);
    slips <= 2 && 2 * slips < name.len()
}

/// From 0, nothing in common, to 1, the same.
fn near(name: &str, other: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(name, other)
}

fn as_json(value: &toml::Value) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
