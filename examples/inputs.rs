//! What exported models are tested with: the bytes that a model reads of the first images, and its logits.
//!
//!     cargo run --release --example inputs -- MODEL.fgq IMAGES COUNT FOLDER
//!
//! writes to FOLDER: `pixels` (the bytes), `inputs.h` (the same in C), `expected` (a line of logits for
//! each image), `reals` (what full precision reads, f32, channel by channel) and `classes` (a line for each image).

use fgq::{Dataset, Images, Session, normalise};
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, images, count, folder] = arguments.as_slice() else {
        return Err("give MODEL.fgq IMAGES COUNT FOLDER".into());
    };
    let model = fgq::read_model(Path::new(model))?;
    let session = Session::new(&model)?;
    let images = Dataset::unlabelled(Path::new(images))?.spread(count.parse()?);
    let read = (0..images.len()).map(|index| images.pixels(index, &model.preprocess));
    let pixels = read.collect::<Result<Vec<_>, _>>()?.concat();
    let logits = session.run(&pixels)?;
    let line = |image: usize| {
        let logits = logits.image(image).iter().map(i32::to_string).collect::<Vec<_>>();
        logits.join(" ") + "\n"
    };
    let reals = |index: usize| match images.values(index, &model.preprocess)? {
        Some(values) => Ok(values),
        None => normalise(&images.pixels(index, &model.preprocess)?, &model.preprocess),
    };
    let reals = (0..images.len()).map(reals).collect::<fgq::Result<Vec<_>>>()?;
    let reals: Vec<u8> = reals.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let classes: String = (0..images.len()).map(|image| format!("{}\n", logits.top(image, 1)[0])).collect();
    let bytes = pixels.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let count = images.len();
    let header = format!(
        "#include <stdint.h>\n#define INPUTS {count}\nstatic const uint8_t inputs[] = {{{bytes}}};\n"
    );
    let folder = Path::new(folder);
    std::fs::write(folder.join("pixels"), &pixels)?;
    std::fs::write(folder.join("inputs.h"), header)?;
    std::fs::write(folder.join("reals"), reals)?;
    std::fs::write(folder.join("classes"), classes)?;
    std::fs::write(folder.join("expected"), (0..count).map(line).collect::<String>())?;
    Ok(())
}
