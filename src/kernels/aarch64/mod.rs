//! Tiles for AArch64.

#![allow(unsafe_code)]

mod common;
mod dotprod;
mod neon;
mod peak;
mod sums;

pub(super) use dotprod::NEON_DOTPROD;
pub(super) use neon::NEON;
