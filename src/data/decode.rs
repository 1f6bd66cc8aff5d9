//! Image files → pixels, as Pillow decodes them and converts them to RGB or grey.

use super::allowance::{ALL, Allowance};
use crate::error::{Error, ErrorKind, Result};
use crate::panics::caught;
use crate::pixels::Picture;
use image::codecs::{bmp::BmpDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageResult, Limits};
use libjpeg_turbo_rs::{ColorSpace, ComponentInfo, DecodeLimits, Decoder, PixelFormat};
use std::io::Cursor;

/// Most pixels of one image, to stop decompression bombs; the size at which Pillow warns.
const MAX_PIXELS: u64 = 89_478_485;
/// Bytes per pixel for the picture and a copy of it, besides what the decoder yields and its conversion.
const SPARE_PER_PIXEL: u64 = 6;
/// Bytes per sample of a JPEG: coefficients, where they come in passes, the image, and a copy.
const JPEG_BYTES_PER_SAMPLE: u64 = 4;
/// Most bytes of what else is in an image file, such as a colour profile, when it is inflated.
const MAX_EXTRAS: u64 = 16 << 20;
/// Longest side of one image.
const MAX_SIDE: usize = 65_535;
/// Most passes of a progressive JPEG, each of which costs time proportional to its size.
const MAX_SCANS: usize = 512;

/// The file formats that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Jpeg,
    Other(ImageFormat),
}

/// Whether `bytes` begin like an image of any kind, readable or not.
pub fn looks_like_image(bytes: &[u8]) -> bool {
    format_of(bytes).is_some() || foreign_format(bytes).is_some()
}

fn format_of(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some(Format::Other(ImageFormat::Png)),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            Some(Format::Other(ImageFormat::WebP))
        }
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(Format::Other(ImageFormat::Bmp)),
        _ => None,
    }
}

/// The name of an image format that is recognised but not decoded.
fn foreign_format(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'G', b'I', b'F', b'8', ..] => Some("GIF"),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some("TIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', b'f', ..] => Some("AVIF"),
        [_, _, _, _, b'f', b't', b'y', b'p', b'h', b'e', b'i', ..] => Some("HEIF"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => Some("JPEG 2000"),
        [0xFF, 0x0A, ..] => Some("JPEG XL"),
        [b'P', b'1'..=b'6', b' ' | b'\t' | b'\n' | b'\r', ..] => Some("PNM"),
        _ => None,
    }
}

/// Decodes JPEG, PNG, WebP or BMP, told apart by content. Alpha is dropped, animations give their first
/// image, EXIF orientation is ignored: like Pillow's `Image.open(file).convert("RGB")`.
///
/// # Errors
/// `Image`, if the bytes are of another format, damaged, truncated or too large.
pub fn decode(bytes: &[u8]) -> Result<Picture> {
    let format = format_of(bytes).ok_or_else(|| unknown(bytes))?;
    // A defect of a decoder concerns one image; it must not end a run over thousands.
    let decoded = caught(|| match format {
        Format::Jpeg => decode_jpeg(bytes),
        Format::Other(format) => decode_other(bytes, format),
    });
    decoded.unwrap_or_else(|| Err(broken("the decoder failed on it")))
}

fn unknown(bytes: &[u8]) -> Error {
    match (foreign_format(bytes), bytes) {
        (Some(name), _) => broken(format!("{name} images are not supported; convert it to PNG")),
        (None, []) => broken("the file is empty"),
        (None, _) => broken("not a JPEG, PNG, WebP or BMP image"),
    }
}

fn broken(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Image, message)
}

fn unreadable(format: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    broken(format!("unreadable {format} image: {cause}")).because(cause)
}

fn decode_jpeg(bytes: &[u8]) -> Result<Picture> {
    let limits = DecodeLimits {
        max_width: MAX_SIDE,
        max_height: MAX_SIDE,
        max_pixels: MAX_PIXELS,
        max_scans: MAX_SCANS,
        ..Default::default()
    };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(|e| unreadable("JPEG", e))?;
    let header = decoder.header();
    let pixels = pixels_within_limits("JPEG", header.width.into(), header.height.into())?;
    let _allowance = allowed("JPEG", JPEG_BYTES_PER_SAMPLE * pixels * header.components.len() as u64)?;
    let target = match decoder.jpeg_color_space() {
        ColorSpace::Grayscale => PixelFormat::Grayscale,
        ColorSpace::Cmyk | ColorSpace::Ycck => PixelFormat::Cmyk,
        _ => PixelFormat::Rgb,
    };
    if !sampling_is_usual(&decoder.header().components) {
        return Err(broken("a JPEG of four channels that are sampled in an unusual way; convert it to PNG"));
    }
    decoder.set_output_format(target);
    decoder.set_block_smoothing(true);
    let image = decoder.decode_image().map_err(|e| unreadable("JPEG", e))?;
    let data = if target == PixelFormat::Cmyk { cmyk_to_rgb(&image.data) } else { image.data };
    picture(image.height, image.width, if target == PixelFormat::Grayscale { 1 } else { 3 }, data)
}

