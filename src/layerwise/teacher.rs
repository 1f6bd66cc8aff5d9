//! The full-precision network, one layer at a time on all calibration images.

use crate::calibrate::{CHUNK, RealSpool, Spool};
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId, evaluate};
use crate::index::Per;
use crate::liveness::Readers;
use crate::tensor::Shape;
use rayon::prelude::*;

/// Values of the full-precision network, computed in order and kept while something needs them.
pub(super) struct Teacher<'a> {
    graph: &'a Graph,
    preprocess: &'a Preprocess,
    shapes: Per<NodeId, Shape>,
    values: Per<NodeId, Option<RealSpool>>,
    /// Nodes that read a value, and the caller for each time it will release it.
    readers: Readers<NodeId>,
    /// The last node computed so far.
    last: NodeId,
}

impl<'a> Teacher<'a> {
    /// Nothing is computed yet; `wanted` lists each node once for each time it will be released.
    pub(super) fn new(graph: &'a Graph, preprocess: &'a Preprocess, wanted: &[NodeId]) -> Result<Self> {
        let reads = graph.nodes.iter().flat_map(|node| &node.inputs).chain(wanted).copied();
        let readers = Readers::new(graph.nodes.len(), reads);
        let values = (0..graph.nodes.len()).map(|_| None).collect();
        Ok(Self { graph, preprocess, shapes: graph.shapes()?, values, readers, last: NodeId::INPUT })
    }

    /// Takes the images.
    pub(super) fn start(&mut self, pixels: &Spool) -> Result<()> {
        self.values[NodeId::INPUT] = Some(self.inputs(pixels)?);
        Ok(())
    }

    /// Computes everything up to node `id`.
    pub(super) fn advance_to(&mut self, id: NodeId) -> Result<()> {
        for node in self.graph.nodes.ids_between(self.last, id) {
            self.values[node] = Some(self.compute(node)?);
            self.last = node;
            self.free_unread(node);
            for &input in &self.graph.nodes[node].inputs {
                self.release(input);
            }
        }
        Ok(())
    }

    /// One reader less; the last one frees the value.
    pub(super) fn release(&mut self, id: NodeId) {
        self.readers.release(id);
        self.free_unread(id);
    }

    fn free_unread(&mut self, id: NodeId) {
        if self.readers.are_done(id) {
            self.values[id] = None;
        }
    }

    /// Shape of a node's value.
    pub(super) fn shape(&self, id: NodeId) -> Shape {
        self.shapes[id]
    }

    /// The values of node `id` on the images of a chunk, each in the order channel, row, column.
    pub(super) fn chunk(&self, id: NodeId, index: usize) -> Result<Vec<Vec<f32>>> {
        let images = self.images(id)?;
        (index * CHUNK..images.min((index + 1) * CHUNK))
            .into_par_iter()
            .map(|image| self.image(id, image))
            .collect()
    }

    /// The values of node `id` on an image, in the order channel, row, column.
    pub(super) fn image(&self, id: NodeId, image: usize) -> Result<Vec<f32>> {
        self.spooled(id)?.image(image)
    }

    fn images(&self, id: NodeId) -> Result<usize> {
        Ok(self.spooled(id)?.images())
    }

    fn spooled(&self, id: NodeId) -> Result<&RealSpool> {
        let freed = || Error::new(ErrorKind::Shape, "full-precision values were freed too early");
        self.values[id].as_ref().ok_or_else(freed)
    }

    fn inputs(&self, pixels: &Spool) -> Result<RealSpool> {
        RealSpool::of(self.shapes[NodeId::INPUT], pixels.images(), |image| {
            Ok(normalise(&pixels.image(image)?, self.preprocess)?.into_raw_vec_and_offset().0)
        })
    }

    fn compute(&self, id: NodeId) -> Result<RealSpool> {
        let node = &self.graph.nodes[id];
        RealSpool::of(self.shapes[id], self.images(node.inputs[0])?, |image| {
            let inputs: Vec<Vec<f32>> =
                node.inputs.iter().map(|&input| self.image(input, image)).collect::<Result<_>>()?;
            let shapes = node.inputs.iter().map(|&input| self.shapes[input]);
            let operands: Vec<_> = inputs.iter().map(Vec::as_slice).zip(shapes).collect();
            evaluate(&node.op, &operands, self.shapes[id])
        })
    }
}

#[cfg(test)]
mod tests;
