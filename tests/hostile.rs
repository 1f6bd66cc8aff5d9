//! Damaged and random files for every reader: errors are fine, panics are not. `fuzz/` does the same for longer.

#![allow(clippy::unwrap_used)]

use fgq::{
    Channels, Interpolation, Interpreter, LoadOptions, PackedModel, Preprocess, Resize, Scale, Session, Size,
};
use proptest::prelude::*;
use proptest::sample::Index;
use std::path::PathBuf;

/// Largest sum of all activations of a damaged model that is run.
const RUNNABLE: usize = 1 << 18;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)).unwrap()
}

/// A file as it was, but for some bytes and perhaps its end.
#[derive(Debug, Clone)]
struct Damage {
    bytes: Vec<(Index, u8)>,
    end: Option<Index>,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..6);
    (bytes, prop::option::weighted(0.2, any::<Index>())).prop_map(|(bytes, end)| Damage { bytes, end })
}

impl Damage {
    fn of(&self, name: &str) -> Vec<u8> {
        let mut file = fixture(name);
        for (place, value) in &self.bytes {
            let place = place.index(file.len());
            file[place] = *value;
        }
        file.truncate(self.end.map_or(file.len(), |end| end.index(file.len())));
        file
    }
}

fn run_packed(bytes: &[u8]) {
    let Ok(model) = PackedModel::from_bytes(bytes) else { return };
    let shapes = model.shapes().unwrap();
    if shapes.iter().map(|shape| shape.len()).sum::<usize>() <= RUNNABLE {
        Session::new(&model).unwrap().run(&vec![255; model.input.len()]).unwrap();
    }
}

fn run_onnx(bytes: Vec<u8>) {
    if let Ok(loaded) = fgq::load_onnx(bytes, "hostile.onnx", &LoadOptions::default()) {
        Interpreter::new(&loaded.graph).unwrap();
    }
}

fn run_image(bytes: &[u8]) {
    let preprocess = Preprocess {
        resize: Resize::Shorter(9),
        as_is: true,
        crop: Size::square(8),
        interpolation: Interpolation::Bilinear,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
        scale: Scale::Unit,
        channels: Channels::Rgb,
    };
    if let Ok(pixels) = fgq::input_pixels(bytes, &preprocess) {
        assert_eq!(pixels.len(), 8 * 8 * 3);
    }
}

fn run_checkpoint(bytes: &[u8], name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let options = LoadOptions { architecture: Some("resnet20".into()), ..LoadOptions::default() };
    if let Ok(loaded) = fgq::load(&path, &options) {
        Interpreter::new(&loaded.graph).unwrap();
    }
}

proptest! {
    #[test]
    fn damaged_models(damage in damage()) {
        for name in ["every_operator", "codes", "global_sum"] {
            run_packed(&damage.of(&format!("runtime/{name}.fgq")));
        }
    }

    #[test]
    fn damaged_networks(damage in damage()) {
        for name in ["families/activations.onnx", "families/resnet_basic.onnx"] {
            run_onnx(damage.of(name));
        }
    }

    #[test]
    fn damaged_images(damage in damage()) {
        for name in ["rgb_420.jpg", "progressive.jpg", "palette.png", "rgb.png", "lossy.webp", "rgb.bmp"] {
            run_image(&damage.of(&format!("pillow/images/{name}")));
        }
    }

    #[test]
    fn damaged_checkpoints(damage in damage()) {
        run_checkpoint(&damage.of("digits/digits-resnet.safetensors"), "hostile.safetensors");
        run_checkpoint(&damage.of("torch/resnet20.pth"), "hostile.pth");
        run_checkpoint(&damage.of("torch/kinds-legacy.pth"), "hostile.pth");
    }

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        run_packed(&bytes);
        run_onnx(bytes.clone());
        run_image(&bytes);
        run_checkpoint(&bytes, "hostile.safetensors");
        run_checkpoint(&bytes, "hostile.pth");
        let signatures: [&[u8]; 8] = [
            b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"GIF89a", &[0x08, 0x07, 0x3a],
            b"PK\x03\x04", b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        ];
        for signature in signatures {
            let bytes = [signature, &bytes].concat();
            run_image(&bytes);
            run_checkpoint(&bytes, "hostile.pth");
            run_onnx(bytes);
        }
    }
}
