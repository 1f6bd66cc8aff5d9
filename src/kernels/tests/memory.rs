//! No sequence of safe calls breaks memory: what does not fit is refused before it is touched.

use super::super::blocked::conv::{ConvTask, ConvWeights, read_sums};
use super::super::blocked::enter::{EnterTask, leave};
use super::super::blocked::moves::MoveTask;
use super::super::blocked::narrow::{NarrowTask, Narrowed};
use super::super::blocked::pointwise::TableTask;
use super::super::blocked::pool::global_sum;
use super::super::blocked::{Map, Memory, Program, Ring, Slot, Stage, Task};
use super::super::plain::PLAIN;
use super::super::{ConvKernel, ConvSpec, Epilogue, Kernels};
use super::*;
use crate::format::Quantizer;
use crate::tensor::Window;
use crate::wide::Width;
use std::sync::Arc;

const RING: [usize; 4] = [1; 4];

/// A value of 20 channels in 3 rows of 5 positions.
fn slot(start: usize) -> Slot {
    Slot::new(start, Map::new(Shape::new(20, 3, 5), RING), 64)
}

/// Brings an image to a slot.
fn entering(output: &Slot) -> Program {
    let mut program = Program::default();
    let ring = Ring::new(output, &[7]);
    program.push(Box::new(EnterTask { index: 0, output: output.clone() }), ring);
    program
}

fn refused(task: impl Task + 'static) {
    Stage::new(Box::new(task), None);
}

#[test]
fn a_program_has_memory_for_all_of_its_slots() {
    let (from, to) = (slot(128), slot(8192));
    let mut program = entering(&from);
    assert_eq!(program.memory().len(), from.end());
    program.push(Box::new(MoveTask::shuffle(&from, 2, &to)), Ring::new(&to, &[9]));
    assert_eq!(program.memory().len(), to.end());
}

#[test]
fn an_exchanged_stage_has_memory_too() {
    let (near, far) = (slot(0), slot(8192));
    let mut program = entering(&near);
    program.exchange(0, &mut Stage::new(Box::new(EnterTask { index: 0, output: far.clone() }), None));
    assert_eq!(program.memory().len(), far.end());
}

#[test]
#[should_panic(expected = "bytes of memory where")]
fn memory_that_is_too_short_is_refused() {
    let slot = slot(0);
    entering(&slot).run(&mut Memory::new(slot.end() - 64), &[&vec![1; slot.map.shape.len()]]);
}

#[test]
#[should_panic(expected = "bytes of memory where")]
fn no_memory_is_refused() {
    entering(&slot(0)).run(&mut Memory::new(0), &[&[]]);
}

#[test]
#[should_panic(expected = "slots that overlap")]
fn an_operator_does_not_write_what_it_reads() {
    refused(MoveTask::shuffle(&slot(0), 2, &slot(64)));
}

#[test]
#[should_panic(expected = "slots that overlap")]
fn an_operator_does_not_write_its_copy() {
    let (spec, input) = (spec(), Slot::new(8192, slot(0).map, 4096));
    let weights = Arc::new(ConvWeights::new(&PLAIN, &spec, &input.map));
    let slots = [&input, &slot(0)];
    refused(ConvTask::codes(&spec, weights, &epilogue(), slots, None, Some(narrowed(slot(0)))));
}

#[test]
#[should_panic(expected = "slots that are not sound")]
fn a_slot_that_begins_within_a_line_is_refused() {
    refused(EnterTask { index: 0, output: Slot { start: 1, ..slot(0) } });
}

#[test]
#[should_panic(expected = "slots that are not sound")]
fn a_slot_of_more_than_all_bytes_is_refused() {
    let map = Map { ring: [usize::MAX / 2, 0, usize::MAX / 2, 9], ..slot(0).map };
    refused(EnterTask { index: 0, output: Slot { map, ..slot(0) } });
}

#[test]
#[should_panic(expected = "a ring of something else")]
fn a_ring_of_another_value_is_refused() {
    let task = Box::new(EnterTask { index: 0, output: slot(0) });
    Stage::new(task, Ring::new(&slot(64), &[0]));
}

#[test]
#[should_panic(expected = "a ring of something else")]
fn two_rings_of_one_value_are_refused() {
    let (task, ring) = (Box::new(EnterTask { index: 0, output: slot(0) }), || Ring::new(&slot(0), &[0]));
    Stage::new(task, ring().into_iter().chain(ring()));
}

/// Small, for Miri: all paths, with a residual and rings, of one panel, of two, and of channels on their own.
#[test]
fn small_convolutions_are_those_of_the_reference() {
    for (outputs, inputs, groups) in [(3, 2, 1), (33, 3, 1), (17, 1, 17)] {
        let mut choices = Choices(outputs as u64);
        let mut spec = spec();
        (spec.outputs, spec.group_inputs, spec.groups) = (outputs, inputs, groups);
        spec.window.kernel = [2, 3];
        spec.weights = (0..outputs * inputs * 6).map(|_| (choices.next() as i8).max(-127)).collect();
        spec.bias.truncate(outputs);
        spec.zero_points.truncate(inputs * groups);
        let input = batch(&mut choices, 2, Shape::new(inputs * groups, 2, 3));
        let residual = batch(&mut choices, 2, spec.output_shape(input.shape).unwrap());
        let (residuals, multiplier) = ((rescale(&mut choices), 3), multiplier(&mut choices, 8));
        let multipliers = vec![multiplier; outputs];
        let epilogue = Epilogue { multipliers, residual: Some(residuals), ..epilogue() };
        let of = |kernels| ConvKernel::new(spec.clone(), Some(epilogue.clone()), kernels);
        let results = |kernel: ConvKernel| {
            (kernel.sums(&input).unwrap(), kernel.codes(&input, Some(&residual)).unwrap())
        };
        let wanted = results(of(Kernels::Reference));
        for kernels in Kernels::available() {
            assert_eq!(results(of(kernels)), wanted, "{kernels:?} {outputs} {inputs} {groups}");
        }
        let plain = ConvKernel::with_tiles(spec.clone(), Some(epilogue.clone()), &PLAIN);
        assert_eq!(results(plain), wanted, "{outputs} {inputs} {groups}");
    }
}

