#!/usr/bin/env bash
# Prints rows of docs/results.md for ImageNet's networks: half of the photographs of both kinds calibrates, the other half
# measures.
#   benches/halves.sh SHARED HALF NETWORK.onnx PREPROCESS [options of fgq convert]
# HALF is 0 or 1: which half calibrates. PREPROCESS is a preset or a file.
set -euo pipefail
shared=$(realpath "$1") half=$2 network=$(realpath "$3") preprocess=$4
shift 4
fgq=$(dirname "${BASH_SOURCE[0]}")/../target/release/fgq
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for kind in imagenet/val imagenet2; do
    index=0
    while IFS= read -r file; do
        class=$(basename "$(dirname "$file")")
        mkdir -p "$work/$((index % 2))/$class"
        ln -s "$file" "$work/$((index % 2))/$class/${kind//\//-}-$(basename "$file")"
        index=$((index + 1))
    done < <(find "$shared/data/$kind" -mindepth 2 -type f | LC_ALL=C sort)
done

"$fgq" convert "$network" --calib "$work/$half" --samples 1000 --preprocess "$preprocess" "$@" \
    -o "$work/model.fgq" --json >"$work/convert.json" 2>/dev/null
"$fgq" eval "$work/model.fgq" --imagenet-val "$work/$((1 - half))" --reference "$network" --json \
    >"$work/eval.json" 2>/dev/null
python3 - "$(basename "$network" .onnx)" "$half" "$*" "$work/convert.json" "$work/eval.json" <<'PYTHON'
import json, sys
name, half, options = sys.argv[1:4]
convert, evaluation = map(json.load, map(open, sys.argv[4:6]))
print(f"| {name} | {half} | `{options}` | {evaluation['reference']['top1']:.1f} | {evaluation['drop']:.1f} "
      f"| {evaluation['agreement']:.1f} | {evaluation['divergence']:.3f} | {convert['agreement']:.1f} "
      f"| {convert['bytes']} | {convert['seconds']:.0f} |")
PYTHON
