//! A file that appears whole or not at all.
//!
//! Bytes go to a hidden temporary file in the same folder (so that the rename stays on one file system);
//! [`AtomicFile::commit`] flushes it to the disk, renames it over the target and flushes the folder.
//! Dropped before that, or killed, it leaves the target as it was.

use crate::{Error, Result};
use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir, TempPath};

/// How the name of an unfinished file ends; it starts with a dot.
const UNFINISHED: &str = ".partial";
/// How that of one ends that a later process may take up; it starts with a dot.
const RECORDED: &str = ".recorded";

/// A file being written beside its target, moved there by [`commit`](Self::commit).
///
/// Writes are not buffered: where a writer makes many small ones, wrap `&mut AtomicFile` in a
/// [`BufWriter`](std::io::BufWriter) and flush it before the commit.
///
/// ```
/// use ascribe::artefact::AtomicFile;
/// use std::io::Write;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("curve.csv");
/// let mut file = AtomicFile::create(&path)?;
/// file.write_all(b"rank,share\n").map_err(ascribe::Error::io(&path, "write"))?;
/// assert!(!path.exists());
/// file.commit()?;
/// assert!(path.exists());
/// # Ok::<(), ascribe::Error>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    target: PathBuf,
    temporary: NamedTempFile,
}

impl AtomicFile {
    /// Opens a temporary file in `path`'s folder.
    ///
    /// # Errors
    /// The folder is missing or not writable, or `path` is a folder.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(Error::io(path, "write")(ErrorKind::IsADirectory.into()));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!(".{name}.");
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(UNFINISHED);
        #[cfg(unix)]
        {
            // A temporary file is private by default; ours becomes an ordinary file, so the umask decides.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let temporary = builder.tempfile_in(folder_of(path)).map_err(|error| {
            // The library's own message repeats the temporary name; the reason alone is wanted.
            let reason = error
                .raw_os_error()
                .map_or(error, std::io::Error::from_raw_os_error);
            Error::io(path, "create")(reason)
        })?;
        Ok(Self {
            target: path.to_path_buf(),
            temporary,
        })
    }

    /// Flushes what was written so far to the disk, and keeps the file beside its target, from where
    /// [`resume`](Self::resume) takes it up, even where this process does not come to the commit.
    ///
    /// # Errors
    /// The disk is full or failing.
    pub fn record(self) -> Result<Self> {
        let target = self.target;
        let refused = || Error::io(&target, "write");
        (self.temporary.as_file().sync_data()).map_err(refused())?;
        let recorded = recorded_path(&target);
        if self.temporary.path() == recorded {
            let temporary = self.temporary;
            return Ok(Self { target, temporary });
        }
        let file =
            (self.temporary.persist(&recorded)).map_err(|failure| refused()(failure.error))?;
        sync_folder(folder_of(&target))?;
        let temporary = kept(file, recorded).map_err(Error::io(&target, "keep"))?;
        Ok(Self { target, temporary })
    }

    /// Opens what an earlier process recorded for `path`, or else the file itself, which is unfinished again; `None` where
    /// there is neither.
    ///
    /// # Errors
    /// The file cannot be opened or renamed.
    pub fn resume(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let target = path.as_ref().to_path_buf();
        let recorded = recorded_path(&target);
        if !recorded.exists() && target.is_file() {
            std::fs::rename(&target, &recorded).map_err(Error::io(&target, "rename"))?;
        }
        match File::options().read(true).write(true).open(&recorded) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => {
                let file = opened.map_err(Error::io(&recorded, "read"))?;
                let temporary = kept(file, recorded).map_err(Error::io(&target, "keep"))?;
                Ok(Some(Self { target, temporary }))
            }
        }
    }

    /// Where the file will stand.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// The open file, for writers that want one (memory maps, positioned writes).
    pub fn file_mut(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// Flushes the content to the disk and moves the file to its path, replacing what stood there.
    ///
    /// # Errors
    /// The disk is full or failing; the target is then unchanged and the temporary file removed.
    pub fn commit(mut self) -> Result<()> {
        let target = self.target;
        self.temporary
            .flush()
            .map_err(Error::io(&target, "write"))?;
        self.temporary
            .as_file()
            .sync_all()
            .map_err(Error::io(&target, "write"))?;
        self.temporary
            .persist(&target)
            .map_err(|failure| Error::io(&target, "write")(failure.error))?;
        // What an earlier process recorded and nobody took up.
        let recorded = recorded_path(&target);
        match std::fs::remove_file(&recorded) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(&recorded, "remove")(error));
            }
            _ => {}
        }
        sync_folder(folder_of(&target))
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.temporary.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.temporary.as_file_mut().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> std::io::Result<u64> {
        self.temporary.as_file_mut().seek(position)
    }
}

