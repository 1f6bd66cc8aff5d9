//! How long work reports how far it is, and is told to stop; the library itself never prints.

use crate::error::{Error, ErrorKind, Result};

/// Receives the progress of long work, from any thread.
pub trait Progress: Sync {
    /// A stage of `total` steps begins.
    fn start(&self, stage: &str, total: usize);
    /// `steps` more steps of the stage are done.
    fn advance(&self, steps: usize);
    /// How the stage goes, in a few words.
    fn status(&self, _: &str) {}
    /// Whether the work is to end, with an error of the kind [`Cancelled`](ErrorKind::Cancelled); asked after every
    /// [`advance`](Self::advance).
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// No reports.
impl Progress for () {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
}

/// Reports `steps` more steps.
///
/// # Errors
/// `Cancelled`, if the work is to end.
pub(crate) fn advance(progress: &dyn Progress, steps: usize) -> Result<()> {
    progress.advance(steps);
    match progress.is_cancelled() {
        true => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        false => Ok(()),
    }
}
