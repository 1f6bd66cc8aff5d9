use super::super::tests::{FREE, RELU, add, conv, graph, mul};
use super::*;
use crate::fold::fold;
use crate::graph::arbitrary::{Choices, classifier, graphs};
use crate::graph::{Op, Unary};
use crate::plan::is_inner;
use crate::tensor::Window;
use proptest::prelude::*;

type Nodes<'a> = &'a [(&'a str, Op, &'a [usize])];

/// Bits for the layers that are named, rules, and 4 bits for others.
fn narrowed(nodes: Nodes, planned: &[(&str, u8)], rules: &[(&str, &str)]) -> Structure {
    let graph = fold(graph(nodes)).unwrap();
    let bits = |name: &str| planned.iter().find(|(layer, _)| *layer == name).map(|(_, bits)| *bits);
    let planned = graph.nodes.map(|node| bits(&node.name));
    let rule = |(pattern, rule): &(&str, &str)| (pattern.parse().unwrap(), rule.parse().unwrap());
    let rules: Vec<(Pattern, ActivationRule)> = rules.iter().map(rule).collect();
    let bits = ActivationBits { default: 4, planned: &planned, rules: &rules };
    bits.narrowed(&graph, Structure::new(&graph).unwrap()).unwrap()
}

/// Every operator after the input with its bits and the names of what it reads.
fn listed(structure: &Structure) -> Vec<String> {
    let name = |&id: &OperatorId| structure.operators[id].name.as_str();
    let line = |operator: &Operator| {
        let inputs: Vec<&str> = operator.inputs.iter().map(name).collect();
        format!("{}:{} {}", operator.name, operator.bits, inputs.join(" "))
    };
    structure.operators.iter().skip(1).map(line).collect()
}

/// Two residual blocks, the first of which ends in the residual of the second.
fn blocks() -> [(&'static str, Op, &'static [usize]); 10] {
    [
        ("stem", conv(3, 3), &[0]),
        ("a", conv(3, 3), &[1]),
        ("a.relu", RELU, &[2]),
        ("b", conv(3, 3), &[3]),
        ("sum", add(), &[4, 1]),
        ("c", conv(3, 3), &[5]),
        ("d", conv(3, 3), &[6]),
        ("sum2", add(), &[7, 5]),
        ("pool", Op::GlobalAveragePool, &[8]),
        ("head", conv(3, 2), &[9]),
    ]
}

#[test]
fn a_residual_keeps_eight_bits_and_convolutions_read_a_copy() {
    let expected = [
        "stem:8 input",
        "stem.4bits:4 stem",
        "a:4 stem.4bits",
        "b:8 a stem",
        "b.4bits:4 b",
        "c:4 b.4bits",
        "d:8 c b",
        "pool:8 d",
        "head:8 pool",
    ];
    let structure = narrowed(&blocks(), &[], &[]);
    assert_eq!(listed(&structure), expected);
    let [stem, copy] = [1, 2].map(|index| &structure.operators[OperatorId::from_index(index)]);
    assert_eq!(copy.kind, OperatorKind::Plain(Plain::Narrow));
    assert_eq!(copy.value, stem.value);
    assert_eq!(structure.narrow_readers().len(), 4);
}

#[test]
fn every_convolution_reads_the_bits_that_are_planned_for_it() {
    let nodes = [
        ("stem", conv(3, 3), &[0][..]),
        ("left", conv(3, 3), &[1]),
        ("middle", conv(3, 3), &[1]),
        ("right", conv(3, 3), &[1]),
        ("cat", Op::Concat, &[2, 3, 4]),
        ("end", conv(9, 3), &[5]),
        ("head", conv(3, 2), &[6]),
    ];
    let structure = narrowed(&nodes, &[("left", 3), ("middle", 6), ("right", 3), ("head", 5)], &[]);
    let expected = [
        "stem:8 input",
        "stem.6bits:6 stem",
        "stem.3bits:3 stem",
        "left:4 stem.3bits",
        "middle:4 stem.6bits",
        "right:4 stem.3bits",
        "cat:4 left middle right",
        "end:5 cat",
        "head:8 end",
    ];
    assert_eq!(listed(&structure), expected);
    let same = narrowed(&nodes, &[("left", 7), ("middle", 7), ("right", 7)], &[]);
    assert_eq!(listed(&same)[..2], ["stem:7 input", "left:4 stem"]);
    let wide = narrowed(&nodes, &[("left", 8), ("middle", 8), ("right", 8)], &[]);
    assert_eq!(listed(&wide)[..2], ["stem:8 input", "left:4 stem"]);
    let one = narrowed(&nodes, &[("left", 8), ("middle", 8)], &[]);
    assert_eq!(listed(&one)[..3], ["stem:8 input", "stem.4bits:4 stem", "left:4 stem"]);
}

