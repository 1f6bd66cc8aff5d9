//! Standard input in place of a file.

use super::files::takes_stdout;
use anyhow::{Context, ensure};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tempfile::TempDir;

/// What stands for standard input, or for standard output.
const DASH: &str = "-";

/// Holds the copy of standard input.
static FOLDER: Mutex<Option<TempDir>> = Mutex::new(None);

/// Arguments in which a file stands for standard input, of which models and images can be read like of any other.
pub(super) fn expanded(mut arguments: Vec<OsString>) -> anyhow::Result<Vec<OsString>> {
    let is_output = |at: usize| takes_stdout(&arguments[at - 1..=at]);
    let is_input = |at: &usize| arguments[*at] == OsStr::new(DASH) && !is_output(*at);
    let places: Vec<usize> = (1..arguments.len()).filter(is_input).collect();
    ensure!(places.len() < 2, "'-' twice, but stdin can be read only once");
    if let Some(&place) = places.first() {
        arguments[place] = copied().context("stdin cannot be kept")?.into();
    }
    Ok(arguments)
}

/// Removes the copy.
pub(super) fn forget() {
    folder().take();
}

fn copied() -> io::Result<PathBuf> {
    let place = make_folder()?;
    let mut stdin = BufReader::new(io::stdin().lock());
    let path = place.join(format!("stdin{}", ending(stdin.fill_buf()?)));
    io::copy(&mut stdin, &mut File::create(&path)?)?;
    Ok(path)
}

/// Nothing forgets the folder before it is remembered.
fn make_folder() -> io::Result<PathBuf> {
    let mut kept = folder();
    Ok(kept.insert(tempfile::tempdir()?).path().to_owned())
}

/// What the name of a file that begins so should end with, where a name has to tell what it is.
fn ending(start: &[u8]) -> &'static str {
    match start {
        [0x08, ..] => ".onnx",
        [_, _, _, _, _, _, _, _, b'{', ..] => ".safetensors",
        _ => "",
    }
}

fn folder() -> MutexGuard<'static, Option<TempDir>> {
    FOLDER.lock().unwrap_or_else(PoisonError::into_inner)
}
