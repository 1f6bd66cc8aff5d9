//! Names, sizes and the walk over groups.

use super::*;
use proptest::prelude::*;

fn precision(text: &str) -> Precision {
    text.parse().unwrap()
}

#[test]
fn precisions_survive_text() {
    let names = [
        "int8",
        "int2",
        "int4",
        "int3:8",
        "int4:32",
        "int8:1/2",
        "ternary:1",
        "ternary:64",
        "ternary:4/4",
        "ternary:64*2",
        "ternary:8/5*3",
        "pow2:2",
        "pow2:3",
        "pow2:4",
    ];
    for text in names {
        // The levels 0 and ±1 without scales have two names.
        let name = if text == "pow2:2" { "int2" } else { text };
        assert_eq!(precision(text).to_string(), name);
    }
    assert_eq!(precision("ternary:4/8"), precision("ternary:4"));
    for text in [
        "",
        "ternary",
        "ternary:0",
        "ternary:-1",
        "ternary:+4",
        "ternary:04",
        "int4:",
        "int4:0",
        "int1",
        "int9",
        "int",
        "int4*2",
        "int4:4*2",
        "ternary:4/0",
        "ternary:4/9",
        "ternary:4*1",
        "ternary:4*4",
        "ternary:4*",
        "pow2:1",
        "pow2:5",
        "pow2:3:4",
        "pow2",
        "int 4",
        "ternary:99999999999999999999999",
    ] {
        assert!(text.parse::<Precision>().is_err(), "{text}");
    }
}

#[test]
fn levels_of_every_name() {
    let of = |text| precision(text).levels().iter().collect::<Vec<_>>();
    assert_eq!(of("ternary:4"), [-1, 0, 1]);
    assert_eq!(of("int3"), [-3, -2, -1, 0, 1, 2, 3]);
    assert_eq!(of("pow2:3"), [-4, -2, -1, 0, 1, 2, 4]);
    assert_eq!((of("pow2:4").len(), of("pow2:4")[14]), (15, 64));
    assert_eq!((of("int8").len(), of("int8")[0]), (255, -127));
    assert_eq!(Levels::listed(&[-3, 0, 5]).unwrap().iter().collect::<Vec<_>>(), [-3, 0, 5]);
    for bad in [&[][..], &[1], &[1, 1], &[2, 1], &[-128, 1]] {
        assert_eq!(Levels::listed(bad), None);
    }
}

#[test]
fn bits_and_multiplications() {
    let of = |text: &str| (precision(text).bits(90, 10), precision(text).multiplications(900, 10));
    // Nine runs of ten input channels: three groups of four each; five codes a byte.
    assert_eq!(of("ternary:4"), (8 * 18 + 8 * 27, 270));
    assert_eq!(of("ternary:4/4"), (8 * 18 + 8 * 14, 270));
    assert_eq!(of("ternary:64"), (8 * 18 + 8 * 9, 90));
    assert_eq!(of("ternary:64*3"), (8 * 54 + 8 * 27, 270));
    assert_eq!(of("int4:5"), (4 * 90 + 8 * 18, 900));
    assert_eq!((of("int4"), of("int8")), ((360, 900), (720, 900)));
    assert_eq!((of("int3"), of("int2")), ((272, 900), (8 * 18, 0)));
    assert_eq!(of("pow2:3"), (272, 0));
}

#[test]
fn scales_leave_products_within_eight_bits() {
    let largest = |text: &str| precision(text).largest_scale();
    assert_eq!(
        [largest("ternary:4"), largest("ternary:4/4"), largest("int4:4"), largest("int4:4/4")],
        [127, 15, 18, 15]
    );
    assert_eq!([largest("int8:4"), largest("int3:4"), largest("int8")], [1, 42, 1]);
    assert_eq!(precision("ternary:4*2").plane_scales(), [84, 42]);
    assert_eq!(precision("ternary:4*3").plane_scales(), [72, 36, 18]);
    assert_eq!(precision("ternary:4/4*2").plane_scales(), [15, 15]);
    for text in ["ternary:4*3", "ternary:4*2", "ternary:4/5*3", "int4:4"] {
        let precision = precision(text);
        let sum: u16 = precision.plane_scales().into_iter().map(u16::from).sum();
        assert!(sum * u16::from(precision.levels().largest()) <= 127);
    }
}

#[test]
fn packing_takes_the_fewer_bytes() {
    let of = |text| CodePacking::of(precision(text).levels());
    assert_eq!(
        [of("ternary:4"), of("int2"), of("int3"), of("int4")],
        [CodePacking::Digits(5), CodePacking::Digits(5), CodePacking::Bits(3), CodePacking::Bits(4)]
    );
    assert_eq!(
        [of("int5"), of("int7"), of("int8"), of("pow2:4")],
        [CodePacking::Bits(5), CodePacking::Bits(7), CodePacking::Bits(8), CodePacking::Bits(4)]
    );
    assert_eq!(CodePacking::of(Levels::linear(2)), CodePacking::Digits(3));
    assert_eq!((CodePacking::Digits(5).bytes(11), CodePacking::Bits(3).bytes(11)), (3, 5));
}

proptest! {
    #[test]
    fn the_walk_visits_every_weight_once(outputs in 1usize..4, positions in 1usize..4, inputs in 1usize..9, group in 1usize..10) {
        let (arrangement, precision) = (Arrangement { outputs, positions, inputs }, Precision::ternary(group));
        let (mut next, mut numbers) = (0, 0);
        arrangement.groups(precision, 0..outputs, |number, range| {
            assert_eq!((number, range.start), (numbers, next));
            assert!(range.len() <= group && range.start / inputs == (range.end - 1) / inputs);
            (next, numbers) = (range.end, numbers + 1);
        });
        prop_assert_eq!((next, numbers), (arrangement.len(), outputs * arrangement.channel_groups(precision)));
    }

    #[test]
    fn planes_add_up(levels in prop::collection::vec(-1i8..=1, 24), scales in prop::collection::vec(0u8..42, 8)) {
        let (arrangement, precision) = (Arrangement { outputs: 2, positions: 2, inputs: 3 }, precision("ternary:2*2"));
        // Groups of two and one in runs of three.
        let scales = [scales.clone(), scales.iter().map(|scale| 2 * scale).collect()].concat();
        let weights = arrangement.expand(precision, &levels, &scales);
        for (index, &weight) in weights.iter().enumerate() {
            let group = index / 3 * 2 + index % 3 / 2;
            let product = |plane: usize| levels[12 * plane + index] as i32 * i32::from(scales[8 * plane + group]);
            prop_assert_eq!(i32::from(weight), product(0) + product(1));
        }
    }
}

proptest! {
    #[test]
    fn no_level_is_nearer(value in -9.0f64..9.0, step in 0.01f64..3.0, name in 0usize..4) {
        let levels = precision(["int3", "pow2:4", "ternary:4", "int8"][name]).levels();
        let found = Rounding::to(levels).level(value, step);
        let distance = |level: i8| (value - step * f64::from(level)).abs();
        prop_assert!(levels.iter().all(|level| distance(level) >= distance(found) - 1e-12));
        prop_assert_eq!(Rounding::to(levels).level(value, 0.0), 0);
    }
}
