//! Archives of arrays as `numpy.savez` and `numpy.savez_compressed` write them: a zip of `.npy` files.

use super::arrays::Array;
use super::npy::{read, refusal};
use super::npy_header::{Fault, NpyHeader};
use crate::stand_in::found_in;
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use zip::ZipArchive;
use zip::result::ZipError;

/// What deflate makes of a byte, at most.
const LARGEST_RATIO: u64 = 1032;
const AGAIN: &str = "write the file again with numpy.savez";

/// An open archive.
pub(super) struct Npz {
    archive: ZipArchive<BufReader<File>>,
    /// Bytes of the file.
    length: u64,
}

impl Npz {
    /// Opens an archive.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path, "read"))?;
        let length = file.metadata().map_err(Error::io(path, "read"))?.len();
        let damaged = |reason: ZipError| {
            let expected = "a whole .npz archive";
            let found = found_in(path, reason.to_string());
            Error::format(path, "archive", expected, found, AGAIN)
        };
        let archive = ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
        Ok(Self { archive, length })
    }

    /// The names of its arrays.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.archive.file_names().flatten();
        let names = names.map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    /// Reads one array.
    pub(super) fn read(&mut self, path: &Path, name: &str) -> Result<Array> {
        self.entry(name, |reader, room| read(reader, room))
            .map_err(|fault| refusal(path, name, fault, AGAIN))
    }

    /// The shape of one, by its header.
    pub(super) fn shape(&mut self, path: &Path, name: &str) -> Result<Vec<usize>> {
        self.entry(
            name,
            |mut reader, _| Ok(NpyHeader::read(&mut reader)?.shape),
        )
        .map_err(|fault| refusal(path, name, fault, AGAIN))
    }

    /// What `read` makes of an entry, of which at most so many bytes are there.
    fn entry<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut dyn Read, u64) -> std::result::Result<T, Fault>,
    ) -> std::result::Result<T, Fault> {
        let damaged = |reason: ZipError| Fault::Damaged(reason.to_string());
        let stored = [format!("{name}.npy"), name.to_owned()];
        let stored = stored
            .iter()
            .find_map(|name| self.archive.index_for_name(name));
        let stored = stored.ok_or_else(|| Fault::Damaged("none".into()))?;
        let entry = self.archive.by_index(stored).map_err(damaged)?;
        // The directory may be damaged too, but no file unpacks to more than this.
        let room = entry.size().min(self.length.saturating_mul(LARGEST_RATIO));
        read(&mut BufReader::new(entry), room)
    }
}
