//! Everything in a data set that cannot be used, not the first of it alone.

use super::folder::Listing;
use super::recognised::{self, Format};
use super::stored::{Labels, check_not_empty, decoded};
use crate::artefact::quoted;
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many images were decoded, and what is wrong with a set: in a folder of class folders, or of images alone, whatever is no image
/// or has a name that is no text; images of any format that do not decode; labels that have no class, or that there are none.
/// `progress` is told how many of how many are done, from any thread.
///
/// # Errors
/// A set that is not to be read at all.
pub fn faults(
    path: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(usize, Vec<Error>)> {
    let done = AtomicUsize::new(0);
    let count = |total: usize| progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
    if matches!(Format::of(path)?, Format::ClassFolders) {
        let listing = Listing::read(path)?;
        let found = listing.files.par_iter().filter_map(|file| {
            let whole = path.join(file);
            let bytes = std::fs::read(&whole).map_err(Error::io(&whole, "read"));
            let image = bytes.and_then(|bytes| decoded(&bytes, path, || file.clone()));
            count(listing.files.len());
            image.err()
        });
        let undecoded: Vec<Error> = found.collect();
        let faults = listing.faults.into_iter().chain(undecoded).collect();
        return Ok((listing.files.len(), faults));
    }
    // Without labels that can be read there are still the images.
    let (path, stored, labels) = match recognised::read(path, Labels::Read) {
        Ok((path, stored)) => {
            let faults = stored.label_faults(&path);
            (path, stored, faults)
        }
        Err(reason) => {
            let (path, stored) = recognised::read(path, Labels::Ignored)?;
            (path, stored, vec![reason])
        }
    };
    check_not_empty(&path, &stored.labels)?;
    let total = stored.labels.len();
    let found = (0..total).into_par_iter().filter_map(|id| {
        let image = stored.images.decode(id, &path, &stored.places);
        count(total);
        image.err()
    });
    let mut faults: Vec<Error> = found.collect();
    faults.extend(labels);
    Ok((total, faults))
}

/// The command that lists the faults of a set.
pub(super) fn check_command(path: &Path) -> String {
    format!(
        "ascribe inspect {} --check",
        quoted(&path.to_string_lossy())
    )
}

/// Refuses a set that has faults by the first of them.
pub(super) fn refuse(path: &Path, faults: impl IntoIterator<Item = Error>) -> Result<()> {
    let mut faults = faults.into_iter();
    let Some(first) = faults.next() else {
        return Ok(());
    };
    let command = check_command(path);
    Err(first.and_remedy(match faults.count() {
        0 => format!("{command} looks at every image"),
        more => format!("{more} more: {command} lists all"),
    }))
}
