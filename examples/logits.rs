//! Runs a full-precision network on images in a `.npy` file and writes its logits to another.
//!
//! ```sh
//! cargo run --release --example logits -- MODEL INPUT.npy OUTPUT.npy [ARCHITECTURE]
//! ```
//! Input: `images × channels × height × width`, little-endian f32 in C order. Output: `images × classes`.

#![allow(clippy::disallowed_methods)]

use anyhow::{Context, Result, bail, ensure};
use fgq::{Interpreter, LoadOptions};
use ndarray::{Array2, Array3};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let [model, input, output, rest @ ..] = arguments.as_slice() else {
        bail!("usage: logits MODEL INPUT.npy OUTPUT.npy [ARCHITECTURE]");
    };
    let (images, size) = read_images(Path::new(input))?;
    let architecture = rest.first().cloned();
    let options = LoadOptions { architecture, input_size: Some(size), ..LoadOptions::default() };
    let graph = fgq::load(Path::new(model), &options)?.graph;
    let interpreter = Interpreter::new(&graph)?;
    let start = Instant::now();
    let logits = interpreter.run_batch(&images)?;
    eprintln!("{:.2} ms per image", start.elapsed().as_secs_f64() * 1e3 / images.len().max(1) as f64);
    write_rows(Path::new(output), &logits)
}

fn read_images(path: &Path) -> Result<(Vec<Array3<f32>>, [usize; 2])> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    ensure!(bytes.len() > 10 && bytes.starts_with(b"\x93NUMPY\x01"), "not a .npy file of version 1");
    let length = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(bytes.get(10..length).context("header cut off")?)?;
    ensure!(
        header.contains("'<f4'") && header.contains("False"),
        "not little-endian f32 in C order: {header}"
    );
    let shape = header.split(['(', ')']).nth(1).context("no shape")?;
    let shape = shape.split(',').map(|extent| Ok(extent.trim().parse()?)).collect::<Result<Vec<usize>>>()?;
    let [_, channels, height, width] = shape[..] else { bail!("expected four axes, not {shape:?}") };
    let values = bytes[length..].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<_>>();
    let images = values.chunks(channels * height * width);
    let images = images.map(|image| Array3::from_shape_vec((channels, height, width), image.to_vec()));
    Ok((images.collect::<Result<_, _>>()?, [height, width]))
}

fn write_rows(path: &Path, rows: &Array2<f32>) -> Result<()> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {:?}, }}", rows.dim());
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(format!("{header:117}\n").as_bytes());
    bytes.extend(rows.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).with_context(|| path.display().to_string())
}
