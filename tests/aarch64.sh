#!/usr/bin/env bash
# Kernels, runtime and command on AArch64 under emulation, on CPUs with each set of instructions. Needs a target, a
# linker and an emulator:
#   rustup target add aarch64-unknown-linux-gnu
#   apt install gcc-aarch64-linux-gnu qemu-user
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=aarch64-unknown-linux-gnu
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
fgq=${CARGO_TARGET_DIR:-target}/$target/debug/fgq
# A CPU and the kernels that it shall choose.
pairs=(cortex-a53=neon neoverse-n1=neon-dotprod max=neon-i8mm)

on() {
    qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$@"
}

cargo clippy --target $target --all-targets -- -D warnings
for pair in "${pairs[@]}"; do
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu ${pair%=*}"
    cargo test --target $target --no-default-features --features threads \
        --lib --test vectors --test allocations -- kernels runtime logits
done

cargo build --target $target
for pair in "${pairs[@]}"; do
    on "${pair%=*}" "$fgq" info | grep "^kernels *${pair#*=} "
done

if FGQ_KERNELS=neon-dotprod on cortex-a53 "$fgq" info; then
    echo "neon-dotprod is not refused on a CPU without dot products" >&2
    exit 1
fi
echo "All kernels for AArch64 agree with the reference."
