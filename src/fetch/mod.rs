//! Named data sets and source models from the Hugging Face hub or a mirror of it, checked by digest.
//!
//! A file is downloaded to a hidden file beside its target and appears only whole and with the right SHA-256. A cut
//! connection is taken up where it broke, in the same process and in a later one, if the server's tag says that the file
//! is still the same. `fetch.json` beside the files ([`Lock`]) records what was fetched; a file whose digest nobody had
//! published is compared with it ever after.
//!
//! # Why not the crate `hf-hub`
//!
//! Its current release (1.0.0, Apache-2.0) begins a download that broke off anew, compares no digest, and brings an
//! asynchronous runtime, an HTTP stack and the hub's chunk protocol along, some 300 packages. What is needed here is a GET
//! with a range; `ureq` with rustls, which our build of OpenBLAS uses already, does that. The hub's endpoint variable, `HF_ENDPOINT`, is honoured as `hf-hub` does.

mod download;
mod lock;
mod registry;

pub use lock::{Fetched, Lock};
pub use registry::{Entry, RemoteFile, entries, find};

use crate::artefact::{AtomicFile, LOCK, digest_file, lock_folder};
use crate::stand_in::stand_in_at;
use crate::{Error, Result};
use download::Transfer;
use std::io::Write;
use std::path::Path;

/// The hub, unless `HF_ENDPOINT` says otherwise.
pub const HUB: &str = "https://huggingface.co";
/// What says the digest of a file that nobody published one of.
const FIRST_FETCH: &str = "fetch.json, recorded at the first fetch";

/// The hub or mirror to use.
#[must_use]
pub fn endpoint() -> String {
    let chosen = std::env::var("HF_ENDPOINT")
        .ok()
        .filter(|endpoint| !endpoint.trim().is_empty());
    chosen.map_or_else(
        || HUB.to_owned(),
        |it| it.trim().trim_end_matches('/').to_owned(),
    )
}

