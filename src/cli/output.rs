//! What commands print: results on stdout, messages on stderr.

use super::flags::in_flags;
use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::json;
use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether notes and progress are left out.
static QUIET: AtomicBool = AtomicBool::new(false);
/// Whether stages are told of when they are done.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Unreadable images that are named one by one.
const NAMED: usize = 10;

/// What a command hands back.
#[derive(Debug)]
pub struct Output {
    text: String,
    json: String,
    code: u8,
    /// Whether stdout holds something else.
    aside: bool,
}

impl Output {
    /// A result as text and as JSON, with exit code 0.
    pub fn new(text: impl Display, json: &impl Serialize) -> anyhow::Result<Self> {
        Ok(Self { text: text.to_string(), json: serde_json::to_string_pretty(json)?, code: 0, aside: false })
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same for stderr, because stdout holds something else.
    #[must_use]
    pub fn aside(self) -> Self {
        Self { aside: true, ..self }
    }

    /// Writes the text or the JSON to stdout, or where it is to go, and returns the exit code.
    pub fn print(self, json: bool) -> anyhow::Result<u8> {
        let chosen = if json { &self.json } else { &self.text };
        if self.aside {
            let _ = writeln!(io::stderr(), "{}", chosen.trim_end());
            return Ok(self.code);
        }
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{}", chosen.trim_end()).and_then(|()| stdout.flush()) {
            // Whoever reads has seen enough, as in `fgq inspect … | head`.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(self.code),
        }
    }
}

/// Refuses a path that no file can be written to, before any work; `option` is what it was given with.
pub fn check_writable(path: &Path, option: &str) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "{}: is a folder; give the name of a file with {option}", path.display());
    fgq::check_replaceable(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(folder).with_context(|| {
        format!(
            "{}: no file can be written there; create the folder or choose another with {option}",
            folder.display()
        )
    })?;
    Ok(())
}

/// No notes and no progress from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether notes and progress are left out.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Every stage with its time from now on.
pub fn be_verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Whether stages are told of when they are done.
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Writes one line to stderr, if there is one, with options in place of the library's fields.
pub fn message(line: &str) {
    let _ = writeln!(io::stderr(), "{}", in_flags(line));
}

/// Tells of something that the user should know.
pub fn note(text: impl Display) {
    if !is_quiet() {
        message(&format!("{} {text}", Colour::Cyan.of("note:")));
    }
}

/// Tells of something that is probably not as intended.
pub fn warn(text: impl Display) {
    message(&format!("{} {text}", Colour::Yellow.of("warning:")));
}

/// Tells why a command ended without a result, in one JSON object on stdout besides if that is asked for.
pub fn failure(error: &anyhow::Error, json: bool) {
    let causes = causes(error);
    message(&format!("{} {error}", Colour::Red.of("error:")));
    causes.iter().for_each(|cause| message(&format!("  because: {cause}")));
    if json {
        let known = error.chain().find_map(|cause| cause.downcast_ref::<fgq::Error>());
        let failure = FailureJson {
            message: in_flags(&error.to_string()),
            kind: known.map(|error| error.kind().name()),
            path: known.and_then(fgq::Error::path),
            node: known.and_then(fgq::Error::node),
            because: causes,
        };
        // Where nobody reads stdout, stderr has said it.
        let _ = writeln!(io::stdout(), "{}", json!({ "error": failure }));
    }
}

/// Why it came to an error, without what its message says already.
fn causes(error: &anyhow::Error) -> Vec<String> {
    let mut said = error.to_string();
    let mut is_new = |cause: &String| {
        let is_new = !said.contains(cause.as_str());
        said.push_str(cause);
        is_new
    };
    error.chain().skip(1).map(|cause| in_flags(&cause.to_string())).filter(|cause| is_new(cause)).collect()
}

/// An error for programs.
#[derive(Serialize)]
struct FailureJson<'a> {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    because: Vec<String>,
}

/// Colours of the first word of a message.
#[derive(Debug, Clone, Copy)]
enum Colour {
    Red = 31,
    Yellow = 33,
    Cyan = 36,
}

impl Colour {
    /// The word in this colour, where stderr shows colours and nobody objects.
    fn of(self, word: &str) -> String {
        let variable = |name: &str| env::var(name).unwrap_or_default();
        match has_colour(io::stderr().is_terminal(), &variable("NO_COLOR"), &variable("TERM")) {
            true => format!("\x1b[1;{}m{word}\x1b[0m", self as u8),
            false => word.to_owned(),
        }
    }
}

/// Whether colours are wanted (no-color.org).
fn has_colour(is_terminal: bool, no_color: &str, term: &str) -> bool {
    is_terminal && no_color.is_empty() && term != "dumb"
}

/// Names the first unreadable images and counts the others.
pub fn warn_unreadable(unreadable: &[(String, fgq::Error)]) {
    for (name, error) in unreadable.iter().take(NAMED) {
        // The error names the file where there is one.
        match error.path() {
            Some(_) => warn(format!("unreadable image {error}")),
            None => warn(format!("unreadable image {name}: {error}")),
        }
    }
    if unreadable.len() > NAMED {
        warn(format!("{} more images are unreadable", unreadable.len() - NAMED));
    }
}

/// The names of unreadable images.
pub fn names(unreadable: &[(String, fgq::Error)]) -> Vec<&str> {
    unreadable.iter().map(|(name, _)| name.as_str()).collect()
}

/// A number with a space between thousands: `1 234 567`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let place = |(index, digit): (usize, char)| {
        let space = index > 0 && (digits.len() - index).is_multiple_of(3);
        space.then_some(' ').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(place).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_are_for_terminals_whose_users_want_them() {
        assert!(super::has_colour(true, "", "xterm"));
        for (is_terminal, no_color, term) in [(false, "", "xterm"), (true, "1", "xterm"), (true, "", "dumb")]
        {
            assert!(!super::has_colour(is_terminal, no_color, term));
        }
    }

    #[test]
    fn thousands_are_grouped() {
        let grouped = [0, 12, 123, 1234, 123_456, 1_234_567].map(super::grouped);
        assert_eq!(grouped, ["0", "12", "123", "1 234", "123 456", "1 234 567"]);
    }
}
