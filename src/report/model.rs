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
enum PageSubject<'a> {
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
    subject: PageSubject<'a>,
    conversion: Option<&'a Conversion>,
    evaluation: Option<&'a Evaluation>,
    bench: Option<&'a Bench>,
    answered: Answered,
    sizes: Vec<SizePoint>,
    notes: Vec<String>,
}

impl<'a> Report<'a> {
    fn new(subject: PageSubject<'a>) -> Self {
        let (conversion, evaluation, bench) = (None, None, None);
        let (answered, sizes, notes) = (Answered::default(), Vec::new(), Vec::new());
        Self { subject, conversion, evaluation, bench, answered, sizes, notes }
    }

    /// Of a packed model, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]).
    pub fn of_model(model: &'a PackedModel, file_bytes: usize) -> Result<Self> {
        Ok(Self::new(PageSubject::Packed(model, Summary::new(model, file_bytes)?)))
    }

    /// Of a full-precision network.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn of_network(graph: &'a Graph) -> Result<Self> {
        Ok(Self::new(PageSubject::Full(graph, NetworkSummary::new(graph)?)))
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
            PageSubject::Packed(model, _) => &model.name,
            PageSubject::Full(graph, _) => &graph.name,
        }
    }

    fn lead(&self) -> String {
        match &self.subject {
            PageSubject::Packed(model, summary) => format!(
                "A packed model that runs with integers only: input {}, {} layers with weights, {} weights.",
                model.input,
                summary.layers.len(),
                super::text::grouped(summary.weights())
            ),
            PageSubject::Full(graph, summary) => format!(
                "A network in full precision: input {}, {} layers with weights.",
                graph.input,
                summary.layers.len()
            ),
        }
    }

    fn facts(&self) -> Vec<facts::Fact> {
        let mut all = match &self.subject {
            PageSubject::Packed(_, summary) => facts::of_model(summary),
            PageSubject::Full(_, summary) => facts::of_network(summary),
        };
        match (self.evaluation, &self.subject) {
            (Some(evaluation), _) => all.extend(facts::of_evaluation(evaluation)),
            (None, PageSubject::Packed(model, _)) => {
                all.extend(model.fidelity.iter().flat_map(facts::of_fidelity))
            }
            (None, PageSubject::Full(..)) => {}
        }
        all.extend(self.bench.into_iter().flat_map(facts::of_bench));
        all
    }

    fn notes(&self) -> String {
        self.notes.iter().map(|note| format!("<p>{}</p>\n", escaped(note))).collect()
    }

    fn size(&self) -> String {
        match &self.subject {
            PageSubject::Packed(_, summary) => facts::sizes(summary),
            PageSubject::Full(..) => String::new(),
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
        let PageSubject::Packed(model, _) = &self.subject else { return String::new() };
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
            PageSubject::Packed(_, summary) => {
                layers::of_model(summary, &Known { conversion: self.conversion, bench: self.bench })
            }
            PageSubject::Full(_, summary) => layers::of_network(summary),
        }
    }

    fn origin(&self) -> String {
        match &self.subject {
            PageSubject::Packed(model, _) => facts::origin(model),
            PageSubject::Full(..) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{ConvertOptions, convert};
    use crate::data::PixelImages;
    use crate::eval::answers;
    use crate::format::arbitrary::preprocess;
    use crate::layerwise::Method;
    use crate::source::{LoadOptions, load_onnx};
    use std::path::Path;

    /// Markup that breaks out of text and of attributes.
    const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'";

    fn digits() -> Graph {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/digits/digits-resnet.onnx");
        load_onnx(std::fs::read(path).unwrap(), "digits", &LoadOptions::default()).unwrap().graph
    }

    fn check(page: &str) {
        for absent in ["<script>alert", "<img src=x", "onerror=alert(2)>'<", "NaN%", "\"\">"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    }

    #[test]
    fn hostile_names_of_layers_classes_and_files_are_text() {
        let mut graph = digits();
        let input = graph.input;
        let preprocess = preprocess(input);
        let image = |at: usize| (0..input.len()).map(|pixel| (pixel * 37 + at * 91) as u8).collect();
        let images = PixelImages { pixels: (0..8).map(image).collect(), labels: Vec::new() };
        let options = ConvertOptions { method: Method::ClosedForm, group: 64, ..ConvertOptions::default() };
        graph.name = HOSTILE.into();
        graph.nodes.iter_mut().for_each(|node| node.name = format!("{}{HOSTILE}", node.name));
        check(&Report::of_network(&graph).unwrap().to_html());

        let mut conversion = convert(graph.clone(), &preprocess, &images, &options, &()).unwrap();
        let model = &mut conversion.model;
        (model.provenance.source, model.provenance.generator) = (HOSTILE.into(), HOSTILE.into());
        model.provenance.options.insert(HOSTILE.into(), HOSTILE.into());
        model.classes = vec![HOSTILE.into(); 10];
        let found = answers(&conversion.model, &graph, &images, &conversion.judges(&images), &()).unwrap();
        let judgement = Judgement { images: 1, agreeing: 1, divergence: 0.0, divergence_error: None };
        let size = SizePoint { name: HOSTILE.into(), bytes: 1, judgement };
        let report = Report::of_conversion(&conversion, 1000).unwrap();
        let report = report.with_answers(&found, &images, &preprocess, &conversion.model.classes);
        let page = report.with_sizes(vec![size.clone(), size]).with_notes(vec![HOSTILE.into()]).to_html();
        check(&page);
        for part in ["Size against agreement", "Activations", "Confusion of classes", "Origin"] {
            assert!(page.contains(&format!("<h2>{part}</h2>")), "{part}");
        }
    }
}