/// Fetches what is missing of `entry` into `folder`; `progress` is told the file, the bytes done and of how many. Files
/// that are there are compared with their digests.
///
/// # Errors
/// No network, a cut connection, an endpoint that is no address, a path the hub does not know; a file that differs from its digest,
/// or a web page in its place; another process at work in the folder.
pub fn fetch(
    entry: &Entry,
    endpoint: &str,
    folder: &Path,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Lock> {
    let schemes = ["http://", "https://"];
    if !schemes.iter().any(|scheme| endpoint.starts_with(scheme)) {
        return Err(Error::Network {
            url: endpoint.to_owned(),
            reason: "HF_ENDPOINT is no address".into(),
            remedy: "begin it with https://".into(),
        });
    }
    let is_new = !folder.exists();
    std::fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let taken = lock_folder(folder)?;
    let fetched = fetch_all(entry, endpoint, folder, progress);
    let _ = std::fs::remove_file(folder.join(LOCK));
    drop(taken);
    if is_new && fetched.is_err() {
        // Only an empty one goes: what has come is there to be taken up.
        let _ = std::fs::remove_dir(folder);
    }
    fetched
}

fn fetch_all(
    entry: &Entry,
    endpoint: &str,
    folder: &Path,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Lock> {
    let mut lock = Lock::open(folder, entry)?;
    for file in &entry.files {
        let target = folder.join(&file.to);
        if target.exists() {
            check_present(&target, file, &mut lock)?;
        } else {
            fetch_file(entry, endpoint, file, &target, &mut lock, progress)?;
        }
        lock.save(folder)?;
    }
    Ok(lock)
}

/// A file from an earlier fetch, or that the user put there.
fn check_present(target: &Path, file: &RemoteFile, lock: &mut Lock) -> Result<()> {
    let found = digest_file(target)?;
    let recorded = lock.files.get(&file.to).map(|it| &it.sha256);
    for (expected, who) in [
        (file.sha256.as_ref(), "the registry"),
        (recorded, "fetch.json"),
    ] {
        if let Some(expected) = expected.filter(|&expected| expected != &found) {
            let expected = format!("sha256 {expected} ({who})");
            let remedy = "remove it and fetch again, or put the original back";
            return Err(Error::format(target, "content", expected, found, remedy));
        }
    }
    if recorded.is_some() {
        // Where it came from and who vouched for it then stays.
        return Ok(());
    }
    if file.sha256.is_none() {
        let reason = "stands where the download would, and no digest says whether it is that file";
        let remedy = "choose another --out, or move it away";
        return Err(Error::conflict(target, reason, remedy));
    }
    let bytes = target.metadata().map_err(Error::io(target, "read"))?.len();
    let checked = who_checked(true, false, false);
    let fetched = Fetched::new("found there".into(), bytes, found, checked);
    lock.note(&file.to, fetched);
    Ok(())
}

fn who_checked(registry: bool, hub: bool, lock: bool) -> Vec<String> {
    let who = [(registry, "registry"), (hub, "hub"), (lock, "fetch.json")];
    who.into_iter()
        .filter(|(yes, _)| *yes)
        .map(|(_, who)| who.to_owned())
        .collect()
}

fn fetch_file(
    entry: &Entry,
    endpoint: &str,
    file: &RemoteFile,
    target: &Path,
    lock: &mut Lock,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<()> {
    let url = format!(
        "{endpoint}/{}/resolve/{}/{}",
        entry.repository, entry.revision, file.from
    );
    let folder = target.parent().unwrap_or(Path::new("."));
    // In place under its hidden name from the first byte on, so that a killed process loses nothing.
    let mut partial = match AtomicFile::resume(target)? {
        Some(partial) => partial,
        None => AtomicFile::create(target)?.record()?,
    };
    let mut transfer = Transfer::new(url.clone(), lock.pending.remove(&file.to));
    let outcome = transfer.run(
        partial.file_mut(),
        target,
        &mut |tag| {
            match tag {
                Some(tag) => lock.pending.insert(file.to.clone(), tag.to_owned()),
                None => lock.pending.remove(&file.to),
            };
            lock.save(folder)
        },
        &mut |done, total| progress(&file.to, done, total),
    );
    let partial_path = download::partial_path(target);
    let remove = || std::fs::remove_file(&partial_path).map_err(Error::io(&partial_path, "remove"));
    let size = match outcome {
        Ok(size) => size,
        Err(reason) => {
            if partial_path.metadata().is_ok_and(|file| file.len() == 0) {
                remove()?;
            }
            return Err(reason);
        }
    };
    partial.flush().map_err(Error::io(target, "write"))?;
    let found = digest_file(&partial_path)?;
    let recorded = lock.files.get(&file.to).map(|it| it.sha256.clone());
    let expectations = [
        (file.sha256.clone(), "the registry"),
        (recorded.clone(), FIRST_FETCH),
        (transfer.digest(), "the hub"),
    ];
    if let Some(fault) = fault((target, &partial_path), &url, &found, &expectations) {
        remove()?;
        lock.pending.remove(&file.to);
        lock.save(folder)?;
        return Err(fault);
    }
    let checked = who_checked(
        file.sha256.is_some(),
        transfer.digest().is_some(),
        recorded.is_some(),
    );
    lock.note(&file.to, Fetched::new(url, size, found, checked));
    // What stands there without a digest would be taken for another's file.
    lock.save(folder)?;
    partial.commit()?;
    lock.pending.remove(&file.to);
    Ok(())
}

/// Why what was `downloaded` from `url`, of the digest `found`, is not the file of `target`, if it is not.
fn fault(
    (target, downloaded): (&Path, &Path),
    url: &str,
    found: &str,
    expectations: &[(Option<String>, &str)],
) -> Option<Error> {
    let fault = |expected: String, found: &str, remedy: &str| {
        let remedy = format!("the download from {url} was thrown away; {remedy}");
        Some(Error::format(target, "content", expected, found, remedy))
    };
    if let Some(other) = stand_in_at(downloaded) {
        let remedy = "look for the file there with a browser, or use another HF_ENDPOINT";
        return fault("the file itself".into(), other, remedy);
    }
    let mut differing = expectations.iter().filter_map(|(expected, who)| {
        let expected = expected.as_deref().filter(|expected| *expected != found)?;
        Some((expected, *who))
    });
    let (expected, who) = differing.next()?;
    let remedy = match who == FIRST_FETCH && differing.next().is_none() {
        true => {
            let folder = target.parent().unwrap_or(target).display();
            format!("choose another --out to take the new file, or remove {folder}")
        }
        false => "fetch again, or use another HF_ENDPOINT".into(),
    };
    fault(format!("sha256 {expected} ({who})"), found, &remedy)
}
