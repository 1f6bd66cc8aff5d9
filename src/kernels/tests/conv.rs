//! Convolutions: the reference against sums scattered from the input, the portable path against the reference.

use super::super::plain::PLAIN;
use super::super::{ConvKernel, ConvSpec, Epilogue, Kernels, logits, portable, reference};
use super::*;
use crate::tensor::Window;
use proptest::prelude::*;

/// Most multiplications of one case.
const WORK: usize = 400_000;
/// Largest codes: of 8 bits, of fewer, and around the last that are signed numbers of 8 bits too.
const LARGEST: [u8; 7] = [255, 255, 128, 127, 15, 3, 1];

#[derive(Debug)]
struct Case {
    spec: ConvSpec,
    input: Batch<u8>,
    residual: Option<Batch<u8>>,
    epilogue: Epilogue,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut choices = Choices(seed);
        let choices = &mut choices;
        let (spec, input) = loop {
            let (spec, shape) = geometry(choices);
            let images = 1 + choices.below(3);
            let output = spec.output_shape(shape).unwrap();
            if images * output.len() * spec.channel_len() <= WORK {
                break (spec.clone(), up_to(spec.largest, batch(choices, images, shape)));
            }
        };
        let shape = spec.output_shape(input.shape).unwrap();
        let residual = (choices.below(2) == 0).then(|| batch(choices, input.images, shape));
        let epilogue = epilogue(choices, spec.outputs, residual.is_some());
        let mut case = Self { spec, input, residual, epilogue };
        case.fill(choices);
        case
    }

    /// Weights and biases up to the limits of validation.
    fn fill(&mut self, choices: &mut Choices) {
        let (spec, mode, bound) = (&mut self.spec, choices.below(5), choices.pick(&[127, 127, 64, 15, 3]));
        let weight = |choices: &mut Choices| match mode {
            0 => bound,
            1 => choices.pick(&[-bound, bound]),
            2 => choices.pick(&[-1, 0, 1]),
            3 if choices.below(100) == 0 => 127,
            3 => choices.next() as i8 % bound,
            _ => (choices.next() as i8).clamp(-bound, bound),
        };
        spec.weights = (0..spec.outputs * spec.channel_len()).map(|_| weight(choices)).collect();
        if choices.below(2) == 0 {
            let group = choices.pick(&[1, 2, 3, 4, 8, 12, 16, 64, 100]);
            spec.ternary = Some(group);
            for weights in spec.weights.chunks_mut(spec.group_inputs).flat_map(|run| run.chunks_mut(group)) {
                let scale = choices.pick(&[0, 1, 7, 15, 127, 127, 77]).min(bound);
                weights.iter_mut().for_each(|weight| *weight = weight.signum() * scale);
            }
        }
        let magnitudes = spec.weights.chunks_exact(spec.channel_len());
        let limits = magnitudes.zip(&self.epilogue.multipliers).map(|(weights, by)| {
            let sum: i64 = weights.iter().map(|weight| i64::from(weight.unsigned_abs()) * 255).sum();
            (i64::from(i32::MAX) - sum - (1i64 << by.shift)) as i32
        });
        spec.bias = limits
            .map(|limit| {
                let small = (choices.next() as i32 >> 12).clamp(-limit, limit);
                choices.pick(&[limit, -limit, 0, small, small])
            })
            .collect();
    }
}

fn geometry(choices: &mut Choices) -> (ConvSpec, Shape) {
    let groups = choices.pick(&[1, 1, 1, 2, 3, 16, 17, 65]);
    let (inputs, outputs) = match choices.below(3) {
        // Depthwise, perhaps with a multiplier.
        0 => (1, 1 + choices.below(2)),
        _ => (choices.pick(&CHANNELS), choices.pick(&CHANNELS)),
    };
    let mut pair = |low: usize, high: usize| [0; 2].map(|_| low + choices.below(high - low + 1));
    let (kernel, stride, dilation) = (pair(1, 5), pair(1, 3), pair(1, 2));
    let (before, after) = (pair(0, 3), pair(0, 3));
    let window =
        Window { kernel, stride, dilation, pads: [before[0], before[1], after[0], after[1]], ceil: false };
    let size = [choices.pick(&[1, 2, 3]), choices.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65])];
    let extent = |axis: usize, slack: usize| {
        let reach = (kernel[axis] - 1) * dilation[axis] + 1;
        let padded = (size[axis] - 1) * stride[axis] + reach + slack % stride[axis];
        padded.saturating_sub(before[axis] + after[axis]).max(1)
    };
    let channels = groups * inputs;
    let shape = Shape::new(channels, extent(0, choices.below(3)), extent(1, choices.below(3)));
    let largest = choices.pick(&LARGEST);
    let uniform = zero_point(choices).min(largest);
    let per_channel = choices.below(3) == 0;
    let zero = |choices: &mut Choices| if per_channel { zero_point(choices).min(largest) } else { uniform };
    let zero_points = (0..channels).map(|_| zero(choices)).collect();
    let (weights, bias) = (Vec::new(), Vec::new());
    let spec = ConvSpec {
        outputs: groups * outputs,
        group_inputs: inputs,
        groups,
        window,
        ternary: None,
        weights,
        bias,
        zero_points,
        largest,
    };
    (spec, shape)
}

