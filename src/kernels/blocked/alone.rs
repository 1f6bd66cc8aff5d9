//! One convolution on its own, between batches in the order image, row, column, channel.

use super::conv::{ConvTask, ConvWeights, read_sums};
use super::enter::{EnterTask, leave};
use super::{Isa, Map, Program, Ring, Slot, slack};
use crate::kernels::{ConvSpec, Epilogue};
use crate::tensor::{Batch, Shape};
use crate::threads;
use std::sync::Arc;

/// A program of one convolution for images of one shape.
#[derive(Debug)]
pub(in crate::kernels) struct Alone {
    isa: &'static Isa,
    program: Program,
    /// The input's shape.
    pub input: Shape,
    shape: Shape,
    output: ResultPlace,
}

#[derive(Debug)]
enum ResultPlace {
    Codes(Slot),
    Sums(Slot),
}

impl Alone {
    /// Sums of `spec` for images of shape `input`.
    pub fn sums(isa: &'static Isa, spec: &ConvSpec, input: Shape, shape: Shape) -> Self {
        let (mut program, slot) = start(spec, input);
        let output = Slot::of_sums(slot.next(), shape);
        let weights = Arc::new(ConvWeights::new(isa, spec, &slot.map));
        program.push(Box::new(ConvTask::sums(spec, weights, [&slot, &output])), None);
        Self { isa, program, input, shape, output: ResultPlace::Sums(output) }
    }

    /// Codes of `spec` for images of shape `input`.
    pub fn codes(
        isa: &'static Isa,
        spec: &ConvSpec,
        epilogue: &Epilogue,
        input: Shape,
        shape: Shape,
    ) -> Self {
        let (mut program, slot) = start(spec, input);
        let after = |slot: &Slot| Slot::new(slot.next(), Map::new(shape, [0; 4]), 64);
        let mut output = after(&slot);
        let residual = epilogue.residual.map(|_| {
            let residual = output.clone();
            output = after(&residual);
            program.push(Box::new(EnterTask { index: 1, output: residual.clone() }), None);
            residual
        });
        let weights = Arc::new(ConvWeights::new(isa, spec, &slot.map));
        let conv = ConvTask::codes(spec, weights, epilogue, [&slot, &output], residual.as_ref(), None);
        program.push(Box::new(conv), None);
        Self { isa, program, input, shape, output: ResultPlace::Codes(output) }
    }

    /// Bytes of weights.
    pub fn weights(&self) -> usize {
        self.program.weights().sum()
    }

    /// The codes of every image.
    pub fn run_codes(&self, input: &Batch<u8>, residual: Option<&Batch<u8>>) -> Batch<u8> {
        let mut output = Batch::zeroed(input.images, self.shape);
        threads::for_chunks(
            &mut output.data,
            self.shape.len(),
            || self.program.memory(),
            |memory, index, codes| {
                match residual {
                    Some(residual) => self.program.run(memory, &[input.image(index), residual.image(index)]),
                    None => self.program.run(memory, &[input.image(index)]),
                }
                if let ResultPlace::Codes(slot) = &self.output {
                    leave(memory, slot, codes);
                }
            },
        );
        output
    }

    /// The sums of every image.
    pub fn run_sums(&self, input: &Batch<u8>) -> Batch<i32> {
        let mut output = Batch::zeroed(input.images, self.shape);
        threads::for_chunks(
            &mut output.data,
            self.shape.len(),
            || self.program.memory(),
            |memory, index, sums| {
                self.program.run(memory, &[input.image(index)]);
                if let ResultPlace::Sums(slot) = &self.output {
                    let mut sums = sums.iter_mut();
                    read_sums(self.isa, memory, slot, |sum| {
                        sums.next().into_iter().for_each(|place| *place = sum);
                    });
                }
            },
        );
        output
    }
}

/// A program that brings the input in, with the ring that the convolution needs.
fn start(spec: &ConvSpec, input: Shape) -> (Program, Slot) {
    let mut program = Program::default();
    let map = Map::of_pixels(input, spec.window.pads);
    let slack = slack(&spec.window, map.block);
    let slot = Slot::new(0, map, slack);
    let ring = Ring::new(&slot, &spec.zero_points);
    program.push(Box::new(EnterTask { index: 0, output: slot.clone() }), ring);
    (program, slot)
}