/// Whether the decoder can put channels together: of four the first and the last have the image's size and the others one
/// size, which it does not check.
fn sampling_is_usual(components: &[ComponentInfo]) -> bool {
    let sampling = |of: &ComponentInfo| [of.horizontal_sampling, of.vertical_sampling];
    let all: Vec<[u8; 2]> = components.iter().map(sampling).collect();
    let &[first, second, third, last] = all.as_slice() else { return true };
    let divides = (0..2).all(|axis| second[axis] > 0 && first[axis].is_multiple_of(second[axis]));
    first == last && second == third && divides
}

/// Pillow takes every four-channel JPEG as Adobe writes it, with inverted inks.
fn cmyk_to_rgb(inverted: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(inverted.len() / 4 * 3);
    for pixel in inverted.chunks_exact(4) {
        let paper = i32::from(pixel[3]);
        rgb.extend(
            pixel[..3].iter().map(|&ink| (paper - product_255(255 - i32::from(ink), paper)).max(0) as u8),
        );
    }
    rgb
}

/// `a·b / 255`, rounded, for both in 0..=255.
fn product_255(a: i32, b: i32) -> i32 {
    let product = a * b + 128;
    ((product >> 8) + product) >> 8
}

fn decode_other(bytes: &[u8], format: ImageFormat) -> Result<Picture> {
    let name = match format {
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        _ => "BMP",
    };
    let decoder = decoder_of(bytes, format).map_err(|e| unreadable(name, e))?;
    let (width, height) = decoder.dimensions();
    let pixels = pixels_within_limits(name, width.into(), height.into())?;
    let _allowance = allowed(name, 2 * decoder.total_bytes() + SPARE_PER_PIXEL * pixels)?;
    from_dynamic(DynamicImage::from_decoder(decoder).map_err(|e| unreadable(name, e))?)
}

fn decoder_of(bytes: &[u8], format: ImageFormat) -> ImageResult<Box<dyn ImageDecoder + '_>> {
    let (mut limits, bytes) = (Limits::default(), Cursor::new(bytes));
    limits.max_alloc = Some(MAX_EXTRAS);
    Ok(match format {
        ImageFormat::Png => Box::new(PngDecoder::with_limits(bytes, limits)?),
        ImageFormat::WebP => Box::new(WebPDecoder::new(bytes)?),
        _ => Box::new(BmpDecoder::new(bytes)?),
    })
}

/// The number of an image's pixels.
fn pixels_within_limits(name: &str, width: u64, height: u64) -> Result<u64> {
    let pixels = width * height;
    if width.max(height) > MAX_SIDE as u64 || pixels > MAX_PIXELS {
        let limits = format!("{MAX_PIXELS} pixels, or sides of more than {MAX_SIDE}");
        return Err(broken(format!("{name} image of {width}x{height} has more than {limits}")));
    }
    Ok(pixels)
}

/// Waits for the memory that an image takes while it is decoded.
fn allowed(name: &str, bytes: u64) -> Result<Allowance> {
    Allowance::of(bytes).ok_or_else(|| {
        broken(format!("a {name} image that takes {bytes} bytes to decode, more than {ALL}; make it smaller"))
    })
}

/// Drops alpha. Of 16-bit samples Pillow keeps the high byte, but clips plain 16-bit grey to 255.
fn from_dynamic(image: DynamicImage) -> Result<Picture> {
    let (height, width) = (image.height() as usize, image.width() as usize);
    let high = |samples: Vec<u16>| samples.into_iter().map(|s| (s >> 8) as u8).collect();
    let (stored, channels, data): (usize, usize, Vec<u8>) = match image {
        DynamicImage::ImageLuma8(b) => (1, 1, b.into_raw()),
        DynamicImage::ImageLumaA8(b) => (2, 1, b.into_raw()),
        DynamicImage::ImageRgb8(b) => (3, 3, b.into_raw()),
        DynamicImage::ImageRgba8(b) => (4, 3, b.into_raw()),
        DynamicImage::ImageLuma16(b) => (1, 1, b.into_raw().into_iter().map(|s| s.min(255) as u8).collect()),
        DynamicImage::ImageLumaA16(b) => (2, 1, high(b.into_raw())),
        DynamicImage::ImageRgb16(b) => (3, 3, high(b.into_raw())),
        DynamicImage::ImageRgba16(b) => (4, 3, high(b.into_raw())),
        _ => return Err(broken("floating-point images are not supported; convert it to PNG")),
    };
    picture(height, width, channels, keep_first(data, stored, channels))
}

/// The first `kept` of every `stored` samples.
fn keep_first(data: Vec<u8>, stored: usize, kept: usize) -> Vec<u8> {
    if stored == kept {
        return data;
    }
    data.chunks_exact(stored).flat_map(|pixel| &pixel[..kept]).copied().collect()
}

fn picture(height: usize, width: usize, channels: usize, data: Vec<u8>) -> Result<Picture> {
    if data.is_empty() || data.len() != height * width * channels {
        return Err(broken(format!("image of {height}x{width} gave {} bytes of pixels", data.len())));
    }
    Ok(Picture { height, width, channels, data })
}