/// Codes that are too large become `largest`.
fn up_to(largest: u8, mut batch: Batch<u8>) -> Batch<u8> {
    batch.data.iter_mut().for_each(|code| *code = largest.min(*code));
    batch
}

fn epilogue(choices: &mut Choices, outputs: usize, residual: bool) -> Epilogue {
    let largest_shift = choices.pick(&[0, 8, 16, 30]);
    let mut clamp = [choices.next() as u8, choices.next() as u8];
    clamp.sort_unstable();
    Epilogue {
        multipliers: (0..outputs).map(|_| multiplier(choices, largest_shift)).collect(),
        residual: residual.then(|| (rescale(choices), zero_point(choices))),
        fraction: choices.pick(&[0, 4, 4, 6]),
        zero_point: zero_point(choices),
        clamp: choices.pick(&[[0, 255], [0, 15], clamp]),
    }
}

/// Each input value goes to all sums that it is part of.
fn scattered(spec: &ConvSpec, input: &Batch<u8>, shape: Shape) -> Vec<i64> {
    let window = &spec.window;
    let mut sums: Vec<i64> =
        indices(input.images, shape).map(|[.., channel]| i64::from(spec.bias[channel])).collect();
    // The output position whose tap `tap` lies on input position `place`.
    let hit = |axis: usize, place: usize, tap: usize, size: usize| {
        let start = (place + window.pads[axis]).checked_sub(tap * window.dilation[axis])?;
        (start % window.stride[axis] == 0 && start / window.stride[axis] < size)
            .then_some(start / window.stride[axis])
    };
    for [image, y, x, channel] in indices(input.images, input.shape) {
        let distance = i64::from(at(input, [image, y, x, channel])) - i64::from(spec.zero_points[channel]);
        let group = channel / spec.group_inputs;
        for ky in 0..window.kernel[0] {
            let Some(oy) = hit(0, y, ky, shape.height) else { continue };
            for kx in 0..window.kernel[1] {
                let Some(ox) = hit(1, x, kx, shape.width) else { continue };
                for o in group * spec.outputs / spec.groups..(group + 1) * spec.outputs / spec.groups {
                    let run = (o * window.kernel[0] + ky) * window.kernel[1] + kx;
                    let weight = spec.weights[run * spec.group_inputs + channel % spec.group_inputs];
                    sums[((image * shape.height + oy) * shape.width + ox) * spec.outputs + o] +=
                        i64::from(weight) * distance;
                }
            }
        }
    }
    sums
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    #[cfg_attr(miri, ignore = "long; `memory` has a short one")]
    fn all_kernels_are_reference_to_the_bit(seed: u64) {
        let Case { spec, input, residual, epilogue } = Case::new(seed);
        let kernel = |kernels| ConvKernel::new(spec.clone(), Some(epilogue.clone()), kernels);
        let slow = kernel(Kernels::Reference);
        let sums = slow.sums(&input).unwrap();
        let codes = slow.codes(&input, residual.as_ref()).unwrap();
        for kernels in Kernels::available() {
            let fast = kernel(kernels);
            prop_assert_eq!(&sums, &fast.sums(&input).unwrap(), "sums of {:?}", kernels);
            prop_assert_eq!(&codes, &fast.codes(&input, residual.as_ref()).unwrap(), "codes of {:?}", kernels);
        }
        let plain = ConvKernel::with_tiles(spec.clone(), Some(epilogue.clone()), &PLAIN);
        prop_assert_eq!(&sums, &plain.sums(&input).unwrap());
        prop_assert_eq!(&codes, &plain.codes(&input, residual.as_ref()).unwrap());
    }

    #[test]
    #[cfg_attr(miri, ignore = "long; `memory` has a short one")]
    fn reference_sums_are_the_convolution(seed: u64) {
        let Case { spec, input, .. } = Case::new(seed);
        let shape = spec.output_shape(input.shape).unwrap();
        let sums: Vec<i64> = reference::sums(&spec, &input, shape).data.into_iter().map(i64::from).collect();
        prop_assert_eq!(sums, scattered(&spec, &input, shape));
    }

    #[test]
    #[cfg_attr(miri, ignore = "long; `memory` has a short one")]
    fn reference_codes_are_the_rounded_reals(seed: u64) {
        let Case { spec, input, residual, epilogue } = Case::new(seed);
        let shape = spec.output_shape(input.shape).unwrap();
        let codes = reference::codes(&spec, &input, shape, residual.as_ref(), &epilogue);
        let sums = scattered(&spec, &input, shape);
        for (index, (&code, &sum)) in codes.data.iter().zip(&sums).enumerate() {
            let by = epilogue.multipliers[index % spec.outputs];
            let (mut value, mut error) = (scaled(sum, by), scaled_error(by));
            if let (Some(residual), Some((by, zero))) = (&residual, epilogue.residual) {
                value = clamp16(value + rescaled(residual.data[index], zero, by));
                error += 0.5;
            }
            assert_code(code, value, error, epilogue.zero_point, epilogue.fraction, epilogue.clamp);
        }
    }

    #[test]
    fn logits_are_the_rounded_products(
        data in prop::collection::vec(any::<i32>(), 6),
        factors in prop::collection::vec(any::<i32>(), 3),
        shift in 0u8..=62,
    ) {
        let sums = Batch { images: 2, shape: Shape::flat(3), data };
        for (index, logit) in logits(&sums, &factors, shift).into_iter().enumerate() {
            let product = i128::from(sums.data[index]) * i128::from(factors[index % 3]);
            let floor = (2 * product + (1 << shift)).div_euclid(2 << shift);
            prop_assert_eq!(i128::from(logit), floor.clamp(i32::MIN.into(), i32::MAX.into()));
        }
    }
}