fn recorded_path(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    folder_of(target).join(format!(".{name}{RECORDED}"))
}

/// A file that stays where it is when it is dropped.
fn kept(file: File, path: PathBuf) -> std::io::Result<NamedTempFile> {
    let mut temporary = NamedTempFile::from_parts(file, TempPath::try_from_path(path)?);
    temporary.disable_cleanup(true);
    Ok(temporary)
}

/// Writes `bytes` to `path`, whole or not at all.
///
/// # Errors
/// The folder is missing or not writable, or the disk is full.
pub fn write_atomically(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(&path)?;
    file.write_all(bytes)
        .map_err(Error::io(path.as_ref(), "write"))?;
    file.commit()
}

/// A folder in `folder` for what is of no use later, which goes when it is dropped; where a process was killed, the next one in
/// `folder` removes it.
///
/// # Errors
/// It cannot be created.
pub(crate) fn scratch_folder(folder: &Path) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(UNFINISHED);
    (builder.tempdir_in(folder)).map_err(Error::io(folder, "create a folder in"))
}

/// Removes what a killed process left unfinished in `folder`; only safe for its sole user.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "read"))? {
        let entry = entry.map_err(Error::io(folder, "read"))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(UNFINISHED) {
            let path = entry.path();
            let removed = match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.map_err(Error::io(&path, "remove"))?;
        }
    }
    Ok(())
}

/// The folder that a file is in, `.` where its path does not say.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|open| open.sync_all())
        .map_err(Error::io(folder, "write"))
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<()> {
    Ok(()) // Only Unix lets a folder be opened and flushed.
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn uncommitted_file_leaves_nothing_and_the_old_content_stands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        write_atomically(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half of the new").unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop(file);
        assert_eq!(names(folder.path()), ["scores.npy"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn commit_replaces_and_seek_patches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"a much longer old content").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"____ body").unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"head").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"head body");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[test]
    fn a_killed_writers_leftover_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let file = AtomicFile::create(folder.path().join("file")).unwrap();
        let (_, leftover) = file.temporary.keep().unwrap(); // what a kill between write and rename leaves
        write_atomically(folder.path().join("result.partial"), b"the user's own").unwrap();
        let scratch = scratch_folder(folder.path()).unwrap().keep();
        std::fs::write(scratch.join("scores.npy"), b"of no use").unwrap();
        assert!(leftover.exists());
        remove_unfinished(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["result.partial"]);
    }

    #[test]
    fn a_recorded_file_outlives_its_writer_and_is_taken_up_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        assert!(AtomicFile::resume(&path).unwrap().is_none());
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"first").unwrap();
        let mut file = file.record().unwrap();
        file.write_all(b", second").unwrap();
        drop(file.record().unwrap());
        assert_eq!(names(folder.path()), [".scores.npy.recorded"]);
        remove_unfinished(folder.path()).unwrap();
        for end in [" third", " fourth"] {
            // The second time it is the finished file that is taken up.
            let mut file = AtomicFile::resume(&path).unwrap().unwrap();
            assert!(!path.exists());
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(end.as_bytes()).unwrap();
            file.commit().unwrap();
            assert_eq!(names(folder.path()), ["scores.npy"]);
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"first, second third fourth");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_follow_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        let (ours, plain) = (folder.path().join("ours"), folder.path().join("plain"));
        write_atomically(&ours, b"").unwrap();
        std::fs::write(&plain, b"").unwrap();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn a_missing_folder_and_a_folder_as_target_are_one_line_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("absent/file");
        let message = write_atomically(&path, b"").unwrap_err().to_string();
        let start = format!("{}: cannot create: No such file", path.display());
        assert!(
            message.starts_with(&start) && message.ends_with("check the path"),
            "{message}"
        );
        let message = write_atomically(folder.path(), b"")
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("{}: cannot write:", folder.path().display())),
            "{message}"
        );
        assert!(!message.contains('\n'));
    }

    #[test]
    fn what_was_recorded_and_not_taken_up_goes_with_the_commit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.npy");
        let mut cut = AtomicFile::create(&path).unwrap();
        cut.write_all(b"half").unwrap();
        drop(cut.record().unwrap());
        assert_eq!(names(folder.path()), [".scores.npy.recorded"]);
        write_atomically(&path, b"whole").unwrap();
        assert_eq!(names(folder.path()), ["scores.npy"]);
    }
}
