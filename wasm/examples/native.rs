//! The logits of a picture, by the same code on this machine: `native MODEL.fgq SETTING WIDTH HEIGHT PICTURE.rgba`, where
//! the setting is empty for a model that does not switch.

use fgq_wasm::Running;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, setting, width, height, picture] = arguments.as_slice() else {
        return Err("usage: native MODEL.fgq SETTING WIDTH HEIGHT PICTURE.rgba".into());
    };
    let (mut running, _) = Running::new(&std::fs::read(model)?)?;
    if !setting.is_empty() {
        running.set(setting)?;
    }
    let logits = running.logits(&std::fs::read(picture)?, width.parse()?, height.parse()?)?;
    println!("{}", logits.iter().map(i32::to_string).collect::<Vec<_>>().join(" "));
    Ok(())
}
