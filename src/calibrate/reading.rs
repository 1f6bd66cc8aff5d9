//! What rounding a tensor does to the convolutions that read it.

use super::range::rounded;
use super::spool::Spool;
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Preprocess, Quantizer};
use crate::graph::{Graph, Interpreter, NodeId, evaluate};
use rayon::prelude::*;
use std::collections::HashMap;

/// Images that are looked at.
const IMAGES: usize = 24;

/// Widths of a step that are tried, relative to the given quantizer's; of equal ones the first is best.
pub(crate) const WIDTHS: [f64; 11] = [1.0, 0.9, 1.1, 0.8, 1.2, 0.7, 1.35, 0.6, 1.5, 0.5, 1.75];

/// For every width, the squared error of the outputs over all channels and positions, relative to their energy.
pub(crate) type Errors = [f64; WIDTHS.len()];

/// The errors that each of `readers`, a convolution and the quantizer of what it reads, makes in its outputs when
/// nothing but its input is rounded: means over some images, spread evenly.
///
/// # Errors
/// Images that are no inputs of the network.
pub(crate) fn reading_errors(
    graph: &Graph,
    preprocess: &Preprocess,
    pixels: &Spool,
    readers: &[(NodeId, Quantizer)],
) -> Result<Vec<Errors>> {
    let interpreter = Interpreter::new(graph)?;
    let of_image = |pixels: &Vec<u8>| {
        let values = normalise(pixels, preprocess)?;
        on_image(graph, &interpreter, &values.iter().copied().collect::<Vec<_>>(), readers)
    };
    let images: Result<Vec<Vec<Errors>>> = pixels.spread(IMAGES)?.par_iter().map(of_image).collect();
    let images = images?;
    let mut means = vec![[0.0; WIDTHS.len()]; readers.len()];
    for (mean, errors) in images.iter().flat_map(|image| image.iter().enumerate()) {
        means[mean].iter_mut().zip(errors).for_each(|(mean, error)| *mean += error / images.len() as f64);
    }
    Ok(means)
}

fn on_image(
    graph: &Graph,
    interpreter: &Interpreter,
    image: &[f32],
    readers: &[(NodeId, Quantizer)],
) -> Result<Vec<Errors>> {
    let mut inputs: HashMap<NodeId, Vec<f32>> = HashMap::new();
    let mut found: Vec<Result<Errors>> = readers.iter().map(|_| Err(unread())).collect();
    let input_of = |node: NodeId| graph.nodes[node].inputs[0];
    interpreter.observe(image, |node, values| {
        if readers.iter().any(|&(reader, _)| input_of(reader) == node) {
            inputs.insert(node, values.to_vec());
        }
        for (&(reader, quantizer), found) in readers.iter().zip(&mut found) {
            if reader == node {
                let exact = inputs.get(&input_of(reader)).ok_or_else(unread);
                *found = exact.and_then(|exact| errors(graph, interpreter, node, exact, values, quantizer));
            }
        }
    })?;
    found.into_iter().collect()
}

fn errors(
    graph: &Graph,
    interpreter: &Interpreter,
    node: NodeId,
    exact: &[f32],
    wanted: &[f32],
    quantizer: Quantizer,
) -> Result<Errors> {
    let (shapes, operator) = (interpreter.shapes(), &graph.nodes[node]);
    let energy: f64 = wanted.iter().map(|value| f64::from(*value).powi(2)).sum();
    let mut errors = [0.0; WIDTHS.len()];
    for (error, width) in errors.iter_mut().zip(WIDTHS) {
        let quantizer = Quantizer { scale: quantizer.scale * width, ..quantizer };
        let input = rounded(exact, &quantizer);
        let outputs = evaluate(&operator.op, &[(&input, shapes[operator.inputs[0]])], shapes[node])?;
        let squares = outputs.iter().zip(wanted).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        *error = squares.sum::<f64>() / energy.max(f64::MIN_POSITIVE);
    }
    Ok(errors)
}

fn unread() -> Error {
    Error::new(ErrorKind::Shape, "a convolution before its input")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::arbitrary::preprocess;
    use crate::graph::arbitrary::node_id;
    use crate::graph::{Conv, Node, Op};
    use crate::tensor::{Shape, Window};
    use ndarray::Array4;

    /// Channel 0 is small and matters, channel 1 is large and does not: a narrow range is best for the reader.
    #[test]
    fn the_reader_decides_which_width_is_best() {
        let conv = |weight: [f32; 3]| Conv {
            weight: Array4::from_shape_vec((1, 3, 1, 1), weight.to_vec()).unwrap(),
            gain: vec![1.0],
            bias: vec![0.0],
            window: Window::new([1, 1]),
            groups: 1,
        };
        let node = |name: &str, op, inputs| Node { name: name.into(), op, inputs };
        let nodes = vec![
            node("input", Op::Input, vec![]),
            node("small", Op::Conv(conv([1.0, 0.0, 0.0])), vec![node_id(0)]),
            node("large", Op::Conv(conv([0.0, 1.0, 0.0])), vec![node_id(0)]),
        ];
        let graph = Graph {
            name: "readers".into(),
            input: Shape::new(3, 4, 4),
            nodes: nodes.into(),
            output: node_id(2),
        };
        let mut pixels = Spool::new(graph.input, 40).unwrap();
        let image = |image: usize| {
            (0..48).map(move |at| if at % 3 == 0 { (image + at) % 100 } else { 160 + image } as u8)
        };
        (0..40).for_each(|at| pixels.push(&image(at).collect::<Vec<_>>()).unwrap());
        let plain =
            crate::format::Preprocess { mean: vec![0.0; 3], std: vec![1.0; 3], ..preprocess(graph.input) };
        let step = 160.0 / 15.0 * plain.pixel_step();
        let quantizer = Quantizer { scale: step, zero_point: 0, max: 15 };
        let errors =
            reading_errors(&graph, &plain, &pixels, &[(node_id(1), quantizer), (node_id(2), quantizer)])
                .unwrap();
        let best = |errors: &Errors| {
            WIDTHS[(0..WIDTHS.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap()]
        };
        assert!(best(&errors[0]) < 0.8, "{errors:?}");
        assert!(best(&errors[1]) > 1.0, "{errors:?}");
        let twice = reading_errors(&graph, &plain, &pixels, &[(node_id(2), quantizer)]).unwrap();
        assert_eq!(twice[0], errors[1]);
    }
}
