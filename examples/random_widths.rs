//! How a model that switches answers with random widths in its layers:
//! `cargo run --release --example random_widths -- MODEL.fgq IMAGES [ASSIGNMENTS]`
//! where IMAGES is a folder with a folder for every class.

use fgq::{Dataset, Images, Session};
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, images, count @ ..] = arguments.as_slice() else {
        return Err("give a model and a folder of images".into());
    };
    let model = fgq::read_model(Path::new(model))?;
    let classes = model.shapes()?.last().map_or(0, fgq::Shape::len);
    let images = Dataset::labelled(Path::new(images), None, classes)?;
    let mut pixels = Vec::new();
    for index in 0..images.len() {
        pixels.extend(images.pixels(index, &model.preprocess)?);
    }
    let labels: Vec<Option<usize>> = images.entries().iter().map(|entry| entry.label).collect();
    let mut session = Session::new(&model)?;
    let (widths, layers) = (session.widths().to_vec(), session.layers().count());
    let mut state = 1u64;
    let mut top1 = Vec::new();
    for _ in 0..count.first().map_or(Ok(100), |count| count.parse())? {
        let mut chosen = || {
            // Knuth's MMIX generator; its upper bits are random.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            widths[(state >> 33) as usize % widths.len()]
        };
        let assignment: Vec<u8> = (0..layers).map(|_| chosen()).collect();
        session.set_widths(&assignment)?;
        let logits = session.run(&pixels)?;
        let is_right = |&image: &usize| logits.top(image, 1).first().copied() == labels[image];
        top1.push(100.0 * (0..labels.len()).filter(is_right).count() as f64 / labels.len() as f64);
    }
    let mean = top1.iter().sum::<f64>() / top1.len().max(1) as f64;
    let worst = top1.iter().copied().fold(f64::INFINITY, f64::min);
    println!("{} random assignments: top-1 {mean:.2}% on average, {worst:.1}% at worst", top1.len());
    Ok(())
}
