//! Tiles for x86-64.

#![allow(unsafe_code)]

mod amx;
mod avx2;
mod avx512;
mod peak;
mod sums;

pub(super) use amx::{AMX, is_available as has_amx};
pub(super) use avx2::{AVX_VNNI, AVX2};
pub(super) use avx512::AVX512_VNNI;
