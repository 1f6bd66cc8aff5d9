//! How long work reports how far it is; the library itself never prints.

/// Receives the progress of long work, from any thread.
pub trait Progress: Sync {
    /// A stage of `total` steps begins.
    fn start(&self, stage: &str, total: usize);
    /// `steps` more steps of the stage are done.
    fn advance(&self, steps: usize);
    /// How the stage goes, in a few words.
    fn status(&self, _: &str) {}
}

/// No reports.
impl Progress for () {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
}
