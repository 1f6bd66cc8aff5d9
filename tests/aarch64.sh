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

on() {
    qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu "$@"
}

cargo clippy --target $target --all-targets -- -D warnings
for pair in cortex-a53=neon neoverse-n1=neon-dotprod max=neon-i8mm; do
    cpu=${pair%=*} kernels=${pair#*=}
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu -cpu $cpu"
    cargo test --target $target --lib --test vectors --test allocations -- kernels runtime logits
    on "$cpu" "$fgq" info | grep "^kernels *$kernels "
done

if FGQ_KERNELS=neon-dotprod on cortex-a53 "$fgq" info; then
    echo "neon-dotprod is not refused on a CPU without dot products" >&2
    exit 1
fi
echo "All kernels for AArch64 agree with the reference."
