use super::*;
use crate::channels::tests::{conv, depthwise, graph, network};
use crate::graph::arbitrary::{node_id, node_ids};
use crate::graph::{Affine, Slice};

fn parts(parts: &[(usize, usize)]) -> Vec<ChannelPlace> {
    parts.iter().map(|&(node, first)| ChannelPlace { node: node_id(node), first }).collect()
}

fn axis(
    channels: usize,
    makers: &[usize],
    readers: &[(usize, usize)],
    followers: &[(usize, usize)],
) -> ChannelAxis {
    ChannelAxis { channels, makers: node_ids(makers), readers: parts(readers), followers: parts(followers) }
}

/// A first convolution, an operator on its four channels, a second convolution.
fn around(op: Op) -> Graph {
    graph(vec![
        ("input", Op::Input, vec![]),
        ("stem", conv(4, 3, 1), vec![0]),
        ("op", op, vec![1]),
        ("logits", conv(3, 4, 3), vec![2]),
    ])
}

#[test]
fn axes_are_what_must_change_together() {
    let expected = [
        axis(4, &[1, 3], &[(3, 0), (5, 0)], &[]),
        axis(5, &[5], &[(6, 0), (7, 0)], &[]),
        axis(6, &[6], &[(9, 0)], &[]),
        axis(2, &[7], &[(9, 6)], &[]),
    ];
    for change in [Change::Scale, Change::Order] {
        assert_eq!(axes(&network(), change).unwrap(), expected, "{change:?}");
    }
}

/// A bound on the values, or a table of them, depends on their scale but not on their order.
#[test]
fn functions_of_one_number_keep_channels_from_factors_only() {
    for op in [Op::Unary(Unary::Clip(0.0, 6.0)), Op::Unary(Unary::Silu)] {
        assert_eq!(axes(&around(op.clone()), Change::Scale).unwrap(), []);
        assert_eq!(axes(&around(op), Change::Order).unwrap(), [axis(4, &[1], &[(3, 0)], &[])]);
    }
}

#[test]
fn parameters_of_channels_follow_their_order() {
    let affine = Affine { scale: vec![1.0; 4], shift: vec![0.5; 4] };
    for op in [depthwise(4, 2), Op::PRelu(vec![0.1; 4]), Op::Affine(affine)] {
        assert_eq!(axes(&around(op.clone()), Change::Scale).unwrap(), []);
        assert_eq!(axes(&around(op), Change::Order).unwrap(), [axis(4, &[1], &[(3, 0)], &[(2, 0)])]);
    }
}

#[test]
fn what_depends_on_place_stays() {
    let slice =
        |start, end, step| Op::Slice(Slice { start: [start, 0, 0], end: [end, 4, 4], step: [step, 1, 1] });
    let Op::Conv(mut grouped) = conv(4, 2, 5) else { unreachable!() };
    grouped.groups = 2;
    for op in [Op::ChannelShuffle { groups: 2 }, Op::Conv(grouped)] {
        assert_eq!(axes(&around(op), Change::Order).unwrap(), []);
    }
    let part = graph(vec![
        ("input", Op::Input, vec![]),
        ("stem", conv(4, 3, 1), vec![0]),
        ("part", slice(1, 3, 1), vec![1]),
        ("logits", conv(3, 2, 3), vec![2]),
    ]);
    assert_eq!(axes(&part, Change::Order).unwrap(), []);
    assert_eq!(axes(&around(slice(0, 4, 1)), Change::Order).unwrap(), [axis(4, &[1], &[(3, 0)], &[])]);
}

/// Squeeze and excitation: factors per channel come from convolutions of their own.
#[test]
fn channels_that_are_multiplied_change_together() {
    let excited = |outputs| {
        graph(vec![
            ("input", Op::Input, vec![]),
            ("stem", conv(4, 3, 1), vec![0]),
            ("mean", Op::GlobalAveragePool, vec![1]),
            ("factors", conv(outputs, 4, 2), vec![2]),
            ("gate", Op::Unary(Unary::Sigmoid), vec![3]),
            ("product", Op::Binary(Binary::Mul), vec![1, 4]),
            ("logits", conv(3, 4, 3), vec![5]),
        ])
    };
    let both = axis(4, &[1, 3], &[(3, 0), (6, 0)], &[]);
    assert_eq!(axes(&excited(4), Change::Order).unwrap(), [both]);
    let one = axes(&excited(1), Change::Order).unwrap();
    assert_eq!(one, [axis(4, &[1], &[(3, 0), (6, 0)], &[])]);
    assert_eq!(axes(&excited(4), Change::Scale).unwrap(), []);
}
