use super::*;
use crate::calibrate::{Histogram, RangeMethod, quantizer_for};
use crate::data::PixelImages;
use crate::format::{PackedOp, Preprocess, Quantizer};
use crate::graph::Graph;
use crate::index::Per;
use crate::layerwise::statistics::Matched;
use crate::plan::choose;
use crate::prepare::{Calibration, Draft, HeldBack, Prepared};
use crate::quantize::ActivationBits;
use crate::source::{LoadOptions, load};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// A network of random weights and its four images.
struct Family {
    graph: Graph,
    preprocess: Preprocess,
    images: PixelImages,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families").join(name)
}

impl Family {
    fn new(name: &str) -> Self {
        let model = fixture(&format!("{name}.onnx"));
        let graph = load(&model, &LoadOptions::default()).unwrap().graph;
        let expected = std::fs::read(fixture(&format!("{name}.expected.safetensors"))).unwrap();
        let pixels = SafeTensors::deserialize(&expected).unwrap().tensor("pixels").unwrap().data().to_vec();
        let input = graph.input;
        let preprocess = Preprocess::default_for(input.channels, input.height, input.width).unwrap();
        let pixels = pixels.chunks(input.len()).map(<[u8]>::to_vec).collect();
        Self { graph, preprocess, images: PixelImages { pixels, labels: Vec::new() } }
    }

    /// Converts after `change` to the walk.
    fn packed(&self, change: impl FnOnce(&mut Walk)) -> Packed {
        self.packed_with(8, RangeMethod::default(), change)
    }

    /// Convolutions between others read so many bits.
    fn packed_with(&self, bits: u8, range: RangeMethod, change: impl FnOnce(&mut Walk)) -> Packed {
        self.walked(bits, range, 0, |mut walk, pixels| {
            change(&mut walk);
            walk.run(pixels, &()).unwrap()
        })
    }

