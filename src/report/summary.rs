//! What a packed model consists of: its layers, its bytes by kind, its bits per weight.

use crate::error::Result;
use crate::format::{Bytes, LayerFidelity, PackedId, PackedModel, PackedNode, PackedOp};
use crate::index::Per;
use crate::precision::Precision;
use crate::tensor::{Shape, Window};
use std::fmt;

/// What kind of layer a convolution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LayerKind {
    /// A convolution, possibly grouped.
    Conv,
    /// A convolution with one input channel per channel group.
    Depthwise,
    /// A fully connected layer: one window that covers the whole input.
    Linear,
}

impl LayerKind {
    /// The kind of a convolution from maps of shape `input` to maps of shape `output`.
    pub(super) fn of(window: &Window, groups: usize, input: Shape, output: Shape) -> Self {
        if groups > 1 && groups == input.channels {
            Self::Depthwise
        } else if output.positions() == 1 && groups == 1 && window.kernel == [input.height, input.width] {
            Self::Linear
        } else {
            Self::Conv
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Conv => "conv",
            Self::Depthwise => "depthwise",
            Self::Linear => "linear",
        })
    }
}

/// A layer with weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Name of its node.
    pub name: String,
    /// What kind of layer it is.
    pub kind: LayerKind,
    /// How its weights are stored.
    pub precision: Precision,
    /// Bits of the codes that it reads.
    pub input_bits: u8,
    /// Output channels, input channels of one channel group, kernel rows, kernel columns.
    pub shape: [usize; 4],
    /// Number of weights.
    pub weights: usize,
    /// Number of weights that are zero.
    pub zeros: usize,
    /// What its bytes in the file hold; `metadata` and `tables` are 0.
    pub bytes: Bytes,
    /// Weights that meet an activation, for one image.
    pub products: usize,
    /// Multiplications by a weight or a group's scale, for one image.
    pub multiplications: usize,
    /// How closely it follows full precision, if the model's file says so.
    pub fidelity: Option<LayerFidelity>,
}

/// What most of a model's loss against full precision comes from. Shares are parts, 0 to 1, of the noise that all
/// layers add.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// One layer adds more than half of the noise.
    Layer {
        /// Its name.
        name: String,
        /// Its share.
        share: f64,
        /// Whether most of that comes from its weights, not from the rounding of its inputs.
        by_weights: bool,
    },
    /// The weights, with this share.
    Weights(f64),
    /// The rounding of activations, with this share.
    Activations(f64),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: &f64| (100.0 * share).round();
        match self {
            Self::Layer { name, share, by_weights } => {
                let cause = if *by_weights { "weights" } else { "rounded inputs" };
                write!(f, "layer {name}: its {cause} ({}% of the noise that layers add)", percent(share))
            }
            Self::Weights(share) => write!(f, "weights ({}% of the noise that layers add)", percent(share)),
            Self::Activations(share) => {
                write!(f, "activations ({}% of the noise that layers add)", percent(share))
            }
        }
    }
}

/// What a packed model consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Its layers with weights, in execution order.
    pub layers: Vec<Layer>,
    /// The bytes of its file.
    pub bytes: Bytes,
}

impl Summary {
    /// Takes stock of `model`, whose file has `file_bytes` bytes.
    ///
    /// # Errors
    /// A model that is not valid (see [`PackedModel::shapes`]).
    pub fn new(model: &PackedModel, file_bytes: usize) -> Result<Self> {
        let shapes = model.shapes()?;
        let layers: Vec<Layer> = model
            .nodes
            .enumerate()
            .zip(&shapes)
            .filter_map(|((id, node), &output)| layer(model, node, &shapes, output, figures(model, id)))
            .collect();
        Ok(Self { layers, bytes: Bytes::of_file(model, file_bytes) })
    }

    /// What most of the loss comes from (`docs/method.md`, section 8), if the model's file has figures.
    pub fn loss(&self) -> Option<Loss> {
        let figures = || self.layers.iter().filter_map(|layer| Some((layer, layer.fidelity.as_ref()?)));
        let weights: f64 = figures().map(|(_, figures)| figures.weight_noise()).sum();
        let rounding: f64 = figures().map(|(_, figures)| figures.rounding_noise()).sum();
        let total = weights + rounding;
        let (worst, noise) = figures().max_by(|a, b| a.1.noise().total_cmp(&b.1.noise()))?;
        if total <= 0.0 {
            return None;
        }
        Some(if noise.noise() > total / 2.0 {
            let by_weights = noise.weight_noise() >= noise.rounding_noise();
            Loss::Layer { name: worst.name.clone(), share: noise.noise() / total, by_weights }
        } else if weights >= rounding {
            Loss::Weights(weights / total)
        } else {
            Loss::Activations(rounding / total)
        })
    }

