#!/usr/bin/env bash
# Five percent of the labels of a CIFAR-10 fine-tuning set flipped: who finds them, and what is gained by acting on that? Five seeds.
# README.md says what is known so far.
#
# usage: PYTHON=python-with-polars-and-pyarrow analysis/mislabels/run.sh [WORK] > analysis/mislabels/table.md
#        results go to WORK (default: target/mislabels); finished steps are kept; IMAGES, EPOCHS and SEEDS for a smaller try;
#        BLOCKS=3 fine-tunes blocks too
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/mislabels}
ascribe=${ASCRIBE:-target/release/ascribe}
python=${PYTHON:-python3}
data=${DATA:-../shared/data/cifar10}
seeds=${SEEDS:-0 1 2 3 4}
[ -x "$ascribe" ] || cargo build --release
mkdir -p "$work"

# Runs a step unless its folder holds a finished run already.
step() {
    local out=$1
    shift
    if [ -f "$out/run.json" ] && grep -q '"status": *"finished"' "$out/run.json"; then return; fi
    "$ascribe" "$@" --out "$out" >/dev/null 2>"$out.log" || { tail -3 "$out.log" >&2; exit 1; }
}

# Half of the test images say which training images do harm, the other half what was gained.
[ -f "$work/held-out.parquet" ] || "$python" analysis/mislabels/decide.py split "$data/test.parquet" "$work"

# transfer NAME SEED OPTIONS…
transfer() {
    local name=$1 seed=$2
    shift 2
    step "$work/$seed-$name" transfer --source "${SOURCE:-fixtures/source/wide/l2-0.25.safetensors}" \
        --train "$data/train.parquet" --test "$work/held-out.parquet" --images "${IMAGES:-3200}" --blocks "${BLOCKS:-0}" \
        --frozen-statistics frozen --augmentation mirror --epochs "${EPOCHS:-50}" --evaluate-every 0 --seed "$seed" "$@"
}

for seed in $seeds; do
    transfer clean "$seed"
    transfer flipped "$seed" --flip-labels 0.05
    step "$work/$seed-rank" rank --model "$work/$seed-flipped" --test "$work/chosen-by.parquet" --damping 1e-3 \
        --scores
    "$python" analysis/mislabels/decide.py decide "$work" "$seed"
    for way in loss self-influence harm flips random; do
        transfer "exclude-$way" "$seed" --flip-labels 0.05 --exclude "$work/$seed-exclude-$way.csv"
    done
    for way in loss flips; do
        transfer "relabel-$way" "$seed" --flip-labels 0.05 --relabel "$work/$seed-relabel-$way.csv"
    done
done
"$python" analysis/mislabels/decide.py table "$work" $seeds