    /// What `go` makes of the walk and the images.
    fn walked<T>(
        &self,
        bits: u8,
        range: RangeMethod,
        held_back: usize,
        go: impl FnOnce(Walk<'_>, Parts) -> T,
    ) -> T {
        let choose = |graph: &Graph| choose(graph, [Precision::ternary(4); 2], None, &[]);
        let draft = Draft::new(self.graph.clone(), &self.preprocess, choose).unwrap();
        let statistics = draft.choices.ids().collect();
        let all = Calibration { statistics, held_back: HeldBack::Count(held_back), ..Calibration::default() };
        let planned = Per::filled(None, draft.choices.len());
        let bits = ActivationBits { default: bits, planned: &planned, rules: &[] };
        let draft = draft.narrowed(bits).unwrap();
        let Prepared { full, choices, pixels, .. } = draft.calibrate(&self.images, &all, &()).unwrap();
        let mut quantized = full.assemble(&choices, range, &[], &pixels.fitting).unwrap();
        let walk = Walk::new(&mut quantized, &full, Method::Compensated, &pixels, None).unwrap();
        go(walk, pixels)
    }

    /// Layers whose patches are part of another layer's, and that layer.
    fn guests(&self) -> Vec<[String; 2]> {
        let mut guests = Vec::new();
        self.packed(|walk| {
            let name = |id: OperatorId| walk.graph.nodes[id].name.clone();
            let hosts = walk.hosts.enumerate().filter_map(|(id, host)| Some((id, (*host)?)));
            guests = hosts.filter(|(id, host)| id != host).map(|(id, host)| [name(id), name(host)]).collect();
        });
        guests
    }
}

#[test]
fn parallel_branches_and_downsamples_have_hosts() {
    let guests = Family::new("squeezenet1_1").guests();
    assert_eq!(guests.len(), 8, "{guests:?}");
    for [guest, host] in guests {
        assert_eq!(guest.replace("expand1x1", "expand3x3"), host);
    }
    let guests = Family::new("resnet_basic").guests();
    assert_eq!(guests.len(), 3, "{guests:?}");
    for [guest, host] in guests {
        assert_eq!(guest.replace("downsample/downsample.0", "conv1"), host);
    }
    // Only the first downsample reads the positions that the convolution beside it reads.
    let guests = Family::new("resnet_bottleneck").guests();
    assert_eq!(guests.len(), 1, "{guests:?}");
    assert!(guests[0][0].contains("layer1.0/downsample"), "{guests:?}");
}

/// These images are so few that all positions are sampled, whatever is shared.
#[test]
fn shared_moments_are_those_of_the_layer_alone() {
    for name in ["squeezenet1_1", "resnet_basic", "googlenet"] {
        let family = Family::new(name);
        let shared = family.packed(|_| ());
        let alone = family.packed(|walk| {
            let own = |(id, host): (OperatorId, &Option<OperatorId>)| host.map(|_| id);
            walk.hosts = walk.hosts.enumerate().map(own).collect();
        });
        assert_eq!(shared.nodes, alone.nodes, "{name}");
    }
}

/// A conversion with, by node, its shape, whether its range was chosen during the walk, and its codes on the images.
struct Run {
    packed: Packed,
    shapes: Per<PackedId, Shape>,
    ranged: Per<PackedId, bool>,
    codes: Per<PackedId, Batch<u8>>,
}

impl Run {
    fn new(family: &Family, bits: u8, range: RangeMethod) -> Self {
        let (mut shapes, mut ranged) = (Per::default(), Per::default());
        let packed = family.packed_with(bits, range, |walk| {
            shapes = walk.graph.nodes.iter().map(|node| node.shape).collect();
            ranged = walk.graph.nodes.iter().map(|node| node.range.is_some()).collect();
        });
        let mut pixels = Spool::new(shapes[PackedId::INPUT], 4).unwrap();
        pixels.push(&family.images.pixels.concat()).unwrap();
        let codes = vec![pixels.chunk(0).unwrap()].into();
        let mut run = Self { packed, shapes, ranged, codes };
        let inner = run.shapes.ids_after(PackedId::INPUT).take(run.shapes.len() - 2);
        inner.for_each(|id| run.execute(id));
        run
    }

