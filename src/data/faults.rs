//! Everything in a data set that cannot be used, not the first of it alone.

use super::Dataset;
use super::folder::Listing;
use super::recognised::Format;
use crate::{Error, Result};
use rayon::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many images were decoded, and what is wrong with a set: in a folder of class folders whatever is no image or has a name that
/// is no text, and images of any format that do not decode. `progress` is told how many of how many are done, from any thread.
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
            let image = bytes.and_then(|bytes| Dataset::decoded(&bytes, path, || file.clone()));
            count(listing.files.len());
            image.err()
        });
        let undecoded: Vec<Error> = found.collect();
        let faults = listing.faults.into_iter().chain(undecoded).collect();
        return Ok((listing.files.len(), faults));
    }
    let set = Dataset::open(path)?;
    let found = (0..set.len()).into_par_iter().filter_map(|id| {
        let example = set.example(id);
        count(set.len());
        example.err()
    });
    Ok((set.len(), found.collect()))
}
