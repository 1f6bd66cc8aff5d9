//! Tiles for AArch64.

#![allow(unsafe_code)]

mod common;
mod dotprod;
mod i8mm;
mod neon;
mod peak;
mod short;
mod sums;

pub(super) use dotprod::NEON_DOTPROD;
pub(super) use i8mm::NEON_I8MM;
pub(super) use neon::NEON;