#[test]
fn a_concatenation_that_others_read_keeps_eight_bits() {
    let nodes = [
        ("stem", conv(3, 3), &[0][..]),
        ("left", conv(3, 3), &[1]),
        ("right", conv(3, 3), &[1]),
        ("cat", Op::Concat, &[2, 3]),
        ("inner", conv(6, 6), &[4]),
        ("gate", Op::Unary(Unary::Sigmoid), &[5]),
        ("scaled", mul(), &[6, 4]),
        ("head", conv(6, 2), &[7]),
    ];
    let expected = [
        "stem:4 input",
        "left:8 stem",
        "right:8 stem",
        "cat:8 left right",
        "cat.4bits:4 cat",
        "inner:8 cat.4bits",
        "gate:8 inner",
        "scaled:8 gate cat",
        "head:8 scaled",
    ];
    assert_eq!(listed(&narrowed(&nodes, &[], &[])), expected);
}

#[test]
fn codes_that_are_moved_have_the_bits_of_what_they_are_moved_from() {
    let nodes = [
        ("stem", conv(3, 3), &[0][..]),
        ("pool", Op::MaxPool(Window::new([2, 2])), &[1]),
        ("left", conv(3, 3), &[2]),
        ("right", conv(3, 3), &[1]),
        ("deep", conv(3, 3), &[3]),
        ("mean", Op::GlobalAveragePool, &[5]),
        ("mean2", Op::GlobalAveragePool, &[4]),
        ("sum", add(), &[6, 7]),
        ("head", conv(3, 2), &[8]),
    ];
    assert_eq!(listed(&narrowed(&nodes, &[], &[]))[..3], ["stem:4 input", "pool:4 stem", "left:4 pool"]);
    let mixed = listed(&narrowed(&nodes, &[("left", 8)], &[]));
    let expected = ["stem:8 input", "stem.4bits:4 stem", "pool:8 stem", "left:4 pool", "right:8 stem.4bits"];
    assert_eq!(mixed[..5], expected);
}

#[test]
fn rules_name_what_is_read() {
    let bits = |rules: &[(&str, &str)]| listed(&narrowed(&blocks(), &[("c", 6)], rules));
    // Stronger than plan and default, and the last match wins; a tensor without convolutions has the bits itself.
    let found = bits(&[(".*", "2"), ("stem|pool", "5"), ("d", "7")]);
    let expected = [
        "stem:8 input",
        "stem.5bits:5 stem",
        "a:2 stem.5bits",
        "b:8 a stem",
        "b.2bits:2 b",
        "c:2 b.2bits",
        "d:7 c b",
        "pool:5 d",
        "head:8 pool",
    ];
    assert_eq!(found, expected);
    assert_eq!(bits(&[(".*", "8")]).len(), 7);
    assert!(bits(&[("b", "0..6")]).contains(&"b.6bits:6 b".to_owned()));
    let structure = narrowed(&blocks(), &[], &[]);
    let classes = structure.quantizer_classes();
    let rule = |text: &str| (text.parse::<Pattern>().unwrap(), ActivationRule::Bits(3));
    let rules = [rule("stem"), rule("stem.4bits"), rule("b.*")];
    let named = |index: usize| rules_of(&rules, &structure, &classes, OperatorId::from_index(index)).count();
    assert_eq!([1, 2, 3, 4, 5].map(named), [1, 2, 0, 1, 1]);
}

