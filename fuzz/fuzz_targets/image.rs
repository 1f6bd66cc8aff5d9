#![no_main]

use fgq::{Channels, Interpolation, Preprocess, Resize, Scale, Size};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let preprocess = Preprocess {
        resize: Resize::Shorter(9),
        as_is: true,
        crop: Size::square(8),
        interpolation: Interpolation::Bicubic,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
        scale: Scale::Unit,
        channels: Channels::Rgb,
    };
    if let Ok(pixels) = fgq::input_pixels(bytes, &preprocess) {
        assert_eq!(pixels.len(), 8 * 8 * 3);
    }
});
