//! Files for readers that take paths.

use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// What lies between the files of an input that stands for several.
const SEPARATOR: &[u8] = b"\n=====\n";

thread_local! {
    // One for all inputs of a thread, because making one takes longer than most readers.
    static FOLDER: TempDir = tempfile::tempdir().expect("a temporary folder");
}

/// What `read` makes of a folder with these files, by name.
pub fn with_files<T>(files: &[(&str, &[u8])], read: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let paths = files.iter().map(|(name, _)| folder.path().join(name)).collect::<Vec<_>>();
        for (path, (_, bytes)) in paths.iter().zip(files) {
            fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder in it");
            fs::write(path, bytes).expect("a file in it");
        }
        let result = read(folder.path());
        paths.iter().for_each(|path| fs::remove_file(path).expect("still there"));
        result
    })
}

/// The first file of an input that stands for several, and the others; empty where there are no more.
pub fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let place = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    place.map_or((bytes, &[]), |place| (&bytes[..place], &bytes[place + SEPARATOR.len()..]))
}
