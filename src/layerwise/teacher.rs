//! The full-precision network, one layer at a time on all calibration images.

use crate::calibrate::{CHUNK, Spool};
use crate::data::normalise;
use crate::error::{Error, ErrorKind, Result};
use crate::format::Preprocess;
use crate::graph::{Graph, NodeId, Op, evaluate};
use crate::liveness::Readers;
use crate::tensor::Shape;
use rayon::prelude::*;

/// Values of the full-precision network, computed in order and kept while something needs them.
pub(super) struct Teacher<'a> {
    graph: &'a Graph,
    preprocess: &'a Preprocess,
    shapes: Vec<Shape>,
    values: Vec<Option<Spool>>,
    /// Nodes that read a value, and the caller for each time it will release it.
    readers: Readers,
    /// Nodes computed so far.
    done: usize,
}

impl<'a> Teacher<'a> {
    /// Nothing is computed yet; `wanted` lists each node once for each time it will be released.
    pub(super) fn new(graph: &'a Graph, preprocess: &'a Preprocess, wanted: &[NodeId]) -> Result<Self> {
        let reads = graph.nodes.iter().flat_map(|node| &node.inputs).chain(wanted);
        let readers = Readers::new(graph.nodes.len(), reads);
        let values = (0..graph.nodes.len()).map(|_| None).collect();
        Ok(Self { graph, preprocess, shapes: graph.shapes()?, values, readers, done: 0 })
    }

    /// Takes the images.
    pub(super) fn start(&mut self, pixels: &Spool) -> Result<()> {
        self.values[0] = Some(self.inputs(pixels)?);
        self.done = 1;
        Ok(())
    }

    /// Computes everything up to node `id`.
    pub(super) fn advance_to(&mut self, id: NodeId) -> Result<()> {
        while self.done <= id {
            let node = self.done;
            self.values[node] = Some(self.compute(node)?);
            self.done += 1;
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
        let spool = self.values[id]
            .as_ref()
            .ok_or_else(|| Error::new(ErrorKind::Shape, "full-precision values were freed too early"))?;
        let bytes = spool.chunk(index)?;
        Ok(bytes.data.chunks_exact(4 * self.shapes[id].len()).map(floats).collect())
    }

    fn inputs(&self, pixels: &Spool) -> Result<Spool> {
        let mut output = self.spool(0, pixels.images())?;
        for index in 0..pixels.chunks() {
            let chunk = pixels.chunk(index)?;
            for image in 0..chunk.images {
                let values = normalise(chunk.image(image), self.preprocess)?;
                output.push(&bytes(values.as_slice().unwrap_or_default()))?;
            }
        }
        Ok(output)
    }

    fn compute(&self, id: NodeId) -> Result<Spool> {
        let node = &self.graph.nodes[id];
        let images = self.values[node.inputs[0]].as_ref().map_or(0, Spool::images);
        let mut output = self.spool(id, images)?;
        for index in 0..images.div_ceil(CHUNK) {
            let inputs: Result<Vec<_>> = node.inputs.iter().map(|&input| self.chunk(input, index)).collect();
            let inputs = inputs?;
            let results: Result<Vec<Vec<u8>>> = (0..inputs[0].len())
                .into_par_iter()
                .map(|image| self.evaluate(&node.op, id, &inputs, image))
                .collect();
            output.push(&results?.concat())?;
        }
        Ok(output)
    }

    fn evaluate(&self, op: &Op, id: NodeId, inputs: &[Vec<Vec<f32>>], image: usize) -> Result<Vec<u8>> {
        let shapes = self.graph.nodes[id].inputs.iter().map(|&input| self.shapes[input]);
        let operands: Vec<_> = inputs.iter().map(|input| input[image].as_slice()).zip(shapes).collect();
        Ok(bytes(&evaluate(op, &operands, self.shapes[id])?))
    }

    fn spool(&self, id: NodeId, images: usize) -> Result<Spool> {
        let Shape { channels, height, width } = self.shapes[id];
        Spool::new(Shape::new(4 * channels, height, width), images)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

#[cfg(test)]
mod tests;
