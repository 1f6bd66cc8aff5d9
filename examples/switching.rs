//! One model, cheaper from one image to the next: `cargo run --release --example switching -- MODEL.fgq IMAGE...`
//! where MODEL was made by `fgq convert --nested`. The first image is classified at full width, every further one at the
//! next lower width, and then up again.

use fgq::{Dataset, Images, Session};
use std::path::Path;
use std::time::Instant;

#[allow(clippy::disallowed_methods, reason = "this program runs where there is a clock")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, paths @ ..] = arguments.as_slice() else {
        return Err("give a model and images".into());
    };
    let model = fgq::read_model(Path::new(model))?;
    let mut session = Session::new(&model)?;
    let down: Vec<u8> = session.widths().iter().rev().copied().collect();
    let round: Vec<u8> = down.iter().chain(down.iter().rev().skip(1)).copied().collect();
    for (path, &width) in paths.iter().zip(round.iter().cycle()) {
        let pixels = Dataset::unlabelled(Path::new(path))?.pixels(0, &model.preprocess)?;
        let start = Instant::now();
        session.set_bits(None, width)?;
        let switched = start.elapsed();
        let class = session.run(&pixels)?.top(0, 1)[0];
        let name = model.classes.get(class).map_or("?", String::as_str);
        println!("{path}: width {width} (switched in {switched:?}): {class} {name}");
    }
    Ok(())
}
