//! Files that are written whole or not at all.

use crate::error::{Error, ErrorKind, Result};
use crate::inputs::kind_of;
use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What names of temporary files begin with.
const PREFIX: &str = ".fgq-";
/// How old a temporary file is of which nobody can be writing any more.
const STALE: Duration = Duration::from_secs(3600);

/// Writes `bytes` to `path`, whole or not at all. A link is followed; its target is replaced.
///
/// # Errors
/// `Io`, also for what [`check_replaceable`] refuses; the file that was at `path` is then still there.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let target = target_of(path)?;
    let folder = folder_of(&target);
    let io = |error| Error::io(path, error);
    remove_stale(folder);
    let mut builder = tempfile::Builder::new();
    let mut file = make_readable(builder.prefix(PREFIX)).tempfile_in(folder).map_err(io)?;
    let _unfinished = Unfinished::new(file.path());
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(&target).map_err(|error| io(error.error))?;
    sync_folder(folder);
    Ok(())
}

/// Removes the temporary files of all writes that are under way, which then fail: for a program that is about to end before
/// they are done, such as one that was sent a signal.
///
/// # Examples
/// ```
/// fgq::abandon_writes();
/// ```
pub fn abandon_writes() {
    for path in unfinished().iter() {
        // Its write may just be done.
        let _ = fs::remove_file(path);
    }
}

/// Temporary files that are being written.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A temporary file for as long as it is being written.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: &Path) -> Self {
        unfinished().insert(path.to_owned());
        Self(path.to_owned())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().remove(&self.0);
    }
}

/// Whether [`replace_file`] may replace what is at `path`: nothing, or a regular file that is not read-only, itself or behind
/// links.
///
/// # Errors
/// `Io`: a device, a pipe, a folder, a link to nothing, a file that is read-only.
pub fn check_replaceable(path: &Path) -> Result<()> {
    target_of(path).map(|_| ())
}

/// Where a file is to be put that is to stand at `path`.
fn target_of(path: &Path) -> Result<PathBuf> {
    let refused = |message: &str| Err(Error::new(ErrorKind::Io, message).at_path(path));
    if fs::symlink_metadata(path).is_err() {
        return Ok(path.to_owned());
    }
    match fs::metadata(path) {
        Err(_) => refused("is a link to nothing; give another name"),
        Ok(found) if !found.is_file() => {
            refused(&format!("is {}, no file; give another name", kind_of(&found)))
        }
        Ok(found) if found.permissions().readonly() => {
            refused("is read-only; make it writable or give another name")
        }
        Ok(_) => fs::canonicalize(path).map_err(|error| Error::io(path, error)),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes temporary files that a process left which was killed in the midst of writing.
fn remove_stale(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX));
    let is_stale = |found: &Metadata| {
        let age = found.modified().ok().and_then(|time| time.elapsed().ok());
        found.is_file() && age.is_some_and(|age| age > STALE)
    };
    for entry in ours.filter(|entry| entry.metadata().is_ok_and(|found| is_stale(&found))) {
        // Another process may have been faster.
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes the new name last; not every file system can.
fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Temporary files are private; a model is as public as the user's mask lets any file be.
#[cfg(unix)]
fn make_readable<'b, 'p, 's>(
    builder: &'b mut tempfile::Builder<'p, 's>,
) -> &'b mut tempfile::Builder<'p, 's> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(std::fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn make_readable<'b, 'p, 's>(
    builder: &'b mut tempfile::Builder<'p, 's>,
) -> &'b mut tempfile::Builder<'p, 's> {
    builder
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn message(path: &Path) -> String {
        let error = replace_file(path, b"new").unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(path)));
        assert!(check_replaceable(path).is_err());
        error.message().to_owned()
    }

    #[test]
    fn devices_and_folders_are_not_replaced() {
        for device in ["/dev/null", "/dev/full", "/dev/zero"] {
            assert!(message(Path::new(device)).contains("a device or a pipe"));
            assert!(!fs::symlink_metadata(device).unwrap().is_file());
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(message(folder.path()).contains("a folder"));
    }

    #[test]
    fn links_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, b"old").unwrap();
        symlink(&file, &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_file(&file).unwrap();
        assert!(message(&link).contains("a link to nothing"));
    }

    #[test]
    fn read_only_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(message(&file).contains("read-only"));
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }

    #[test]
    fn temporary_files_of_the_killed_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (stale, fresh) = (folder.path().join(".fgq-abcdef"), folder.path().join(".fgq-ghijkl"));
        let other = folder.path().join(".other");
        [&stale, &fresh, &other].into_iter().for_each(|path| fs::write(path, b"x").unwrap());
        let old = std::time::SystemTime::now() - 2 * STALE;
        for path in [&stale, &other] {
            File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        }
        replace_file(&folder.path().join("file"), b"new").unwrap();
        assert_eq!([&stale, &fresh, &other].map(|path| path.exists()), [false, true, true]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