/// Shapes at which the portable path takes another way: one position, task and tile edges, long patches.
#[test]
#[cfg_attr(miri, ignore = "long; `memory` has a short one")]
fn every_path_of_the_portable_kernel_is_taken() {
    for (outputs, inputs, groups, positions, images) in [
        (65, 17, 1, 1, 1),
        (130, 5, 2, 1, 1),
        (3, 1, 3, 1, 1),
        (5, 1, 5, 65, 1),
        (4, 64, 1, 64, 1),
        (4, 65, 1, 65, 2),
        (1, 1, 1, 129, 1),
        (6, 1, 3, 3, 2),
    ] {
        let mut choices = Choices(outputs as u64);
        let spec = ConvSpec {
            outputs,
            group_inputs: inputs,
            groups,
            window: Window::new([1, 1]),
            ternary: None,
            weights: (0..outputs * inputs).map(|_| (choices.next() as i8).max(-127)).collect(),
            bias: (0..outputs).map(|_| choices.next() as i32 >> 8).collect(),
            zero_points: (0..inputs * groups).map(|_| choices.next() as u8).collect(),
            largest: 255,
        };
        let input = batch(&mut choices, images, Shape::new(inputs * groups, 1, positions));
        let shape = spec.output_shape(input.shape).unwrap();
        let fast = portable::PreparedWeights::new(&spec).run(&spec, &input, shape, |_, _, sum| sum);
        assert_eq!(fast, reference::sums(&spec, &input, shape), "{outputs} {inputs} {groups} {positions}");
    }
}

