//! The names that can be fetched (`registry.toml`).

use crate::{Error, Result};
use serde::Deserialize;
use std::path::Path;

/// One thing that can be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What is typed.
    pub name: String,
    /// What it is.
    pub about: String,
    /// Under which terms, as far as known.
    pub licence: String,
    /// The repository on the hub; data sets' begin with `datasets/`.
    pub repository: String,
    /// A commit, or `main`.
    pub revision: String,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

/// One file of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub from: String,
    /// Its name on this machine.
    pub to: String,
    /// SHA-256 in hexadecimal, where one is known.
    pub sha256: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Registry {
    data_set: Vec<Entry>,
    models: Vec<Models>,
}

/// Models of one naming scheme.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    about: String,
    licence: String,
    repository: String,
    revision: String,
    architectures: Vec<String>,
    norm: String,
    epsilons: Vec<String>,
}

impl Models {
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let pairs = (self.architectures.iter())
            .flat_map(|architecture| self.epsilons.iter().map(move |it| (architecture, it)));
        pairs.map(|(architecture, epsilon)| {
            let file = format!("{architecture}_{}_eps{epsilon}.ckpt", self.norm);
            Entry {
                name: plain(&format!("{architecture}-{}-eps{epsilon}", self.norm)),
                about: format!("{architecture}, {}", self.about),
                licence: self.licence.clone(),
                repository: self.repository.clone(),
                revision: self.revision.clone(),
                files: vec![RemoteFile {
                    from: file.clone(),
                    to: file,
                    sha256: None,
                }],
            }
        })
    }
}

/// All entries, data sets first.
///
/// # Errors
/// Never with the registry that is built in.
pub fn entries() -> Result<Vec<Entry>> {
    parse(include_str!("registry.toml"))
}

fn parse(text: &str) -> Result<Vec<Entry>> {
    let registry: Registry = toml::from_str(text).map_err(|error| {
        let found = error.message().to_owned();
        let place = format!("byte {}", error.span().map_or(0, |span| span.start));
        Error::format(
            Path::new("registry.toml"),
            place,
            "an entry",
            found,
            "correct it",
        )
    })?;
    let models = registry.models.iter().flat_map(Models::entries);
    Ok(registry.data_set.into_iter().chain(models).collect())
}

/// Names are compared without case; `_` is `-`, and 4.0 is 4.
fn plain(name: &str) -> String {
    let name = name.to_lowercase().replace('_', "-");
    name.strip_suffix(".0").map_or(name.clone(), str::to_owned)
}

/// The entry of that name.
///
/// # Errors
/// Names the most similar entry where there is none.
pub fn find(name: &str) -> Result<Entry> {
    let (entries, wanted) = (entries()?, plain(name));
    let similarity = |entry: &Entry| strsim::jaro_winkler(&entry.name, &wanted);
    if let Some(entry) = entries.iter().find(|entry| entry.name == wanted) {
        return Ok(entry.clone());
    }
    let nearest = entries
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let nearest = nearest.map_or("", |entry| &entry.name);
    let instead = format!("did you mean {nearest}? all names: ascribe fetch --list");
    Err(Error::unsupported(format!("fetching {name}"), instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_a_name_of_its_own_and_plain_files() {
        let entries = entries().unwrap();
        assert_eq!(entries.len(), 6 + 4 * 10 + 3 * 5);
        for (index, entry) in entries.iter().enumerate() {
            assert!(
                entries[..index]
                    .iter()
                    .all(|other| other.name != entry.name)
            );
            assert_eq!(plain(&entry.name), entry.name);
            for file in &entry.files {
                assert!(
                    !file.to.contains('/') && !file.from.contains(".."),
                    "{file:?}"
                );
                let digest = file.sha256.as_ref();
                assert!(digest.is_none_or(|it| it.len() == 64 && it == &it.to_lowercase()));
            }
        }
    }

    #[test]
    fn names_are_found_as_people_write_them() {
        let file = |name: &str| find(name).unwrap().files[0].from.clone();
        assert_eq!(file("resnet50-l2-eps3"), "resnet50_l2_eps3.ckpt");
        assert_eq!(file("resnet50_l2_eps3.0"), "resnet50_l2_eps3.ckpt");
        assert_eq!(file("ResNet18-Linf-eps4"), "resnet18_linf_eps4.0.ckpt");
        assert_eq!(
            file("wide-resnet50-4-l2-eps0.25"),
            "wide_resnet50_4_l2_eps0.25.ckpt"
        );
        assert_eq!(find("cifar10").unwrap().files.len(), 2);
        let message = find("fashion_minst").unwrap_err().to_string();
        assert!(message.contains("did you mean fashion-mnist?"), "{message}");
    }

    #[test]
    fn a_registry_with_a_typo_is_refused() {
        let text = include_str!("registry.toml").replacen("licence =", "license =", 1);
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains("license"), "{message}");
    }
}