#[test]
fn patterns_without_a_tensor_are_refused() {
    let graph = fold(graph(&blocks())).unwrap();
    let planned = Per::filled(None, graph.nodes.len());
    let narrowed = |pattern: &str, rule: &str| {
        let rules = [(pattern.parse().unwrap(), rule.parse().unwrap())];
        let bits = ActivationBits { default: 4, planned: &planned, rules: &rules };
        bits.narrowed(&graph, Structure::new(&graph).unwrap()).map(|_| ())
    };
    assert!(narrowed("none.*", "4").unwrap_err().to_string().contains("none.*"));
    assert!(narrowed("none.*", "minmax").unwrap_err().to_string().contains("none.*"));
    // A copy may have a range of its own, but its bits come from its readers.
    assert!(narrowed("stem.4bits", "minmax").is_ok());
    assert!(narrowed("stem.4bits", "5").is_err());
}

#[test]
fn logits_and_pixels_keep_eight_bits() {
    let nodes = [("stem", conv(3, 3), &[0][..]), ("relu", RELU, &[1]), ("pool", Op::GlobalAveragePool, &[2])];
    assert_eq!(listed(&narrowed(&nodes, &[("stem", 4)], &[])), ["stem:8 input", "pool:8 stem"]);
    let operators = narrowed(&nodes[..1], &[("stem", 2)], &[]).operators;
    let OperatorKind::Conv { clamp, .. } = operators[OperatorId::from_index(1)].kind else { panic!() };
    assert_eq!(clamp, FREE);
}

/// Bits that a convolution should read, found from the graph alone.
fn wanted(graph: &Graph, planned: &Per<NodeId, Option<u8>>, default: u8, source: NodeId, pixels: bool) -> u8 {
    let inner = if is_inner(graph, source) { default } else { 8 };
    if pixels { 8 } else { planned[source].unwrap_or(inner) }
}

proptest! {
    #[test]
    fn any_graph_gives_every_reader_its_bits(graph in graphs(), default in 2u8..=8, seed in any::<u64>()) {
        let Ok(graph) = fold(graph) else { return Ok(()) };
        let Ok(plain) = Structure::new(&graph) else { return Ok(()) };
        let mut choices = Choices(seed);
        let planned = graph.nodes.map(|_| choices.pick(&[None, Some(2), Some(5), Some(8)]));
        let bits = ActivationBits { default, planned: &planned, rules: &[] };
        let structure = bits.narrowed(&graph, plain.clone()).unwrap();
        let classes = structure.quantizer_classes();
        for (id, operator) in structure.operators.enumerate() {
            prop_assert!(operator.inputs.iter().all(|&input| input < id));
            prop_assert_eq!(operator.bits, structure.operators[classes[id]].bits);
            for (place, &input) in operator.inputs.iter().enumerate() {
                let read = &structure.operators[input];
                match operator.kind {
                    OperatorKind::Conv { source, .. } if place == 0 => {
                        prop_assert_eq!(read.bits, wanted(&graph, &planned, default, source, input == OperatorId::INPUT));
                    }
                    _ if operator.kind.keeps_codes() => prop_assert_eq!(read.bits, operator.bits),
                    _ => prop_assert_eq!(read.bits, 8),
                }
            }
        }
        let kept = structure.operators.iter().filter(|operator| operator.kind != OperatorKind::Plain(Plain::Narrow));
        let kept: Vec<(&OperatorKind, NodeId)> = kept.map(|operator| (&operator.kind, operator.value)).collect();
        let before: Vec<(&OperatorKind, NodeId)> =
            plain.operators.iter().map(|operator| (&operator.kind, operator.value)).collect();
        prop_assert_eq!(kept, before);
    }
}

#[test]
fn eight_bits_change_nothing() {
    let mut compared = 0;
    for seed in 0..200 {
        let graph = fold(classifier(seed)).unwrap();
        let Ok(plain) = Structure::new(&graph) else { continue };
        let planned = Per::filled(None, graph.nodes.len());
        let bits = ActivationBits { default: 8, planned: &planned, rules: &[] };
        assert_eq!(listed(&bits.narrowed(&graph, plain.clone()).unwrap()), listed(&plain));
        compared += 1;
    }
    assert!(compared > 150, "{compared}");
}
