//! `fgq bench`: how fast a packed model runs, layer by layer.

use super::output::{Output, grouped};
use super::report::ReportArgs;
use super::settings::BitsArgs;
use super::source::SourceArgs;
use super::table::{Column, Table};
use fgq::{Bench, BenchLayer, BenchOptions, PackedModel, Report, Size, SwitchTimes};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Runs of full precision at most; they are slow, and only the order of magnitude matters.
const REFERENCE_RUNS: usize = 5;

/// Arguments of `fgq bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "FGQ_KERNELS=NAME chooses the kernels; `fgq info` names the fastest of this machine.")]
pub struct Args {
    /// The packed model
    #[arg(value_name = "MODEL.fgq")]
    model: PathBuf,
    /// Runs that count; three before them do not
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Chooses the pixels, which are noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The full-precision network, to be timed too
    #[arg(long, value_name = "MODEL")]
    reference: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    bits: BitsArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// Times in milliseconds, rates in 10⁹ products per second, shares of the peak in percent.
#[derive(Serialize)]
struct BenchJson<'a> {
    model: String,
    kernels: &'static str,
    threads: usize,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    macs: usize,
    gmacs: f64,
    peak_gmacs: f64,
    peak_share: f64,
    weight_bytes: usize,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    switching: Option<SwitchTimesJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<ReferenceTimeJson>,
    layers: Vec<BenchLayerJson<'a>>,
}

/// Times of switching to the setting.
#[derive(Serialize)]
struct SwitchTimesJson {
    first_ms: f64,
    back_ms: f64,
}

#[derive(Serialize)]
struct ReferenceTimeJson {
    model: String,
    runs: usize,
    median_ms: f64,
    /// Full precision's time divided by the packed model's.
    speedup: f64,
}

#[derive(Serialize)]
struct BenchLayerJson<'a> {
    name: &'a str,
    operator: &'static str,
    /// The layer whose kernel writes it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    with: Option<&'a str>,
    shape: [usize; 3],
    median_us: f64,
    macs: usize,
    gmacs: f64,
    peak_share: f64,
    weight_bytes: usize,
    input_bytes: usize,
    output_bytes: usize,
    bytes: usize,
}

/// Times the model, and full precision if it was given.
pub fn run(args: &Args) -> anyhow::Result<Output> {
    args.report.check()?;
    let model = fgq::read_model(&args.model)?;
    let options = BenchOptions { runs: args.runs as usize, seed: args.seed };
    let bench = fgq::bench(&model, args.bits.setting(), &options)?;
    args.report.write(|| {
        let bytes = model.to_bytes()?.len();
        Ok(Report::of_model(&model, bytes)?.with_bench(&bench).to_html())
    })?;
    let json = BenchJson {
        model: args.model.display().to_string(),
        reference: args.reference(&model, &bench, &options)?,
        ..BenchJson::new(&bench)
    };
    Output::new(json.text()?, &json)
}

impl Args {
    fn reference(
        &self,
        model: &PackedModel,
        bench: &Bench,
        options: &BenchOptions,
    ) -> anyhow::Result<Option<ReferenceTimeJson>> {
        let Some(path) = &self.reference else { return Ok(None) };
        let size = Size { height: model.input.height, width: model.input.width };
        let graph = self.source.load_at(path, size)?;
        let runs = options.runs.min(REFERENCE_RUNS);
        let median = fgq::median(fgq::bench_reference(&graph, &BenchOptions { runs, ..*options })?);
        Ok(Some(ReferenceTimeJson {
            model: path.display().to_string(),
            runs,
            median_ms: milliseconds(median),
            speedup: median.as_secs_f64() / bench.median().as_secs_f64(),
        }))
    }
}