    /// Number of weights.
    pub fn weights(&self) -> usize {
        self.layers.iter().map(|layer| layer.weights).sum()
    }

    /// Number of ternary weights.
    pub fn ternary_weights(&self) -> usize {
        let ternary = self.layers.iter().filter(|layer| layer.precision.is_ternary());
        ternary.map(|layer| layer.weights).sum()
    }

    /// Bits of the whole file per weight.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.bytes.total() as f64 / self.weights().max(1) as f64
    }

    /// Bits of the whole file, everything else included, per ternary weight; `None` if there is none.
    pub fn bits_per_ternary_weight(&self) -> Option<f64> {
        let weights = self.ternary_weights();
        (weights > 0).then(|| 8.0 * self.bytes.total() as f64 / weights as f64)
    }

    /// Share of the multiplications by weights that are left, 0 to 1: ternary groups need one each.
    pub fn multiplications_left(&self) -> f64 {
        let sum = |count: fn(&Layer) -> usize| self.layers.iter().map(count).sum::<usize>() as f64;
        sum(|layer| layer.multiplications) / sum(|layer| layer.products).max(1.0)
    }
}

fn figures(model: &PackedModel, id: PackedId) -> Option<LayerFidelity> {
    model.fidelity.iter().flat_map(|fidelity| &fidelity.layers).find(|layer| layer.node == id).cloned()
}

fn layer(
    model: &PackedModel,
    node: &PackedNode,
    shapes: &Per<PackedId, Shape>,
    output: Shape,
    fidelity: Option<LayerFidelity>,
) -> Option<Layer> {
    let PackedOp::Conv(conv) = &node.op else { return None };
    let read = *node.inputs.first()?;
    let input = shapes.get(read)?;
    let largest_code = model.nodes[read].quantizer.max;
    let [rows, columns] = conv.window.kernel;
    let precision = conv.weights.precision;
    let products = conv.weight_count() * output.positions();
    Some(Layer {
        name: node.name.clone(),
        kind: LayerKind::of(&conv.window, conv.groups, *input, output),
        precision,
        input_bits: (u8::BITS - largest_code.leading_zeros()) as u8,
        shape: [conv.outputs, conv.group_inputs, rows, columns],
        weights: conv.weight_count(),
        zeros: conv.expand().iter().filter(|&&weight| weight == 0).count(),
        bytes: Bytes::of(node),
        products,
        multiplications: precision.multiplications(products as u64, conv.group_inputs as u64) as usize,
        fidelity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::arbitrary::packed_id;

    /// Layers with the given ratios of weights and of rounding, in dB.
    fn summary(ratios: &[(f64, Option<f64>)]) -> Summary {
        let layer = |(node, &(local, rounding)): (usize, &(f64, Option<f64>))| Layer {
            name: format!("layer{node}"),
            kind: LayerKind::Conv,
            precision: Precision::int8(),
            input_bits: 8,
            shape: [1; 4],
            weights: 1,
            zeros: 0,
            bytes: Bytes::default(),
            products: 1,
            multiplications: 1,
            fidelity: Some(LayerFidelity {
                node: packed_id(node),
                weight: None,
                local: Some(local),
                rounding,
                cumulative: None,
                saturation: 0.0,
            }),
        };
        Summary { layers: ratios.iter().enumerate().map(layer).collect(), bytes: Bytes::default() }
    }

    #[test]
    fn the_larger_noise_is_named() {
        let weights = summary(&[(10.0, None), (10.0, Some(20.0)), (10.0, Some(10.0))]);
        assert!(matches!(weights.loss(), Some(Loss::Weights(share)) if (share - 30.0 / 41.0).abs() < 1e-12));
        let rounding = summary(&[(20.0, Some(10.0)), (20.0, Some(10.0)), (20.0, Some(10.0))]);
        assert!(
            matches!(rounding.loss(), Some(Loss::Activations(share)) if (share - 30.0 / 33.0).abs() < 1e-12)
        );
    }

    #[test]
    fn a_layer_with_more_than_half_of_the_noise_is_named() {
        let summary = summary(&[(10.0, None), (30.0, Some(5.0)), (10.0, Some(40.0))]);
        let Some(Loss::Layer { name, share, by_weights }) = summary.loss() else { panic!() };
        assert_eq!((name.as_str(), by_weights), ("layer1", false));
        assert!(share > 0.5 && share < 0.7, "{share}");
        assert!(summary.loss().unwrap().to_string().contains("layer1: its rounded inputs (61%"));
    }

    #[test]
    fn without_figures_nothing_is_blamed() {
        let mut summary = summary(&[(10.0, None)]);
        assert!(summary.loss().is_some());
        summary.layers[0].fidelity = None;
        assert_eq!(summary.loss(), None);
    }
}
