//! A model and what was measured of it as a web page.

use super::answers::Answered;
use super::drawing::{ChartPoint, scatter};
use super::layers::{self, Known};
use super::page::{page, section};
use super::sheet::{Sheet, SheetCell, SheetColumn};
use super::text::{bytes, escaped};
use super::{NetworkSummary, Summary, facts, spreads};
use crate::bench::Bench;
use crate::convert::Conversion;
use crate::data::Images;
use crate::error::Result;
use crate::eval::{Evaluation, ImageAnswer};
use crate::format::{PackedModel, Preprocess, Setting};
use crate::graph::Graph;
use crate::judge::Judgement;
use crate::layerwise::Note;

/// A model that was tried: its size and how much it agrees with full precision.
#[derive(Debug, Clone, PartialEq)]
pub struct SizePoint {
    /// What it is called.
    pub name: String,
    /// Bytes of its file.
    pub bytes: u64,
    /// What the images that judged it say.
    pub judgement: Judgement,
}

/// What a page is about.
#[derive(Debug)]
enum Subject<'a> {
    Packed(&'a PackedModel, Summary),
    Full(&'a Graph, NetworkSummary),
}

/// A page about a model, to be looked at in a browser and printed: one file of HTML that needs nothing else, light or dark.
///
/// It begins with what the model consists of; conversions, evaluations, benchmarks and answers add what they found.
///
/// # Examples
/// ```no_run
/// let model = fgq::read_model("resnet32.fgq".as_ref())?;
/// let page = fgq::Report::of_model(&model, 165_744)?.to_html();
/// fgq::replace_file("resnet32.html".as_ref(), page.as_bytes())?;
/// # Ok::<(), fgq::Error>(())
/// ```
#[derive(Debug)]
pub struct Report<'a> {
    subject: Subject<'a>,
    conversion: Option<&'a Conversion>,
    evaluation: Option<&'a Evaluation>,
    bench: Option<&'a Bench>,
    answered: Answered,
    sizes: Vec<SizePoint>,
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    fn new(subject: Subject<'a>) -> Self {
        let (conversion, evaluation, bench) = (None, None, None);
        let (answered, sizes, notes) = (Answered::default(), Vec::new(), Vec::new());
        Self { subject, conversion, evaluation, bench, answered, sizes, notes }
    }

    /// Of a packed model, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]).
    pub fn of_model(model: &'a PackedModel, file_bytes: usize) -> Result<Self> {
        Ok(Self::new(Subject::Packed(model, Summary::new(model, file_bytes)?)))
    }

    /// Of a full-precision network.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of_network(graph: &'a Graph) -> Result<Self> {
        Ok(Self::new(Subject::Full(graph, NetworkSummary::new(graph)?)))
    }

    /// Of what a conversion made, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// A model that is not valid.
    pub fn of_conversion(conversion: &'a Conversion, file_bytes: usize) -> Result<Self> {
        let notes = conversion.notes.iter().map(Note::to_string).collect();
        Ok(Self { conversion: Some(conversion), notes, ..Self::of_model(&conversion.model, file_bytes)? })
    }

    /// With an evaluation on `images`, which `preprocess` prepares, and the names of the classes.
    #[must_use]
    pub fn with_evaluation(
        self,
        evaluation: &'a Evaluation,
        images: &dyn Images,
        preprocess: &Preprocess,
        classes: &[String],
    ) -> Self {
        let answered = Answered::new(&evaluation.answers, images, preprocess, classes);
        Self { evaluation: Some(evaluation), answered, ..self }
    }

    /// With what became of some of `images`, as [`answers`](crate::answers()) finds it.
    #[must_use]
    pub fn with_answers(
        self,
        answers: &[ImageAnswer],
        images: &dyn Images,
        preprocess: &Preprocess,
        classes: &[String],
    ) -> Self {
        Self { answered: Answered::new(answers, images, preprocess, classes), ..self }
    }

    /// With the times of a benchmark.
    #[must_use]
    pub fn with_bench(self, bench: &'a Bench) -> Self {
        Self { bench: Some(bench), ..self }
    }

    /// With other models that were tried; the page's own comes last.
    #[must_use]
    pub fn with_sizes(self, sizes: Vec<SizePoint>) -> Self {
        Self { sizes, ..self }
    }

    /// With these notes to the user instead of those of the conversion, which speak of fields.
    #[must_use]
    pub fn with_notes(self, notes: Vec<String>) -> Self {
        Self { notes, ..self }
    }

    /// The page.
    pub fn to_html(&self) -> String {
        let (confusion, (differing, images)) = (self.answered.confusion_html(), self.answered.images_html());
        let body = [
            facts::list(&self.facts()),
            section("What to know", &self.notes()),
            section("Size", &self.size()),
            section("Size against agreement", &self.frontier()),
            section("Settings", &self.settings()),
            section("Time", &self.bench.map(layers::of_bench).unwrap_or_default()),
            section("Layers", &self.layers()),
            section("Confusion of classes", &confusion),
            section(differing, &images),
            section(
                "Activations",
                &self.conversion.map(|it| spreads::spreads(&it.spreads)).unwrap_or_default(),
            ),
            section("Origin", &self.origin()),
        ];
        page(self.title(), &self.lead(), &body.concat())
    }

    fn title(&self) -> &str {
        match &self.subject {
            Subject::Packed(model, _) => &model.name,
            Subject::Full(graph, _) => &graph.name,
        }
    }

    fn lead(&self) -> String {
        match &self.subject {
            Subject::Packed(model, summary) => format!(
                "A packed model that runs with integers only: input {}, {} layers with weights, {} weights.",
                model.input,
                summary.layers.len(),
                super::text::grouped(summary.weights())
            ),
            Subject::Full(graph, summary) => format!(
                "A network in full precision: input {}, {} layers with weights.",
                graph.input,
                summary.layers.len()
            ),
        }
    }

    fn facts(&self) -> Vec<facts::Fact> {
        let mut all = match &self.subject {
            Subject::Packed(_, summary) => facts::of_model(summary),
            Subject::Full(_, summary) => facts::of_network(summary),
        };
        match (self.evaluation, &self.subject) {
            (Some(evaluation), _) => all.extend(facts::of_evaluation(evaluation)),
            (None, Subject::Packed(model, _)) => {
                all.extend(model.fidelity.iter().flat_map(facts::of_fidelity))
            }
            (None, Subject::Full(..)) => {}
        }
        all.extend(self.bench.into_iter().flat_map(facts::of_bench));
        all
    }

    fn notes(&self) -> String {
        self.notes.iter().map(|note| format!("<p>{}</p>\n", escaped(note))).collect()
    }

    fn size(&self) -> String {
        match &self.subject {
            Subject::Packed(_, summary) => facts::sizes(summary),
            Subject::Full(..) => String::new(),
        }
    }

    /// Size against agreement of all models that were tried.
    fn frontier(&self) -> String {
        if self.sizes.len() < 2 {
            return String::new();
        }
        let point = |SizePoint { name, bytes: size, judgement }: &SizePoint| {
            let (percent, [low, high]) = (judgement.agreement_percent(), judgement.agreement_interval());
            let text =
                format!("{name}: {}, agreement {percent:.1}% ({low:.1} to {high:.1})", bytes(*size as usize));
            ChartPoint { x: *size as f64, y: percent, interval: Some([low, high]), text }
        };
        let points: Vec<ChartPoint> = self.sizes.iter().map(point).collect();
        let drawn = scatter(
            "Size against agreement",
            "Bytes of the file across, percent of answers that are full precision\u{2019}s upwards, with 95% intervals; the \
             large point is this model",
            &points,
        );
        let line = |point: &ChartPoint| format!("<li>{}</li>\n", escaped(&point.text));
        format!("{drawn}<ul>\n{}</ul>\n", points.iter().map(line).collect::<String>())
    }

    /// What a model that switches keeps at its settings.
    fn settings(&self) -> String {
        let Subject::Packed(model, _) = &self.subject else { return String::new() };
        let columns = [
            SheetColumn::Words("setting"),
            SheetColumn::Words("widths"),
            SheetColumn::Bar("agreement, %"),
            SheetColumn::Bar("divergence, nats"),
        ];
        let mut sheet = Sheet::new("settings", &columns);
        for Setting { name, widths, judgement } in model.switching.iter().flat_map(|it| &it.settings) {
            let widths = widths.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
            sheet.row([
                SheetCell::words(name),
                SheetCell::words(widths),
                SheetCell::number(judgement.map(|it| it.agreement_percent()), |percent| {
                    format!("{percent:.1}")
                }),
                SheetCell::number(judgement.map(|it| it.divergence), |nats| format!("{nats:.4}")),
            ]);
        }
        sheet.to_html()
    }

    fn layers(&self) -> String {
        match &self.subject {
            Subject::Packed(_, summary) => {
                layers::of_model(summary, &Known { conversion: self.conversion, bench: self.bench })
            }
            Subject::Full(_, summary) => layers::of_network(summary),
        }
    }

    fn origin(&self) -> String {
        match &self.subject {
            Subject::Packed(model, _) => facts::origin(model),
            Subject::Full(..) => String::new(),
        }
    }
}
