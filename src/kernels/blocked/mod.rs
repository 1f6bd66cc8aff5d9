//! Fast execution: blocked activations in one piece of memory, prepared stages, tiles for each instruction set.

#![allow(unsafe_code)]
// Without tiles for the target nothing of this is used.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64", miri)), allow(dead_code))]

mod alone;
mod bounds;
pub(crate) mod conv;
pub(crate) mod enter;
mod finish;
mod isa;
mod map;
mod memory;
pub(crate) mod moves;
pub(crate) mod narrow;
pub(crate) mod norm;
mod panels;
pub(crate) mod pointwise;
pub(crate) mod pool;
mod program;
mod ring;
mod rows;
mod rule;
mod scaled;
mod slot;
mod strips;
mod tile;

pub(super) use alone::Alone;
#[cfg(target_arch = "x86_64")]
pub(crate) use isa::Mode;
pub(crate) use isa::{Form, Isa, Promise};
pub(crate) use map::Map;
pub(crate) use memory::Memory;
pub(crate) use program::{Program, Stage, Task, TaskContext};
pub(crate) use ring::Ring;
pub(crate) use rule::{ResidualRule, Rule, Segment};
pub(crate) use slot::{GAP, Slot, slack};
pub(crate) use tile::{PANEL, Run, STRIPS, TILE, Tile};
