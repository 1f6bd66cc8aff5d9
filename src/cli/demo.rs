//! `fgq demo`: the whole way on an embedded network and embedded images.

use super::output::{Output, grouped};
use super::progress::Bars;
use super::table::{Column, Table};
use anyhow::{Context, ensure};
use fgq::{
    Accuracy, Channels, Comparison, ConvertOptions, Graph, LoadOptions, PackedModel, PixelImages, Preprocess,
    Resize, Scale, Size, Summary,
};
use safetensors::SafeTensors;
use serde::Serialize;
use std::time::Instant;

const NETWORK: &[u8] = include_bytes!("../../fixtures/digits/digits-resnet.onnx");
const IMAGES: &[u8] = include_bytes!("../../fixtures/digits/digits.safetensors");
/// Rows and columns of an image.
const SIDE: usize = 8;
/// Training images used for calibration.
const SAMPLES: usize = 512;
/// Group sizes that are compared.
const GROUPS: [usize; 2] = [4, 64];
/// Planes of the model that switches.
const PLANES: &str = "ternary:64*3";

#[derive(Serialize)]
struct Demo {
    calibration_images: usize,
    test_images: usize,
    rows: Vec<NetworkJson>,
    seconds: f64,
}

/// One network; shares are in percent.
#[derive(Serialize)]
struct NetworkJson {
    network: String,
    right: usize,
    top1: f64,
    drop: f64,
    agreement: f64,
    bytes: usize,
    bits_per_weight: f64,
    multiplications_left: f64,
}

/// Converts at two group sizes, and to a model that switches, and compares with full precision on test images.
pub fn run() -> anyhow::Result<Output> {
    let start = Instant::now();
    let graph = fgq::load_onnx(NETWORK.to_vec(), "digits-resnet.onnx", &LoadOptions::default())?.graph;
    let (train, test) = (images("train")?.spread(SAMPLES), images("test")?);
    let mut rows = Vec::new();
    for group in GROUPS {
        let (row, summary, comparison) = ternary(&graph, &train, &test, group)?;
        if rows.is_empty() {
            rows.push(full_precision(&comparison.reference, &summary));
        }
        rows.push(row);
    }
    rows.extend(switching(&graph, &train, &test)?);
    let seconds = start.elapsed().as_secs_f64();
    let demo = Demo { calibration_images: train.pixels.len(), test_images: test.pixels.len(), rows, seconds };
    Output::new(demo.text(), &demo)
}

fn ternary(
    graph: &Graph,
    train: &PixelImages,
    test: &PixelImages,
    group: usize,
) -> anyhow::Result<(NetworkJson, Summary, Comparison)> {
    let options = ConvertOptions { group, ..ConvertOptions::default() };
    let model = fgq::convert(graph.clone(), &preprocess(), train, &options, &Bars::new())?.model;
    measured(format!("ternary, N={group}"), graph, &model, model.to_bytes()?.len(), test)
}

/// One file at each of its widths, the full one first.
fn switching(graph: &Graph, train: &PixelImages, test: &PixelImages) -> anyhow::Result<Vec<NetworkJson>> {
    let options = ConvertOptions { nested: Some(PLANES.parse()?), ..ConvertOptions::default() };
    let model = fgq::convert(graph.clone(), &preprocess(), train, &options, &Bars::new())?.model;
    let bytes = model.to_bytes()?.len();
    let widths = model.switching.as_ref().map_or(&[][..], |switching| &switching.widths);
    let row = |width: &u8| {
        let at = model.at(&model.widths_of(&width.to_string())?)?;
        Ok(measured(format!("one file, {width} of {} planes", widths.len()), graph, &at, bytes, test)?.0)
    };
    widths.iter().rev().map(row).collect()
}

/// The row of a model in a file of so many bytes.
fn measured(
    network: String,
    graph: &Graph,
    model: &PackedModel,
    bytes: usize,
    test: &PixelImages,
) -> anyhow::Result<(NetworkJson, Summary, Comparison)> {
    let summary = Summary::new(model, bytes)?;
    let evaluation = fgq::evaluate(model, test, Some(graph), &Bars::new())?;
    let comparison = evaluation.comparison.context("nothing to compare with")?;
    let row = NetworkJson {
        network,
        right: evaluation.accuracy.top1,
        top1: evaluation.accuracy.top1_percent(),
        drop: comparison.drop(),
        agreement: comparison.judgement.agreement_percent(),
        bytes: summary.bytes.total(),
        bits_per_weight: summary.bits_per_weight(),
        multiplications_left: 100.0 * summary.multiplications_left(),
    };
    Ok((row, summary, comparison))
}

fn full_precision(accuracy: &Accuracy, summary: &Summary) -> NetworkJson {
    NetworkJson {
        network: "full precision".to_owned(),
        right: accuracy.top1,
        top1: accuracy.top1_percent(),
        drop: 0.0,
        agreement: 100.0,
        bytes: 4 * summary.weights(),
        bits_per_weight: 32.0,
        multiplications_left: 100.0,
    }
}

/// How the network was trained to see its images.
fn preprocess() -> Preprocess {
    Preprocess {
        resize: Resize::None,
        as_is: true,
        crop: Size::square(SIDE),
        interpolation: fgq::Interpolation::Bilinear,
        mean: vec![0.3053],
        std: vec![0.3758],
        scale: Scale::Unit,
        channels: Channels::Grey,
    }
}

/// The images and labels of one part, `train` or `test`.
fn images(part: &str) -> anyhow::Result<PixelImages> {
    let file = SafeTensors::deserialize(IMAGES)?;
    let (pixels, labels) = (file.tensor(&format!("{part}_images"))?, file.tensor(&format!("{part}_labels"))?);
    let pixels: Vec<Vec<u8>> = pixels.data().chunks_exact(SIDE * SIDE).map(<[u8]>::to_vec).collect();
    let labels: Vec<usize> = labels.data().iter().copied().map(usize::from).collect();
    ensure!(pixels.len() == labels.len(), "the embedded images are damaged");
    Ok(PixelImages { pixels, labels })
}

impl Demo {
    fn text(&self) -> String {
        let Self { calibration_images, test_images, rows, seconds } = self;
        let mut table = Table::new(&[
            Column::Left("network"),
            Column::Right("top-1"),
            Column::Right("right"),
            Column::Right("drop"),
            Column::Right("agreement"),
            Column::Right("bytes"),
            Column::Right("bits/weight"),
            Column::Right("multiplications"),
        ]);
        for row in rows {
            table.row([
                row.network.clone(),
                format!("{:.1}%", row.top1),
                format!("{} of {test_images}", row.right),
                format!("{:.1}", row.drop),
                format!("{:.1}%", row.agreement),
                grouped(row.bytes),
                format!("{:.2}", row.bits_per_weight),
                format!("{:.1}%", row.multiplications_left),
            ]);
        }
        format!(
            "A small ResNet for handwritten digits, made ternary without training.\n\
             {calibration_images} images for calibration, {test_images} others for testing, {seconds:.1} s.\n\n\
             {table}\n\
             Ternary rows run with integers only, pixels to class. Bytes are those of the whole file.\n\
             Images: E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0.\n"
        )
    }
}
