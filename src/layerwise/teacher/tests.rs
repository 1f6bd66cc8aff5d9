use super::*;
use crate::fold::fold;
use crate::format::arbitrary::preprocess;
use crate::graph::Interpreter;
use crate::graph::arbitrary::{Choices, classifier};

/// More than one chunk.
const IMAGES: usize = CHUNK + 3;

fn pixels(graph: &Graph) -> Spool {
    let mut choices = Choices(7);
    let codes: Vec<u8> = (0..IMAGES * graph.input.len()).map(|_| choices.next() as u8).collect();
    let mut spool = Spool::new(graph.input, IMAGES).unwrap();
    codes.chunks(CHUNK * graph.input.len()).for_each(|chunk| spool.push(chunk).unwrap());
    spool
}

/// Values of every node on every image.
fn interpreted(graph: &Graph, pixels: &Spool) -> Per<NodeId, Vec<Vec<f32>>> {
    let interpreter = Interpreter::new(graph).unwrap();
    let mut values = Per::filled(Vec::new(), graph.nodes.len());
    for index in 0..pixels.chunks() {
        let chunk = pixels.chunk(index).unwrap();
        for image in 0..chunk.images {
            let input = normalise(chunk.image(image), &preprocess(graph.input)).unwrap();
            let observer = |id: NodeId, value: &[f32]| values[id].push(value.to_vec());
            interpreter.observe(input.as_slice().unwrap(), observer).unwrap();
        }
    }
    values
}

#[test]
fn values_are_the_interpreters_and_are_freed() {
    for seed in 0..40 {
        let graph = fold(classifier(seed)).unwrap();
        let (pixels, preprocess) = (pixels(&graph), preprocess(graph.input));
        let expected = interpreted(&graph, &pixels);
        let wanted: Vec<NodeId> = graph.nodes.ids().collect();
        let mut teacher = Teacher::new(&graph, &preprocess, &wanted).unwrap();
        teacher.start(&pixels).unwrap();
        for id in wanted {
            teacher.advance_to(id).unwrap();
            let values: Vec<Vec<f32>> =
                (0..pixels.chunks()).flat_map(|index| teacher.chunk(id, index).unwrap()).collect();
            assert!(values == expected[id], "seed {seed}, {}", graph.nodes[id].name);
            teacher.release(id);
        }
        let kept = teacher.values.iter().filter(|value| value.is_some()).count();
        assert_eq!(kept, 0, "seed {seed}");
    }
}

#[test]
fn what_nobody_wants_is_freed_at_once() {
    let graph = fold(classifier(2)).unwrap();
    let preprocess = preprocess(graph.input);
    let mut teacher = Teacher::new(&graph, &preprocess, &[]).unwrap();
    teacher.start(&pixels(&graph)).unwrap();
    teacher.advance_to(graph.output).unwrap();
    assert!(teacher.values.iter().all(Option::is_none));
    assert!(teacher.chunk(graph.output, 0).is_err());
}
