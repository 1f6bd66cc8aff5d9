//! From a trained network to everything that fitting starts from.

use super::pixels::read_pixels;
use super::share::HeldBack;
use crate::calibrate::{ActivationRule, Observation, Observer, Parts, RangeMethod, Spool};
use crate::channels::{equalise, reorder};
use crate::data::{Images, Unreadable};
use crate::error::Result;
use crate::fold::fold;
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId};
use crate::index::Per;
use crate::plan::{Choice, Pattern};
use crate::precision::Precision;
use crate::progress::Progress;
use crate::quantize::{ActivationBits, Assembly, Blueprint, QuantizedGraph, Structure, assemble};

/// A network with all that needs no image. Whoever has one has nothing left to refuse but the images.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// Simplified.
    pub graph: Graph,
    pub structure: Structure,
    /// By node: the precision of a convolution.
    pub choices: Per<NodeId, Option<Choice>>,
    preprocess: &'a Preprocess,
}

/// What is wanted of the images.
#[derive(Debug, Default)]
pub(crate) struct Calibration {
    /// Convolutions whose inputs' channels are to differ less in size.
    pub equalised: Vec<NodeId>,
    /// Nodes whose channel statistics are wanted.
    pub statistics: Vec<NodeId>,
    /// Nodes whose distribution is wanted besides those that the structure needs.
    pub distributions: Vec<NodeId>,
    pub held_back: HeldBack,
}

/// The full-precision side of a conversion.
#[derive(Debug)]
pub(crate) struct Full<'a> {
    pub graph: Graph,
    pub structure: Structure,
    pub preprocess: &'a Preprocess,
    pub observation: Observation,
}

/// What a conversion starts from.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub full: Full<'a>,
    /// By node: the precision of a convolution.
    pub choices: Per<NodeId, Option<Choice>>,
    pub pixels: Parts,
    /// Places of the fitted images among those given.
    pub fitting: Vec<usize>,
    pub unreadable: Unreadable,
}

impl<'a> Draft<'a> {
    /// The network, with the precision that `choose` finds for every convolution of it.
    ///
    /// # Errors
    /// Images prepared for another input, operators that integers cannot express, whatever `choose` refuses.
    pub(crate) fn new(
        graph: Graph,
        preprocess: &'a Preprocess,
        choose: impl FnOnce(&Graph) -> Result<Per<NodeId, Option<Choice>>>,
    ) -> Result<Self> {
        preprocess.check_input(graph.input.channels, graph.input.height, graph.input.width)?;
        let graph = fold(graph)?;
        Ok(Self { structure: Structure::new(&graph)?, choices: choose(&graph)?, graph, preprocess })
    }

    /// Convolutions read activations with these bits.
    ///
    /// # Errors
    /// A pattern that matches no activation tensor.
    pub(crate) fn narrowed(self, bits: ActivationBits) -> Result<Self> {
        Ok(Self { structure: bits.narrowed(&self.graph, self.structure)?, ..self })
    }

    /// Channels in the order that suits nodes which may have these precisions.
    pub(crate) fn reordered(self, possible: &Per<NodeId, Vec<Precision>>) -> Result<Self> {
        Ok(Self { graph: reorder(self.graph, |id| possible[id].clone())?, ..self })
    }

    /// Reads the images, holds some back, and looks at what the network makes of the others.
    ///
    /// # Errors
    /// No readable image; an activation that is not finite; a temporary file that cannot be written.
    pub(crate) fn calibrate(
        self,
        images: &dyn Images,
        wanted: &Calibration,
        progress: &dyn Progress,
    ) -> Result<Prepared<'a>> {
        let Self { graph, structure, choices, preprocess } = self;
        let (pixels, readable, unreadable) = read_pixels(graph.input, preprocess, images, progress)?;
        let held_back = wanted.held_back.of(pixels.images());
        let judging = Parts::judging_places(pixels.images(), held_back);
        let fitting = |(place, &image): (usize, &usize)| (!judging.contains(&place)).then_some(image);
        let fitting = readable.iter().enumerate().filter_map(fitting).collect();
        let pixels = Parts::split(pixels, held_back)?;
        let graph = equalise(graph, preprocess, &pixels.fitting, &wanted.equalised)?;
        let observer = Observer {
            graph: &graph,
            preprocess,
            histograms: &[structure.range_nodes(), wanted.distributions.clone()].concat(),
            channels: &wanted.statistics,
        };
        let observation = observer.run(&pixels.fitting, progress)?;
        let full = Full { graph, structure, preprocess, observation };
        Ok(Prepared { full, choices, pixels, fitting, unreadable })
    }
}

impl Full<'_> {
    /// The quantized network with these precisions of weights and ranges of activations, before fitting.
    pub(crate) fn assemble(
        &self,
        choices: &Per<NodeId, Option<Choice>>,
        range: RangeMethod,
        rules: &[(Pattern, ActivationRule)],
        pixels: &Spool,
    ) -> Result<QuantizedGraph> {
        self.assemble_as(&self.structure, choices, range, rules, pixels)
    }

    /// The same with other integer operators.
    pub(crate) fn assemble_as(
        &self,
        structure: &Structure,
        choices: &Per<NodeId, Option<Choice>>,
        range: RangeMethod,
        rules: &[(Pattern, ActivationRule)],
        pixels: &Spool,
    ) -> Result<QuantizedGraph> {
        let Self { graph, preprocess, observation, .. } = self;
        let blueprint = Blueprint { graph, structure, preprocess, choices };
        assemble(&Assembly { blueprint, observation, range, rules, pixels })
    }
}