    fn execute(&mut self, id: PackedId) {
        let node = &self.packed.nodes[id];
        let operand = |&input: &PackedId| Operand::of(&self.packed.nodes[input], self.shapes[input]);
        let operands: Vec<Operand> = node.inputs.iter().map(operand).collect();
        let inputs: Vec<&Batch<u8>> = node.inputs.iter().map(|&input| &self.codes[input]).collect();
        let step = Step::new(node, &operands, self.shapes[id], Kernels::default());
        self.codes.push(step.codes(&inputs).unwrap());
    }
}

fn reals(codes: &Batch<u8>, quantizer: Quantizer) -> Vec<f32> {
    let real = |&code: &u8| ((f64::from(code) - f64::from(quantizer.zero_point)) * quantizer.scale) as f32;
    codes.data.iter().map(real).collect()
}

#[test]
fn copies_have_the_range_of_what_the_converted_network_yields() {
    let range = RangeMethod::Percentile(99.0);
    for (name, bits) in [("resnet_basic", 4), ("resnet_bottleneck", 3), ("googlenet", 5)] {
        let family = Family::new(name);
        let Run { packed, codes, .. } = Run::new(&family, bits, range);
        let mut copies = 0;
        for node in packed.nodes.iter().filter(|node| matches!(node.op, PackedOp::Narrow(_))) {
            let input = node.inputs[0];
            let mut histogram = Histogram::default();
            histogram.extend(&reals(&codes[input], packed.nodes[input].quantizer));
            assert_eq!(node.quantizer, quantizer_for(&histogram, range, bits), "{name}: {}", node.name);
            copies += 1;
        }
        // In the others convolutions alone read what has fewer bits.
        assert_eq!(copies > 0, name == "resnet_basic", "{name}");
    }
}

/// What has fewer bits from the start ends where its own largest values do, on the converted network's values.
#[test]
fn narrow_tensors_span_what_the_converted_network_yields() {
    for name in ["resnet_basic", "squeezenet1_1"] {
        let family = Family::new(name);
        let Run { packed, ranged, codes, .. } = Run::new(&family, 4, RangeMethod::MinMax);
        let mut seen = 0;
        for ((node, codes), _) in packed.nodes.iter().zip(&codes).zip(ranged).filter(|(_, ranged)| *ranged) {
            let largest = *codes.data.iter().max().unwrap();
            assert!(largest >= 14, "{name}: {} ends at {largest}", node.name);
            seen += 1;
        }
        assert!(seen > 3, "{name}");
    }
}

/// Calls `look` for every layer that has an objective, then goes on.
fn at_every_objective(
    family: &Family,
    held_back: usize,
    mut look: impl FnMut(&mut Walk, OperatorId),
) -> usize {
    family.walked(8, RangeMethod::default(), held_back, |mut walk, pixels| {
        walk.start(pixels).unwrap();
        let ids: Vec<OperatorId> = walk.graph.nodes.ids().skip(1).collect();
        let mut seen = 0;
        for id in ids {
            walk.objective = walk.objective_of(id).unwrap();
            if walk.objective.is_some() {
                look(&mut walk, id);
                seen += 1;
            }
            walk.settle(id).unwrap();
        }
        seen
    })
}

fn affine(walk: &Walk, id: OperatorId) -> [Vec<f64>; 2] {
    match &walk.graph.nodes[id].op {
        QuantizedOp::Conv(conv) => [conv.gain.clone(), conv.bias.clone()],
        _ => Default::default(),
    }
}

/// So few positions are all sampled: moments say what a run would.
#[test]
fn moments_re_estimate_as_a_run_does() {
    for (name, layers) in [("resnet_basic", 8), ("mobilenet_v2", 12)] {
        let seen = at_every_objective(&Family::new(name), 0, |walk, id| {
            let assembled = walk.graph.nodes[id].op.clone();
            for matched in [Matched::Mean, Matched::MeanAndVariance] {
                walk.re_estimate(id, matched).unwrap();
                let by_moments = affine(walk, id);
                walk.graph.nodes[id].op = assembled.clone();
                let objective = walk.objective.take();
                walk.re_estimate(id, matched).unwrap();
                let by_run = affine(walk, id);
                walk.graph.nodes[id].op = assembled.clone();
                walk.objective = objective;
                for (moments, run) in by_moments.iter().flatten().zip(by_run.iter().flatten()) {
                    assert!((moments - run).abs() < 1e-3 * (0.1 + run.abs()), "{name}: {moments} {run}");
                }
            }
        });
        assert!(seen >= layers, "{name}: {seen}");
    }
}

/// Whatever damping is taken, the images held back see no more error for it.
#[test]
fn images_held_back_choose_the_damping() {
    let mut changed = 0;
    for name in ["resnet_basic", "mobilenet_v2"] {
        at_every_objective(&Family::new(name), 1, |walk, id| {
            let assembled = walk.graph.nodes[id].op.clone();
            let before = walk.draft_error(id, &assembled).unwrap();
            walk.graph.nodes[id].op = assembled.clone();
            let targets = walk.objective.as_ref().unwrap().targets.clone();
            walk.regularise(id).unwrap();
            changed += usize::from(targets != walk.objective.as_ref().unwrap().targets);
            assert_eq!(format!("{:?}", walk.graph.nodes[id].op), format!("{assembled:?}"));
            assert!(walk.draft_error(id, &assembled).unwrap() <= before);
            walk.graph.nodes[id].op = assembled;
        });
    }
    assert!(changed > 0);
}
