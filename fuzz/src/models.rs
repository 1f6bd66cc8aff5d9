//! Packed models: their file, what all kernels make of them, and settings of those that switch.

use super::edits::{Bytes, edit, edit_switching};
use fgq::{Kernels, PackedModel, PackedOp, Session};

/// Most values, and most products, of a model that is run.
const MOST_VALUES: usize = 1 << 20;
const MOST_PRODUCTS: usize = 1 << 25;
/// Most edits of a model, and most settings that are tried one after another.
const EDITS: usize = 32;
const SETTINGS: usize = 24;

/// What a file has before its checksum, behind the length of its header, and what stands there while it is not known.
const CHECKSUM: &[u8] = br#"{"__metadata__":{"fgq":"{\"checksum\":\""#;
const DIGITS: &[u8] = b"00000000";

macro_rules! models {
    ($($name:literal),*) => {
        [$(include_bytes!(concat!("../../fixtures/runtime/", $name, ".fgq")).as_slice()),*]
    };
}

/// Models to begin with; those that switch come last.
const MODELS: [&[u8]; 8] =
    models!("every_operator", "global_sum", "codes", "int4", "precisions", "normalization", "planes", "bits");
const SWITCHING: usize = 6;

/// A packed model. What was read is written and read again, and runs.
pub fn packed_model(bytes: &[u8]) -> bool {
    let Ok(model) = PackedModel::from_bytes(&sealed(bytes.to_vec())) else { return false };
    let written = model.to_bytes().expect("what was read is valid");
    assert_eq!(PackedModel::from_bytes(&written).expect("written"), model);
    if is_small(&model) {
        let session = Session::new(&model).expect("valid");
        session.run(&vec![255; model.input.len()]).expect("one image");
    }
    true
}

/// The file with the checksum that it should have, if it has one: nothing would be read otherwise.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let start = 8 + CHECKSUM.len();
    if file.get(8..start) == Some(CHECKSUM) && file.len() >= start + DIGITS.len() {
        file[start..][..DIGITS.len()].copy_from_slice(DIGITS);
        let checksum = format!("{:08x}", crc32fast::hash(&file));
        file[start..][..DIGITS.len()].copy_from_slice(checksum.as_bytes());
    }
    file
}

/// Whether a valid model runs in a moment.
fn is_small(model: &PackedModel) -> bool {
    let shapes = model.shapes().expect("valid");
    let values: usize = shapes.iter().map(|shape| shape.len()).sum();
    let products = model.nodes.enumerate().map(|(id, node)| match &node.op {
        PackedOp::Conv(conv) => shapes[id].len().saturating_mul(conv.channel_len()),
        PackedOp::MaxPool(window) | PackedOp::AveragePool { window, .. } => {
            shapes[id].len().saturating_mul(window.area())
        }
        _ => 0,
    });
    values <= MOST_VALUES && products.fold(0, usize::saturating_add) <= MOST_PRODUCTS
}

/// A model as the bytes edit it: all kernels of this machine give the logits of the reference.
pub fn kernels(bytes: &[u8]) -> bool {
    let mut bytes = Bytes::new(bytes);
    let base = MODELS[usize::from(bytes.next()) % MODELS.len()];
    let mut model = PackedModel::from_bytes(base).expect("a valid model");
    let pixels = pixels(&mut bytes);
    let mut is_edited = false;
    for _ in 0..EDITS {
        let edited = edit(model.clone(), &mut bytes);
        if edited.shapes().is_ok() && is_small(&edited) {
            model = edited;
            is_edited = true;
        }
        if bytes.is_empty() {
            break;
        }
    }
    let pixels: Vec<u8> = (0..2 * model.input.len()).map(pixels).collect();
    let logits = |kernels| {
        let session = Session::with_kernels(&model, kernels).expect("a valid model");
        session.run(&pixels).expect("two images")
    };
    let expected = logits(Kernels::Reference);
    for kernels in Kernels::available().filter(|kernels| *kernels != Kernels::Reference) {
        assert_eq!(logits(kernels), expected, "{}", kernels.name());
    }
    is_edited
}

/// Pixels by place: of all sizes, or only the largest and the smallest.
fn pixels(bytes: &mut Bytes) -> impl Fn(usize) -> u8 + use<> {
    let [factor, extreme] = [bytes.next(), bytes.next()];
    move |place| {
        let pixel = (place as u8).wrapping_mul(factor | 1).wrapping_add(factor);
        if extreme % 4 == 0 { (pixel >> 7) * 255 } else { pixel }
    }
}

/// Gains and biases of pairs are edited, then widths are set in any order: what is valid answers as the model of those
/// widths alone, and what is refused changes nothing.
pub fn switching(bytes: &[u8]) -> bool {
    let mut bytes = Bytes::new(bytes);
    let which = bytes.next();
    let base = MODELS[SWITCHING + usize::from(which % 2)];
    let mut model = PackedModel::from_bytes(base).expect("a valid model");
    for _ in 0..which / 2 % 8 {
        edit_switching(&mut model, &mut bytes);
    }
    let Ok(mut session) = Session::new(&model) else { return false };
    if which >= 128 {
        session.keep_at_most(usize::from(bytes.next()) * 16);
    }
    let pixels: Vec<u8> = (0..model.input.len()).map(|place| (place * 37) as u8).collect();
    let mut is_switched = false;
    for step in bytes.rest().iter().take(SETTINGS) {
        is_switched |= is_set(&mut session, &model, *step, &pixels);
    }
    is_switched
}

fn is_set(session: &mut Session, model: &PackedModel, step: u8, pixels: &[u8]) -> bool {
    let widths = |session: &Session| session.layers().map(|(_, width)| width).collect::<Vec<u8>>();
    let before = widths(session);
    let layer = session.layers().nth(usize::from(step >> 3)).map(|(name, _)| name.to_owned());
    let is_set = session.set_bits(layer.as_deref(), step % 8).is_ok();
    let after = widths(session);
    assert!(is_set || after == before);
    let alone = Session::new(&model.at(&after).expect("valid widths")).expect("a valid model");
    let [own, alone] = [&*session, &alone].map(|session| session.run(pixels).expect("one image"));
    assert_eq!(own, alone);
    is_set
}
