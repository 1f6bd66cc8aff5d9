//! The files.

use super::arena::Arena;
use super::node::{CSection, Emission};
use super::text::harmless;
use super::{CExport, COptions};
use crate::format::{PackedId, PackedModel, Preprocess};
use crate::index::Per;
use crate::tensor::Shape;
use std::collections::BTreeSet;

/// Builds the example.
pub(super) const MAKEFILE: &str = include_str!("kernels/Makefile");
const SHIFTS: &str = include_str!("kernels/shifts.c");
const FAST: &str = include_str!("kernels/fast.c");
const CONV: &str = include_str!("kernels/conv.c");

/// What a program includes.
pub(super) fn header(model: &PackedModel, options: &COptions, export: &CExport) -> String {
    let prefix = &options.prefix;
    let upper = prefix.to_ascii_uppercase();
    let (input, classes) = (model.input, export.layers.last().map_or(0, |layer| layer.shape.channels));
    let Shape { channels, height, width } = input;
    let (name, pixels) = (harmless(&model.name), meaning(&model.preprocess));
    let (len, words) = (input.len(), export.arena / 4);
    format!(
        "/* The network {name}, written by fgq. Integers only: no floating point, no allocation, no library. */

#ifndef {upper}_H
#define {upper}_H

#include <stdint.h>

/* One input: {height} rows of {width} pixels of {channels} bytes.
{pixels} */
#define {upper}_HEIGHT {height}
#define {upper}_WIDTH {width}
#define {upper}_CHANNELS {channels}
#define {upper}_INPUT_BYTES {len}

/* Number of logits. The index of the largest is the class; the smallest such index on a tie. */
#define {upper}_CLASSES {classes}

/* Words of 32 bits that the caller supplies to every call; what is in them does not matter before and after. */
#define {upper}_ARENA_WORDS {words}

/* Runs the network. Calls with different arenas may run at the same time. */
void {prefix}_run(const uint8_t *pixels, int32_t *logits, uint32_t *arena);

#endif
"
    )
}

/// How bytes are made of what the trained network reads.
fn meaning(preprocess: &Preprocess) -> String {
    let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
    let (mean, std) = (list(&preprocess.mean), list(&preprocess.std));
    format!(
        "   Channels are {}. A byte p stands for (p / {} - mean) / std in the trained network,\n   with mean {mean} and std {std}.",
        preprocess.channels,
        preprocess.scale.divisor()
    )
}

/// The network.
pub(super) fn source(
    model: &PackedModel,
    shapes: &Per<PackedId, Shape>,
    options: &COptions,
    emissions: &Per<PackedId, Emission>,
    arena: &Arena,
) -> String {
    let prefix = &options.prefix;
    let mut text = format!("/* Written by fgq. */\n\n#include \"model.h\"\n{FAST}{SHIFTS}");
    let sections: BTreeSet<CSection> = emissions.iter().flat_map(|it| it.sections.iter().copied()).collect();
    sections.iter().for_each(|&section| text.push_str(&code(section, &sections)));
    for (id, node) in model.nodes.enumerate() {
        if !emissions[id].constants.is_empty() {
            let (name, op, shape) = (harmless(&node.name), node.op.name(), shapes[id]);
            text.push_str(&format!("\n/* {name}: {op}, {shape} */\n{}", emissions[id].constants));
        }
    }
    text.push_str("\n#define AT(place) ((uint8_t *)arena + (place))\n\n");
    text.push_str(&format!(
        "void {prefix}_run(const uint8_t *pixels, int32_t *logits, uint32_t *arena)\n{{\n    (void)arena;\n"
    ));
    for (id, node) in model.nodes.enumerate() {
        let place = |value: PackedId| match arena.value(value) {
            Some(start) => format!("AT({start})"),
            None => "pixels".to_owned(),
        };
        for call in &emissions[id].calls {
            let mut call =
                call.replace("@=", &place(id)).replace("@s", &format!("arena + {}", arena.scratch(id) / 4));
            for (input, &value) in node.inputs.iter().enumerate().rev() {
                call = call.replace(&format!("@{input}"), &place(value));
            }
            text.push_str(&format!("    {call};\n"));
        }
    }
    text.push_str("}\n");
    text
}

