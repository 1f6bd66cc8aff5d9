#!/usr/bin/env bash
# AddressSanitizer looks for accesses outside of memory: in all kernels that this machine has, with gaps between values
# that nobody may touch. Needs:
#   rustup toolchain install nightly
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address --cfg fgq_redzones -Cforce-frame-pointers=yes -Cdebug-assertions ${RUSTFLAGS:-}"
export CARGO_PROFILE_RELEASE_LTO=off

cargo +nightly test --release --target "$target" --no-default-features --features threads \
    --lib --test vectors -- kernels runtime logits
echo "No kernel of this machine leaves the memory that is its own."
