//! Names the commit that the command is built from, where it is known: `FGQ_COMMIT`, what `cargo package` wrote down, or
//! the checkout. Without any of them, as from an archive of the sources, the version stands alone.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// What the command is made of. The checkout is looked at again when one of these changes, not with every commit, which
/// would build everything anew.
const SOURCES: [&str; 4] = ["src", "build.rs", "Cargo.toml", "Cargo.lock"];
/// Digits of a commit that are shown.
const DIGITS: usize = 12;

fn main() {
    println!("cargo::rerun-if-env-changed=FGQ_COMMIT");
    SOURCES.iter().for_each(|source| println!("cargo::rerun-if-changed={source}"));
    if env::var_os("CARGO_FEATURE_COMMAND").is_none() {
        return;
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let folder = Path::new(&folder);
    match given().or_else(|| packaged(folder)).or_else(|| checked_out(folder)) {
        Some(commit) => println!("cargo::rustc-env=FGQ_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=FGQ_VERSION={version}"),
    }
}

fn given() -> Option<String> {
    env::var("FGQ_COMMIT").ok().and_then(|commit| digits(&commit))
}

/// The commit in the file that `cargo package` adds.
fn packaged(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(folder.join(".cargo_vcs_info.json")).ok()?;
    digits(text.split("\"sha1\"").nth(1)?.split('"').nth(1)?)
}

/// The commit of the repository whose top `folder` is, and whether anything differs from it.
fn checked_out(folder: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let top = fs::canonicalize(git(&["rev-parse", "--show-toplevel"])?).ok()?;
    if top != fs::canonicalize(folder).ok()? {
        return None;
    }
    let commit = digits(&git(&["rev-parse", "HEAD"])?)?;
    let changes = git(&[&["status", "--porcelain", "--"], &SOURCES[..]].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}, with changes") })
}

/// The first digits of a commit, if it is one.
fn digits(commit: &str) -> Option<String> {
    let digits = commit.trim().get(..DIGITS)?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| digits.to_owned())
}
