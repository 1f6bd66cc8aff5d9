//! `--report`: what a command found as a web page.

use super::output::check_writable;
use fgq::Dataset;
use std::path::PathBuf;

/// Whether a page is wanted.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ReportArgs {
    /// Write a web page with what was found: one file that needs nothing else, to be read or printed
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
}

impl ReportArgs {
    /// Refuses a file that cannot be written, before any work.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.report.iter().try_for_each(|path| check_writable(path, "--report"))
    }

    /// Writes the page that `page` makes, whole or not at all, if one is wanted.
    pub(super) fn write(&self, page: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        let Some(path) = &self.report else { return Ok(()) };
        Ok(fgq::replace_file(path, page()?.as_bytes())?)
    }
}

/// Names of the classes of a packed model or a network, as far as anything says them.
pub(super) fn class_names(named: &[String], images: &Dataset, outputs: usize) -> Vec<String> {
    let folders = || images.class_names().map(<[String]>::to_vec);
    match named {
        [] => folders().or_else(|| fgq::class_names(outputs)).unwrap_or_default(),
        names => names.to_vec(),
    }
}
