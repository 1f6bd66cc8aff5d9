//! TAR archives, plain or as WebDataset writes them: a number in `x.cls` is the class of `x.jpg`.

use super::images::{ArchivedImage, MAX_IMAGES, is_image};
use crate::error::{Error, ErrorKind, Result};
use crate::inputs::Extent;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// Bytes of what precedes every entry.
pub(super) const BLOCK: u64 = 512;
/// Where archives of the last forty years name their kind.
const KIND: std::ops::Range<usize> = 257..262;
/// Longest file that says a class, in bytes.
const MAX_CLASS: u64 = 32;
/// What files that say a class end with.
const CLASS: &str = ".cls";

/// Whether a file that begins with `start` is a TAR archive.
pub(super) fn begins_like_tar(start: &[u8]) -> bool {
    start.get(KIND) == Some(b"ustar")
}

/// The images of an archive, in the order of their names.
///
/// # Errors
/// `Format`, if it is damaged, a name occurs twice, or a class is no number.
pub(super) fn images(file: &File) -> Result<Vec<ArchivedImage>> {
    let (mut images, mut classes) = (Vec::new(), HashMap::new());
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        if let Some(stem) = name.strip_suffix(CLASS) {
            classes.insert(stem.to_owned(), class(&name, &mut entry)?);
        } else if is_image(&name) {
            let extent = Extent { start: entry.raw_file_position(), length: entry.size() };
            images.push(ArchivedImage { name, extent: Some(extent), label: None });
        }
    }
    if images.len() > MAX_IMAGES {
        return Err(malformed(format!("more than {MAX_IMAGES} images")));
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = images.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(malformed(format!("'{}' is in it twice", pair[0].name)));
    }
    for image in &mut images {
        image.label = classes.get(stem(&image.name)).copied();
    }
    Ok(images)
}

fn class(name: &str, entry: &mut impl Read) -> Result<usize> {
    let mut text = String::new();
    let read = entry.take(MAX_CLASS).read_to_string(&mut text);
    let class = read.ok().and_then(|_| text.trim().parse().ok());
    class.ok_or_else(|| malformed(format!("'{name}' in it holds no number of a class")))
}

/// A name without all of its extensions, as WebDataset takes files together.
fn stem(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].find('.').map_or(name, |dot| &name[..file + dot])
}

fn damaged(error: std::io::Error) -> Error {
    malformed("not a TAR archive, or damaged; was it downloaded completely?").because(error)
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Format, message)
}
