//! Models that switch: their file, what they are at any widths, what is refused.

use crate::choices::Choices;
use crate::format::arbitrary::{packed_id, switching_model, switching_models};
use crate::format::write::encode;
use crate::format::*;
use crate::index::Per;
use crate::runtime::Session;
use proptest::prelude::*;

/// Some widths for every layer.
fn widths(model: &PackedModel, choices: &mut Choices) -> Vec<u8> {
    let known = &model.switching.as_ref().unwrap().widths;
    model.switching_layers().map(|_| choices.pick(known)).collect()
}

proptest! {
    #[test]
    fn reading_is_the_inverse_of_writing(model in switching_models()) {
        let bytes = model.to_bytes().unwrap();
        let read = PackedModel::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &model);
        prop_assert_eq!(read.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn at_any_widths_there_is_a_model_that_can_be_written(model in switching_models(), seed: u64) {
        let at = model.at(&widths(&model, &mut Choices(seed))).unwrap();
        prop_assert_eq!(PackedModel::from_bytes(&at.to_bytes().unwrap()).unwrap(), at);
    }

    #[test]
    fn no_damage_panics(seed in 0u64..20, places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = switching_model(seed).to_bytes().unwrap();
        for (place, value) in places {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = checksum::seal(&mut bytes);
        if let Ok(model) = PackedModel::from_bytes(&bytes) {
            let mut session = Session::new(&model).unwrap();
            for width in session.widths().to_vec() {
                session.set_bits(None, width).unwrap();
                session.run(&vec![200; model.input.len()]).unwrap();
            }
        }
    }
}

#[test]
fn at_full_width_a_model_is_as_it_is_written() {
    for model in (0..50).map(switching_model) {
        let full = *model.switching.as_ref().unwrap().widths.last().unwrap();
        let widths: Vec<u8> = model.switching_layers().map(|_| full).collect();
        let plain = PackedModel { switching: None, fidelity: None, ..model.clone() };
        assert_eq!(model.at(&widths).unwrap(), plain);
    }
}

#[test]
fn fewer_planes_are_the_first_and_fewer_bits_the_upper() {
    let conv = |precision: &str, levels: &[i8], scales: &[u8]| {
        let precision = precision.parse().unwrap();
        let weights = PackedWeights::pack(precision, levels, scales);
        let window = crate::tensor::Window::new([1, 1]);
        let store = Store::Logits { factors: vec![1], shift: 0 };
        PackedConv { weights, outputs: 1, group_inputs: 4, groups: 1, window, bias: vec![0], store }
    };
    let switching = |widths: &[u8]| Switching {
        widths: widths.to_vec(),
        layers: Vec::new(),
        copies: Vec::new(),
        settings: Vec::new(),
    };
    let planes = conv("ternary:2*2", &[1, -1, 0, 1, 0, 1, 1, -1], &[9, 5, 2, 3]);
    let [one, two] = [0, 1].map(|place| switching(&[1, 2]).expanded(&planes, place));
    assert_eq!((one, two), (vec![9, -9, 0, 5], vec![9, -7, 3, 2]));
    let bits = conv("int4", &[-7, -1, 3, 6], &[]);
    let [two, three, four] = [0, 1, 2].map(|place| switching(&[2, 3, 4]).expanded(&bits, place));
    // −7 >> 1 is −4, which has no opposite.
    assert_eq!((two, three, four), (vec![-1, -1, 0, 1], vec![-3, -1, 1, 3], vec![-7, -1, 3, 6]));
}

#[test]
fn changes_are_what_the_specification_says() {
    let window = crate::tensor::Window::new([1, 1]);
    let weights = PackedWeights::pack("int4".parse().unwrap(), &[1, 1, 1, 1], &[]);
    let multipliers =
        [(10, 3000), (0, 20_000), (30, 2500), (9, 32_000)].map(|(shift, value)| Multiplier { shift, value });
    let codes =
        Store::Codes { multipliers: multipliers.to_vec(), residual: None, fraction: 0, low: 0, high: 9 };
    let bias = vec![1001, -1001, i32::MAX / 8, 7];
    let conv = PackedConv { weights, outputs: 4, group_inputs: 1, groups: 1, window, bias, store: codes };
    let layer = |gain: i8, change: AffineChange| SwitchedLayer {
        node: packed_id(1),
        own: true,
        shifts: vec![PairShifts { gain, bias: -1 }],
        changes: vec![change; 4],
    };
    let affine = |gain: i8, change: AffineChange| {
        let PackedConv { bias, store: Store::Codes { multipliers, .. }, .. } =
            layer(gain, change).affine(&conv, 0)
        else {
            unreachable!()
        };
        (bias, multipliers.into_iter().map(|it| (it.shift, it.value)).collect::<Vec<_>>())
    };
    // 1001 / 2 is 500.5, which rounds up, as −500.5 does; 3000·1.25 = 3750; 20000·1.25·2 is cut; 32000·1.25 is halved.
    // Two halves of a step are 2^15·2^shift / value in sums, without a fraction: 4473.9, 1.00003, 2^44 / 3125, 209.7.
    let (bias, multipliers) = affine(1, AffineChange { gain: 32, bias: -2 });
    assert_eq!(bias, [501 - 4473, -500 - 1, i32::MIN + 134_217_728, 4 - 209]);
    assert_eq!(multipliers, [(9, 3750), (0, 32_767), (29, 3125), (7, 20_000)]);
    // 3000·0.5 = 1500; a shift of 32 is cut to 30. Half a step: 2^14·2^shift / value in sums.
    let (bias, multipliers) = affine(-2, AffineChange { gain: -64, bias: 1 });
    assert_eq!(bias, [4004 + 44_739, -4004 + 6, i32::MAX, 28 + 2097]);
    assert_eq!(multipliers, [(12, 1500), (2, 10_000), (30, 313), (11, 16_000)]);
}

/// Asserts that the first model that `change` can change is refused then, in memory and in a file.
#[track_caller]
fn refused(change: impl Fn(&mut Switching, &mut Per<PackedId, PackedNode>) -> bool, part: &str) {
    let changed = |seed: u64| {
        let mut model = switching_model(seed);
        let mut switching = model.switching.take().unwrap();
        let changed = change(&mut switching, &mut model.nodes);
        model.switching = Some(switching);
        changed.then_some(model)
    };
    let model = (0..200).find_map(changed).unwrap();
    let message = model.shapes().unwrap_err().to_string();
    assert!(message.contains(part), "{message}");
    if let Ok(bytes) = encode(&model) {
        assert!(PackedModel::from_bytes(&bytes).is_err());
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let always = |change: fn(&mut Switching)| {
        move |it: &mut Switching, _: &mut Per<PackedId, PackedNode>| {
            change(it);
            true
        }
    };
    refused(always(|it| it.widths.reverse()), "widths");
    refused(always(|it| it.widths.truncate(1)), "widths");
    refused(always(|it| *it.widths.last_mut().unwrap() += 1), "weights of");
    refused(always(|it| it.layers.clear()), "no layer switches");
    refused(always(|it| it.layers[0].node = packed_id(1 << 40)), "no node");
    refused(always(|it| it.layers.iter_mut().for_each(|layer| layer.own = false)), "no layer switches");
    refused(always(|it| it.layers[0].changes.push(AffineChange::default())), "every pair");
    refused(always(|it| it.layers[0].shifts.push(PairShifts::default())), "every pair");
    refused(always(|it| it.layers[0].shifts.fill(PairShifts { gain: 0, bias: 21 })), "PairShifts");
    refused(always(|it| it.layers[0].shifts.fill(PairShifts { gain: -8, bias: 0 })), "PairShifts");
    refused(always(|it| it.settings[0].name = "3".into()), "name '3'");
    refused(always(|it| it.settings[1].name = it.settings[0].name.clone()), "with the name");
    refused(always(|it| it.settings[1].widths.push(1)), "not a width for every layer");
    refused(always(|it| it.settings[0].widths[0] = 7), "not a width for every layer");
    refused(always(|it| it.settings[0].judgement.as_mut().unwrap().agreeing = 9), "out of range");
    let copy = |change: fn(&mut SwitchedCopy)| {
        move |it: &mut Switching, _: &mut Per<PackedId, PackedNode>| {
            it.copies.first_mut().map(change).is_some()
        }
    };
    refused(copy(|copy| copy.node = packed_id(0)), "no narrow copy");
    refused(copy(|copy| copy.lower.clear()), "one copy for each width");
    refused(copy(|copy| copy.lower[0].1.max = 0), "Quantizer");
    refused(copy(|copy| copy.lower[0].0.shift = 8), "Rescale");
    refused(
        |it, nodes| {
            let layer = it.layers.iter().find(|layer| layer.changes.iter().any(|change| change.bias == -128));
            let Some(layer) = layer.map(|layer| layer.node) else { return false };
            let PackedOp::Conv(conv) = &mut nodes[layer].op else { return false };
            conv.bias.fill(i32::MIN + 100_000);
            true
        },
        "32 bits",
    );
}

#[test]
fn widths_that_there_are_not_are_refused() {
    let model = switching_model(3);
    let layers = model.switching_layers().count();
    for widths in [vec![], vec![9; layers], vec![1; layers + 1]] {
        assert!(model.at(&widths).is_err());
    }
    let plain = PackedModel { switching: None, ..model };
    assert!(plain.at(&[]).unwrap_err().to_string().contains("does not switch"));
}

#[test]
fn only_version_4_switches() {
    let bytes = switching_model(1).to_bytes().unwrap();
    let version = br#"\"version\":4"#;
    let place = bytes.windows(version.len()).position(|part| part == version).unwrap();
    let mut changed = bytes;
    changed[place + version.len() - 1] = b'3';
    checksum::seal(&mut changed).unwrap();
    let message = PackedModel::from_bytes(&changed).unwrap_err().to_string();
    assert!(message.contains("version 4"), "{message}");
}
