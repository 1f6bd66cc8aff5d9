use super::*;
use crate::calibrate::RangeMethod;
use crate::data::PixelImages;
use crate::format::Preprocess;
use crate::graph::Graph;
use crate::plan::choose;
use crate::prepare::{Calibration, Draft, Prepared};
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
        let choose = |graph: &Graph| choose(graph, [Precision::ternary(4); 2], None, &[]);
        let draft = Draft::new(self.graph.clone(), &self.preprocess, choose).unwrap();
        let all = Calibration { statistics: (0..draft.choices.len()).collect(), ..Calibration::default() };
        let Prepared { full, choices, pixels, .. } = draft.calibrate(&self.images, &all, &()).unwrap();
        let planned = vec![None; choices.len()];
        let bits = ActivationBits { default: 8, planned: &planned, rules: &[] };
        let mut quantized = full.assemble(&choices, bits, RangeMethod::default(), &pixels.fitting).unwrap();
        let mut walk = Walk::new(&mut quantized, &full, Method::Compensated, &pixels, None).unwrap();
        change(&mut walk);
        walk.run(pixels, &()).unwrap()
    }

    /// Layers whose patches are part of another layer's, and that layer.
    fn guests(&self) -> Vec<[String; 2]> {
        let mut guests = Vec::new();
        self.packed(|walk| {
            let name = |id: usize| walk.graph.nodes[id].name.clone();
            let hosts = walk.hosts.iter().enumerate().filter_map(|(id, host)| Some((id, (*host)?)));
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
            let own = |(id, host): (usize, &mut Option<usize>)| *host = host.map(|_| id);
            walk.hosts.iter_mut().enumerate().for_each(own);
        });
        assert_eq!(shared.nodes, alone.nodes, "{name}");
    }
}
