use super::*;
use crate::graph::arbitrary::{Choices, noise};
use crate::tensor::Window;
use ndarray::Array4;
use proptest::prelude::*;

fn layer(outputs: usize, inputs: usize, kernel: usize, seed: u64) -> Conv {
    let weights = noise(outputs * inputs * kernel * kernel, seed);
    Conv {
        weight: Array4::from_shape_vec((outputs, inputs, kernel, kernel), weights).unwrap(),
        gain: vec![1.0; outputs],
        bias: vec![0.0; outputs],
        window: Window::new([kernel, kernel]),
        groups: 1,
    }
}

/// What ternary values take up of the channels' weights, by trying all numbers of weights to keep.
fn exact(conv: &Conv, inputs: &[usize]) -> f64 {
    let mut total = 0.0;
    for output in conv.weight.outer_iter() {
        let energy: f64 = output.iter().map(|&weight| f64::from(weight).powi(2)).sum();
        for tap in 0..conv.window.area() {
            let at = |&input: &usize| {
                f64::from(output.index_axis(ndarray::Axis(0), input).iter().copied().nth(tap).unwrap())
            };
            let mut sorted: Vec<f64> = inputs.iter().map(|input| at(input).abs()).collect();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let kept = |count: usize| sorted[..count].iter().sum::<f64>().powi(2) / count as f64;
            total += (1..=sorted.len()).map(kept).fold(0.0, f64::max) / energy;
        }
    }
    total
}

#[test]
fn captured_energy_is_nearly_the_most_that_can_be() {
    let (mut ours, mut most) = (0.0, 0.0);
    for (seed, (outputs, kernel, inputs)) in
        (0..).zip([(5, 1, 4), (16, 3, 16), (33, 1, 64), (7, 3, 3), (1, 1, 1)])
    {
        let conv = layer(outputs, inputs, kernel, seed);
        let channels: Vec<usize> = (0..inputs).collect();
        let (captured, exact) = (View::new(&conv, 0, inputs, 4).captured(&channels), exact(&conv, &channels));
        assert!(captured <= exact * (1.0 + 1e-6) && captured > 0.96 * exact, "{captured} {exact}");
        (ours, most) = (ours + captured, most + exact);
    }
    assert!(ours > 0.99 * most, "{ours} {most}");
}

#[test]
fn every_width_gives_the_same_bits() {
    let view = View::new(&layer(21, 9, 3, 4), 0, 9, 4);
    let captured = view.captured_in_lanes(&[1, 7, 3]);
    for width in Width::available() {
        let wide = width.run(
            #[inline(always)]
            || view.captured_in_lanes(&[1, 7, 3]),
        );
        assert_eq!(wide.to_bits(), captured.to_bits(), "{width:?}");
    }
}

#[test]
fn channels_of_like_magnitudes_end_in_one_group() {
    for (group, first) in [(2, 0), (4, 0), (4, 4), (8, 0)] {
        let kinds = 16 / group;
        let mut conv = layer(40, first + 16, 1, 3);
        for (input, mut weights) in conv.weight.axis_iter_mut(ndarray::Axis(1)).enumerate() {
            weights.mapv_inplace(|weight| weight.signum() * 0.4f32.powi((input % kinds) as i32));
        }
        let order = grouped(&[View::new(&conv, first, 16, group)], 16);
        for channels in order.chunks(group) {
            let is_alike = |channel: &usize| channel % kinds == channels[0] % kinds;
            assert!(channels.iter().all(is_alike), "{group}: {order:?}");
        }
    }
}

proptest! {
    #[test]
    fn places_of_the_groups_are_all_there_are(first in 0usize..40, channels in 1usize..40, group in 1usize..50) {
        let view = View::new(&layer(1, first + channels, 1, 1), first, channels, group);
        let mut next = 0;
        for number in 0..=view.group_of(channels - 1) {
            let places = view.places(number, channels);
            prop_assert_eq!(places.start, next);
            prop_assert!(!places.is_empty());
            next = places.end;
            for place in places {
                prop_assert_eq!(view.group_of(place), number);
                prop_assert_eq!((first + place) / group, first / group + number);
            }
        }
        prop_assert_eq!(next, channels);
    }

    /// The result is an order, as good as the first one at least, and no two channels are better the other way round.
    #[test]
    fn no_two_channels_want_to_change_places(seed in any::<u64>()) {
        let mut choices = Choices(seed);
        let channels = 2 + choices.below(12);
        let firsts = [choices.below(5), choices.below(5)];
        let layers: Vec<Conv> = firsts.iter().map(|first| layer(3, first + channels, 1, seed)).collect();
        let views: Vec<View> = layers
            .iter()
            .zip(firsts)
            .map(|(conv, first)| View::new(conv, first, channels, 1 + choices.below(6)))
            .collect();
        let captured = |order: &[usize]| -> f64 {
            let of_view = |view: &View| -> f64 {
                (0..=view.group_of(channels - 1)).map(|group| view.captured(&order[view.places(group, channels)])).sum()
            };
            views.iter().map(of_view).sum()
        };
        let given: Vec<usize> = (0..channels).collect();
        let order = grouped(&views, channels);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&sorted, &given);
        let found = captured(&order);
        prop_assert!(found >= captured(&given) * (1.0 - 1e-9));
        for a in 0..channels {
            for b in 0..a {
                let mut other = order.clone();
                other.swap(a, b);
                prop_assert!(captured(&other) <= found * (1.0 + 1e-6));
            }
        }
    }
}
