#!/usr/bin/env bash
# Prints the table of docs/results.md: drop in top-1 and agreement against full precision.
#   benches/results.sh SHARED     the folder with models/ and data/
# SqueezeNet is calibrated on every other ImageNet image and evaluated on the rest.
set -euo pipefail
shared=$(realpath "$1")
fgq=$(dirname "${BASH_SOURCE[0]}")/../target/release/fgq
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

index=0
for class in "$shared"/data/imagenet/val/*/; do
    half=$((index++ % 2))
    mkdir -p "$work/imagenet$half"
    ln -s "$class" "$work/imagenet$half/$(basename "$class")"
done

row() {
    local name=$1 calibration=$2 test=$3
    shift 3
    local model=$shared/models/$name.onnx
    "$fgq" convert "$model" --calib "$calibration" --samples 1000 "$@" -o "$work/model.fgq" --json \
        >"$work/convert.json" 2>/dev/null
    "$fgq" eval "$work/model.fgq" --images "$test" --reference "$model" --json >"$work/eval.json" 2>/dev/null
    python3 - "$name" "$*" "$work/convert.json" "$work/eval.json" <<'PYTHON'
import json, sys
name, options, convert, evaluation = sys.argv[1], sys.argv[2], *map(json.load, map(open, sys.argv[3:5]))
print(f"| {name} | `{options}` | {evaluation['reference']['top1']:.1f} | {evaluation['top1']:.1f} "
      f"| {evaluation['drop']:.1f} | {evaluation['agreement']:.1f} | {evaluation['p_value']:.2f} "
      f"| {convert['bytes']} | {convert['seconds']:.0f} |", flush=True)
PYTHON
}

echo "| network | options | full precision | top-1 | drop | agreement | p | bytes | seconds |"
echo "|---|---|---|---|---|---|---|---|---|"
cifar="--preprocess cifar10"
for options in "--set .*=int8" "--method closed-form --group 4" "--method closed-form --group 64" \
    "--group 4" "--group 16" "--group 64" "--group 4 --act-bits 4" "--group 64 --act-bits 4" \
    "--set .*=int8 --act-bits 4" "--group 4 --scale-bits 8" "--group 64 --scale-bits 8"; do
    for name in resnet20-cifar10 resnet32-cifar10; do
        # shellcheck disable=SC2086
        row $name "$shared/data/cifar10/train" "$shared/data/cifar10/test" $options $cifar
    done
done
for options in "--set .*=int8" "--method closed-form --group 4" "--group 4" "--group 16" "--group 64" \
    "--group 4 --act-bits 4" "--group mixed"; do
    # shellcheck disable=SC2086
    row squeezenet1.1-imagenet "$work/imagenet0" "$work/imagenet1" $options --preprocess caffe
done
