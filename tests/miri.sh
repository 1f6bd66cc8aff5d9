#!/usr/bin/env bash
# Miri looks for undefined behaviour, races of threads among it: in the reference, in the portable kernels, and in all
# that surrounds tiles, with tiles in plain Rust (`src/kernels/plain.rs`). Takes about a quarter of an hour. Needs:
#   rustup toolchain install nightly --component miri,rust-src
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Properties look for old failures in the repository; rayon's threads live on.
export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-permissive-provenance ${MIRIFLAGS:-}"
export PROPTEST_CASES=${PROPTEST_CASES:-2}

kernels() {
    cargo +nightly miri test --no-default-features "$@" --lib -- kernels::
}

# One thread under the strict rules for references; several under those that rayon keeps to.
kernels
MIRIFLAGS="$MIRIFLAGS -Zmiri-tree-borrows" kernels --features threads
echo "Miri finds no undefined behaviour."
