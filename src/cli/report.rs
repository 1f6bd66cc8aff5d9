//! `--report`: what a command found as a web page.

use super::flags::in_flags;
use super::goal::GoalJson;
use super::output::check_writable;
use super::progress::Bars;
use super::uniform::Uniform;
use fgq::{Conversion, Dataset, Graph, Report, SizePoint};
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

/// The conversion as a web page, with the answers to the images that judged it.
pub(super) fn conversion_page(
    conversion: &Conversion,
    graph: &Graph,
    images: &Dataset,
    bytes: usize,
    tried: Vec<SizePoint>,
) -> anyhow::Result<String> {
    let model = &conversion.model;
    let answers = fgq::answers(model, graph, images, &conversion.judges(images), &Bars::new())?;
    let notes = conversion.notes.iter().map(|note| in_flags(&note.to_string())).collect();
    let report = Report::of_conversion(conversion, bytes)?.with_sizes(tried).with_notes(notes);
    Ok(report.with_answers(&answers, images, &model.preprocess, &model.classes).to_html())
}

/// The models that were tried on the way and the one that was made.
pub(super) fn tried(
    goal: Option<&GoalJson>,
    uniform: Option<&Uniform>,
    conversion: &Conversion,
    bytes: usize,
) -> Vec<SizePoint> {
    let own = conversion.model.fidelity.as_ref().and_then(|fidelity| fidelity.judgement);
    let own = own.map(|judgement| SizePoint { name: "this model".into(), bytes: bytes as u64, judgement });
    let tried = goal.into_iter().flat_map(|goal| goal.points.clone());
    tried.chain(uniform.and_then(Uniform::point)).chain(own).collect()
}