fn code(section: CSection, all: &BTreeSet<CSection>) -> String {
    match section {
        CSection::Codes => include_str!("kernels/codes.c").to_owned(),
        CSection::Requantized => include_str!("kernels/requantized.c").to_owned(),
        CSection::Rescale => include_str!("kernels/rescale.c").to_owned(),
        CSection::Window => include_str!("kernels/window.c").to_owned(),
        CSection::Wide => include_str!("kernels/wide.c").to_owned(),
        CSection::Epilogue => {
            let [plain, helium] =
                [include_str!("kernels/store_codes.c"), include_str!("kernels/helium/store_codes.c")];
            let [plain, helium] = [plain, helium].map(str::trim);
            let constants = include_str!("kernels/epilogue.c");
            format!("{constants}\n#if FGQ_HELIUM\n{helium}\n#else\n{plain}\n#endif\n")
        }
        CSection::Pairs => ways([
            include_str!("kernels/pairs.c"),
            include_str!("kernels/dsp/pairs.c"),
            include_str!("kernels/helium/pairs.c"),
        ]),
        CSection::Ternary => {
            let blocks = ways([
                include_str!("kernels/ternary.c"),
                include_str!("kernels/dsp/ternary.c"),
                include_str!("kernels/helium/ternary.c"),
            ]);
            blocks + include_str!("kernels/ternary_sums.c")
        }
        CSection::Bytes => {
            let blocks = ways([
                include_str!("kernels/bytes.c"),
                include_str!("kernels/dsp/bytes.c"),
                include_str!("kernels/helium/bytes.c"),
            ]);
            blocks + include_str!("kernels/bytes_sums.c")
        }
        CSection::ConvConstants => include_str!("kernels/conv_constants.c").to_owned(),
        CSection::Conv => conv(all),
        CSection::Depthwise => {
            let sums = ways([
                include_str!("kernels/depthwise_sums.c"),
                include_str!("kernels/dsp/depthwise_sums.c"),
                include_str!("kernels/helium/depthwise_sums.c"),
            ]);
            let [constants, plain] =
                [include_str!("kernels/depthwise_constants.c"), include_str!("kernels/plain_sums.c")];
            [constants, plain, &sums, include_str!("kernels/depthwise.c")].concat()
        }
        CSection::Table => include_str!("kernels/table.c").to_owned(),
        CSection::Broadcast => include_str!("kernels/broadcast.c").to_owned(),
        CSection::Add => include_str!("kernels/add.c").to_owned(),
        CSection::Mul => include_str!("kernels/mul.c").to_owned(),
        CSection::Narrow => include_str!("kernels/narrow.c").to_owned(),
        CSection::Fill => include_str!("kernels/fill.c").to_owned(),
        CSection::Move => include_str!("kernels/move.c").to_owned(),
        CSection::MaxPool => include_str!("kernels/max_pool.c").to_owned(),
        CSection::AveragePool => include_str!("kernels/average_pool.c").to_owned(),
        CSection::ChannelSum => include_str!("kernels/channel_sum.c").to_owned(),
        CSection::GlobalAverage => include_str!("kernels/global_average.c").to_owned(),
        CSection::GlobalSum => include_str!("kernels/global_sum.c").to_owned(),
        CSection::Distances => include_str!("kernels/distances.c").to_owned(),
        CSection::GroupNorm => include_str!("kernels/group_norm.c").to_owned(),
    }
}

/// Plain C, and the same with the instructions of Arm's DSP extension and of Helium.
fn ways(codes: [&str; 3]) -> String {
    let [plain, dsp, helium] = codes.map(str::trim);
    format!("\n#if FGQ_HELIUM\n{helium}\n#elif FGQ_DSP\n{dsp}\n#else\n{plain}\n#endif\n")
}

/// Convolutions, where layers have weights of one kind or of both.
fn conv(all: &BTreeSet<CSection>) -> String {
    const SEE: [&str; 2] = ["see_ternary(c, in, zeros, at, seen);", "see_bytes(c, in, zeros, at, seen);"];
    const SUM: [&str; 2] = ["ternary_sums(c, from, seen, sums);", "bytes_sums(c, from, seen, sums);"];
    let either = |[ternary, bytes]: [&str; 2]| match [CSection::Ternary, CSection::Bytes]
        .map(|it| all.contains(&it))
    {
        [true, true] => {
            format!("if (c->codes) {{\n        {ternary}\n    }} else {{\n        {bytes}\n    }}")
        }
        [true, false] => ternary.to_owned(),
        _ => bytes.to_owned(),
    };
    CONV.replace("@SEE@", &either(SEE)).replace("@SUM@", &either(SUM))
}

/// A program that reads inputs and prints logits.
pub(super) fn example(options: &COptions) -> String {
    let upper = options.prefix.to_ascii_uppercase();
    include_str!("kernels/main.c").replace("@UPPER@", &upper).replace("@PREFIX@", &options.prefix)
}