/// Runs an operator on memory that covers its slots.
fn run(task: impl Task + 'static) {
    let mut program = Program::default();
    program.push(Box::new(task), None);
    let mut memory = program.memory();
    program.run(&mut memory, &[]);
}

/// The slot of the test's operators that has fewer rows.
fn small(start: usize) -> Slot {
    Slot::new(start, Map::new(Shape::new(20, 1, 1), [0; 4]), 0)
}

#[test]
#[should_panic(expected = "bytes at")]
fn reading_behind_a_slot_is_refused() {
    run(TableTask { input: small(0), output: slot(8192), entries: vec![0; 256] });
}

#[test]
#[should_panic(expected = "row 1 of block 0")]
fn writing_rows_that_a_copy_lacks_is_refused() {
    let task = NarrowTask { input: small(0), narrowed: narrowed(slot(8192)) };
    let narrowed = Narrowed { output: small(8192), ..task.narrowed };
    let sum = super::super::blocked::pool::PoolTask::max(&PLAIN, &Window::new([1, 1]), &slot(0), &slot(4096));
    run(sum.with(Some(narrowed)));
}

#[test]
#[should_panic(expected = "tiles reach")]
fn tiles_that_reach_behind_their_input_are_refused() {
    let (spec, input) = (spec(), slot(0));
    let weights = Arc::new(ConvWeights::new(&PLAIN, &spec, &input.map));
    let short = Slot { len: input.map.len(), ..input };
    ConvTask::sums(&spec, weights, [&short, &Slot::of_sums(8192, Shape::new(33, 3, 5))]);
}

#[test]
#[should_panic(expected = "bytes at")]
fn sums_that_do_not_fit_their_slot_are_refused() {
    let (spec, input) = (spec(), Slot::new(0, slot(0).map, 4096));
    let weights = Arc::new(ConvWeights::new(&PLAIN, &spec, &input.map));
    let output = Slot { len: 64, ..Slot::of_sums(16384, Shape::new(33, 3, 5)) };
    run(ConvTask::sums(&spec, weights, [&input, &output]));
}

#[test]
#[should_panic(expected = "panels in blocks of 3")]
fn panels_that_are_no_part_of_a_block_are_refused() {
    let (spec, input) = (spec(), slot(0));
    let weights = Arc::new(ConvWeights::new(&PLAIN, &spec, &input.map));
    let output = Slot::new(8192, Map::of_pixels(Shape::new(3, 3, 5), [0; 4]), 64);
    ConvTask::codes(&spec, weights, &epilogue(), [&input, &output], None, None);
}

#[test]
#[should_panic(expected = "range")]
fn sums_behind_the_memory_are_not_read() {
    read_sums(&PLAIN, &mut Memory::new(64), &Slot::of_sums(4096, Shape::new(33, 3, 5)), |_| {});
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn sums_beyond_the_memory_are_not_read() {
    read_sums(&PLAIN, &mut Memory::new(128), &Slot::of_sums(0, Shape::new(33, 3, 5)), |_| {});
}

#[test]
#[should_panic(expected = "range")]
fn a_value_beyond_the_memory_does_not_leave() {
    leave(&mut Memory::new(128), &slot(0), &mut vec![0; slot(0).map.shape.len()]);
}

#[test]
#[should_panic(expected = "range")]
fn a_value_beyond_the_memory_is_not_summed() {
    global_sum(&mut Memory::new(128), &slot(0), 0, |_| {});
}

#[test]
fn widths_run_where_they_are_available() {
    for width in Width::available() {
        assert_eq!(width.run(|| (0..100).sum::<i32>()), 4950);
    }
}

#[cfg(fgq_redzones)]
#[test]
fn what_lies_between_slots_is_forbidden() {
    let (from, to) = (slot(128), slot(8192));
    let mut program = entering(&from);
    program.push(Box::new(MoveTask::shuffle(&from, 2, &to)), None);
    let memory = program.memory();
    let inside = |place: usize| [&from, &to].iter().any(|slot| (slot.start..slot.end()).contains(&place));
    assert!((0..memory.len()).all(|place| memory.is_forbidden(place) != inside(place)));
}

/// A convolution of 33 channels, 3 × 3.
fn spec() -> ConvSpec {
    let mut window = Window::new([3, 3]);
    window.pads = RING;
    ConvSpec {
        outputs: 33,
        group_inputs: 20,
        groups: 1,
        window,
        ternary: None,
        weights: vec![1; 33 * 9 * 20],
        bias: vec![0; 33],
        zero_points: vec![0; 20],
        largest: 255,
    }
}

fn epilogue() -> Epilogue {
    Epilogue {
        multipliers: vec![Multiplier { shift: 8, value: 1 }; 33],
        residual: None,
        fraction: 0,
        zero_point: 0,
        clamp: [0, 255],
    }
}

fn narrowed(output: Slot) -> Narrowed {
    let (by, quantizer) = (Rescale { shift: 0, value: 1 }, Quantizer { scale: 1.0, zero_point: 0, max: 15 });
    Narrowed { width: Width::BASELINE, zero_point: 0, by, output, quantizer }
}
