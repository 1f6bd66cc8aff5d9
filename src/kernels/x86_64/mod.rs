//! Tiles for x86-64.

#![allow(unsafe_code)]

mod amx;
mod avx512;
mod sums;

pub(super) use amx::{AMX, is_available as has_amx};
pub(super) use avx512::AVX512_VNNI;