impl<'a> BenchJson<'a> {
    fn new(bench: &'a Bench) -> Self {
        let sum = |part: fn(&BenchLayer) -> usize| bench.layers.iter().map(part).sum();
        let gmacs = gmacs(bench.products(), bench.median());
        Self {
            model: String::new(),
            kernels: bench.kernels.name(),
            threads: bench.threads,
            runs: bench.runs.len(),
            median_ms: milliseconds(bench.median()),
            min_ms: milliseconds(bench.shortest()),
            macs: bench.products(),
            gmacs,
            peak_gmacs: bench.peak / 1e9,
            peak_share: 100.0 * gmacs * 1e9 / bench.peak,
            weight_bytes: sum(|layer| layer.weight_bytes),
            bytes: sum(BenchLayer::bytes),
            switching: bench.switching.map(|SwitchTimes { first, back }| SwitchTimesJson {
                first_ms: milliseconds(first),
                back_ms: milliseconds(back),
            }),
            reference: None,
            layers: bench.layers.iter().map(|layer| BenchLayerJson::new(layer, bench.peak)).collect(),
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut table = Table::new(&[
            Column::Left("layer"),
            Column::Left("operator"),
            Column::Right("shape"),
            Column::Right("us"),
            Column::Right("time"),
            Column::Right("GMAC/s"),
            Column::Right("of peak"),
            Column::Right("weights"),
            Column::Right("bytes"),
            Column::Right("GB/s"),
        ]);
        let total: f64 = self.layers.iter().map(|layer| layer.median_us).sum();
        self.layers.iter().for_each(|layer| table.row(layer.cells(total)));
        let mut text = table.to_string();
        let threads =
            if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        writeln!(text, "\nkernels    {}, {threads}", self.kernels)?;
        let Self { runs, median_ms, min_ms, gmacs, peak_gmacs, peak_share, .. } = self;
        writeln!(text, "time       {median_ms:.3} ms (median of {runs}), {min_ms:.3} ms at least")?;
        let macs = self.macs as f64 / 1e9;
        writeln!(
            text,
            "products   {macs:.3} G: {gmacs:.1} GMAC/s, {peak_share:.1}% of {peak_gmacs:.1} measured"
        )?;
        writeln!(
            text,
            "memory     {} bytes, {} of them weights",
            grouped(self.bytes),
            grouped(self.weight_bytes)
        )?;
        if let Some(SwitchTimesJson { first_ms, back_ms }) = &self.switching {
            writeln!(text, "switching  {first_ms:.3} ms for the first time, {back_ms:.3} ms after that")?;
        }
        if let Some(ReferenceTimeJson { median_ms, runs, speedup, .. }) = &self.reference {
            writeln!(text, "float      {median_ms:.1} ms (median of {runs}), {speedup:.1} times as long")?;
        }
        Ok(text)
    }
}

impl<'a> BenchLayerJson<'a> {
    fn new(layer: &'a BenchLayer, peak: f64) -> Self {
        let gmacs = gmacs(layer.products, layer.time);
        Self {
            name: &layer.name,
            operator: layer.operator,
            with: layer.with.as_deref(),
            shape: [layer.shape.channels, layer.shape.height, layer.shape.width],
            median_us: layer.time.as_secs_f64() * 1e6,
            macs: layer.products,
            gmacs,
            peak_share: 100.0 * gmacs * 1e9 / peak,
            weight_bytes: layer.weight_bytes,
            input_bytes: layer.input_bytes,
            output_bytes: layer.output_bytes,
            bytes: layer.bytes(),
        }
    }

    fn cells(&self, total: f64) -> [String; 10] {
        let if_any = |any: bool, text: String| if any { text } else { "-".to_owned() };
        [
            self.name.to_owned(),
            self.with
                .map_or_else(|| self.operator.to_owned(), |with| format!("{} with {with}", self.operator)),
            self.shape.map(|extent| extent.to_string()).join("x"),
            format!("{:.1}", self.median_us),
            format!("{:.1}%", 100.0 * self.median_us / total.max(f64::MIN_POSITIVE)),
            if_any(self.macs > 0, format!("{:.1}", self.gmacs)),
            if_any(self.macs > 0, format!("{:.1}%", self.peak_share)),
            if_any(self.weight_bytes > 0, grouped(self.weight_bytes)),
            grouped(self.bytes),
            if_any(self.median_us > 0.0, format!("{:.1}", self.bytes as f64 / 1e3 / self.median_us)),
        ]
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Rate in 10⁹ per second; 0 where nothing took no time.
fn gmacs(products: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { products as f64 / 1e9 / time.as_secs_f64() }
}
