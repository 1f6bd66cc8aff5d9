//! Tiles for x86-64.

#![allow(unsafe_code)]

mod avx512;

pub(super) use avx512::AVX512_VNNI;
