#![no_main]

use fgq::{PackedModel, Session};

const MODELS: [&[u8]; 2] =
    [include_bytes!("../../fixtures/runtime/planes.fgq"), include_bytes!("../../fixtures/runtime/bits.fgq")];

/// Most settings that are tried one after another.
const STEPS: usize = 24;

// Gains and biases of pairs are damaged, then widths are set in any order: what is valid answers as the model of those
// widths alone, and what is refused changes nothing.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.iter().copied();
    let which = bytes.next().unwrap_or(0);
    let mut model = PackedModel::from_bytes(MODELS[usize::from(which % 2)]).expect("a valid model");
    for _ in 0..which / 2 % 8 {
        let mut next = || bytes.next().unwrap_or(0);
        damage(&mut model, [next(), next(), next(), next()]);
    }
    let Ok(mut session) = Session::new(&model) else { return };
    let layers: Vec<String> = session.layers().map(|(name, _)| name.to_owned()).collect();
    let pixels: Vec<u8> = (0..model.input.len()).map(|place| (place * 37) as u8).collect();
    for step in bytes.take(STEPS) {
        let before: Vec<u8> = session.layers().map(|(_, width)| width).collect();
        let layer = layers.get(usize::from(step >> 3)).map(String::as_str);
        let is_set = session.set_bits(layer, step % 8).is_ok();
        let widths: Vec<u8> = session.layers().map(|(_, width)| width).collect();
        assert!(is_set || widths == before);
        let alone = Session::new(&model.at(&widths).expect("valid widths")).expect("a valid model");
        let [own, alone] = [&session, &alone].map(|session| session.run(&pixels).expect("one image"));
        assert_eq!(own.image(0), alone.image(0));
    }
});

fn damage(model: &mut PackedModel, [layer, place, gain, bias]: [u8; 4]) {
    let Some(switching) = &mut model.switching else { return };
    let count = switching.layers.len();
    let layer = &mut switching.layers[usize::from(layer) % count];
    let (shifts, changes) = (layer.shifts.len(), layer.changes.len());
    if place % 4 == 0 && shifts > 0 {
        let shift = &mut layer.shifts[usize::from(place / 4) % shifts];
        (shift.gain, shift.bias) = (gain as i8, bias as i8);
    } else if changes > 0 {
        let change = &mut layer.changes[usize::from(place) % changes];
        (change.gain, change.bias) = (gain as i8, bias as i8);
    }
}