/// Channels, widths, kernels and strides around the edges of panels, blocks, strips and tiles, for all instruction sets.
#[test]
#[cfg_attr(miri, ignore = "long; `memory` has a short one")]
fn tiles_are_reference_at_all_edges() {
    let mut seed = 0;
    let mut check =
        |outputs: usize, inputs: usize, groups: usize, width: usize, kernel: usize, stride: usize| {
            seed += 1;
            let mut choices = Choices(seed);
            let choices = &mut choices;
            let pad = kernel / 2;
            let dilation = if seed % 5 == 0 && kernel > 1 { 2 } else { 1 };
            let largest = LARGEST[seed as usize % LARGEST.len()];
            let spec = ConvSpec {
                outputs: outputs * groups,
                group_inputs: inputs,
                groups,
                window: Window {
                    kernel: [kernel; 2],
                    stride: [stride; 2],
                    dilation: [dilation; 2],
                    pads: [pad * dilation; 4],
                    ceil: false,
                },
                ternary: None,
                weights: Vec::new(),
                bias: Vec::new(),
                zero_points: (0..inputs * groups).map(|_| zero_point(choices).min(largest)).collect(),
                largest,
            };
            let input = batch(choices, 1, Shape::new(inputs * groups, 2 * stride, (width - 1) * stride + 1));
            let input = up_to(largest, input);
            let shape = spec.output_shape(input.shape).unwrap();
            assert_eq!(shape.width, width);
            let residual = (seed % 2 == 0).then(|| batch(choices, 1, shape));
            let epilogue = epilogue(choices, spec.outputs, residual.is_some());
            let mut case = Case { spec, input, residual, epilogue };
            case.fill(choices);
            let Case { spec, input, residual, epilogue } = case;
            let slow = ConvKernel::new(spec.clone(), Some(epilogue.clone()), Kernels::Reference);
            let codes = slow.codes(&input, residual.as_ref()).unwrap();
            for kernels in Kernels::available().filter(|kernels| kernels.isa().is_some()) {
                let fast = ConvKernel::new(spec.clone(), Some(epilogue.clone()), kernels);
                let place = format!("{kernels:?} {outputs} {inputs} {groups} {width} {kernel} {stride}");
                assert!(fast.codes(&input, residual.as_ref()).unwrap() == codes, "{place}");
            }
        };
    for width in [1, 2, 3, 6, 7, 8, 13, 14, 15, 16, 17, 28, 33] {
        for (outputs, inputs) in [(1, 64), (16, 16), (17, 3), (31, 65), (32, 4), (33, 130), (65, 17)] {
            for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
                check(outputs, inputs, 1, width, kernel, stride);
            }
        }
        for groups in [1, 31, 32, 33, 64, 65] {
            check(1, 1, groups, width, 3, 1 + groups % 2);
        }
        for (outputs, inputs, groups) in [(2, 3, 5), (8, 4, 16), (33, 20, 3)] {
            check(outputs, inputs, groups, width, 3, 1);
        }
        check(33, 3, 1, width, 7, 2);
        check(9, 1, 1, width, 5, 1);
    }
}

/// A row of as many steps as sums of 16 bits hold, one less and some more; all products as large as they can be, or of
/// either sign.
#[test]
#[cfg_attr(miri, ignore = "about numbers, and long")]
fn sums_of_16_bits_hold_their_steps() {
    for (bound, largest) in
        [(15, 255), (127, 15), (15, 15), (8, 255), (64, 255), (65, 255), (127, 128), (127, 127), (1, 255)]
    {
        let fits = 32767 / (2 * usize::from(largest) * bound as usize);
        for steps in
            [1, fits.saturating_sub(1), fits, fits + 1, 2 * fits, 2 * fits + 1, 75].map(|n| n.clamp(1, 80))
        {
            for pattern in [[bound; 4], [-bound; 4], [bound, -bound, bound, bound], [0, bound, bound, 0]] {
                check_row(steps, largest, pattern);
            }
        }
    }
}

/// A kernel over a row of pixels with four channels, which is one run of steps.
#[track_caller]
fn check_row(steps: usize, largest: u8, pattern: [i8; 4]) {
    let spec = ConvSpec {
        outputs: 33,
        group_inputs: 4,
        groups: 1,
        window: Window::new([1, steps]),
        ternary: None,
        weights: pattern.repeat(33 * steps),
        bias: vec![0; 33],
        zero_points: vec![0; 4],
        largest,
    };
    let shape = Shape::new(4, 1, steps + 6);
    let input = Batch { images: 1, shape, data: vec![largest; shape.len()] };
    let wanted = ConvKernel::new(spec.clone(), None, Kernels::Reference).sums(&input).unwrap();
    for kernels in Kernels::available() {
        let sums = ConvKernel::new(spec.clone(), None, kernels).sums(&input).unwrap();
        assert!(sums == wanted, "{kernels:?}: {steps} steps, codes to {largest}, weights {pattern:?}");
    }
}

#[test]
fn kernels_are_known_by_name() {
    for kernels in Kernels::available() {
        assert_eq!(Kernels::by_name(kernels.name()).unwrap(), kernels);
    }
    let message = Kernels::by_name("fastest").unwrap_err().to_string();
    assert!(message.contains("FGQ_KERNELS=fastest") && message.contains("portable"), "{message}");
}
