use super::*;
use crate::calibrate::{Observer, RangeMethod};
use crate::fold::fold;
use crate::plan::choose;
use crate::quantize::{ActivationBits, Assembly, assemble};
use crate::source::{LoadOptions, load};
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// A network of random weights and its four images.
struct Family {
    graph: Graph,
    preprocess: Preprocess,
    pixels: Vec<u8>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/families").join(name)
}

impl Family {
    fn new(name: &str) -> Self {
        let model = fixture(&format!("{name}.onnx"));
        let graph = fold(load(&model, &LoadOptions::default()).unwrap().graph).unwrap();
        let expected = std::fs::read(fixture(&format!("{name}.expected.safetensors"))).unwrap();
        let pixels = SafeTensors::deserialize(&expected).unwrap().tensor("pixels").unwrap().data().to_vec();
        let input = graph.input;
        let preprocess = Preprocess::default_for(input.channels, input.height, input.width).unwrap();
        Self { graph, preprocess, pixels }
    }

    fn spool(&self) -> Spool {
        let mut spool = Spool::new(self.graph.input, self.pixels.len() / self.graph.input.len()).unwrap();
        spool.push(&self.pixels).unwrap();
        spool
    }

    /// Converts after `change` to the walk.
    fn packed(&self, change: impl FnOnce(&mut Walk)) -> Packed {
        let structure = Structure::new(&self.graph).unwrap();
        let choices = choose(&self.graph, [crate::precision::Precision::ternary(4); 2], None, &[]).unwrap();
        let pixels = self.spool();
        let (channels, planned): (Vec<NodeId>, _) =
            ((0..choices.len()).collect(), vec![None; self.graph.nodes.len()]);
        let observer = Observer {
            graph: &self.graph,
            preprocess: &self.preprocess,
            histograms: &structure.range_nodes(),
            channels: &channels,
        };
        let observation = observer.run(&pixels, &()).unwrap();
        let mut quantized = assemble(&Assembly {
            graph: &self.graph,
            structure: &structure,
            observation: &observation,
            preprocess: &self.preprocess,
            choices: &choices,
            bits: ActivationBits { default: 8, planned: &planned, rules: &[] },
            range: RangeMethod::default(),
            pixels: &pixels,
        })
        .unwrap();
        let full = Full {
            graph: &self.graph,
            structure: &structure,
            preprocess: &self.preprocess,
            observation: &observation,
        };
        let mut walk = Walk::new(&mut quantized, full, Method::Compensated, &pixels, None).unwrap();
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
