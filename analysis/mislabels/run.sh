#!/usr/bin/env bash
# Five percent of the labels of a CIFAR-10 fine-tuning set flipped: who finds them, and what is gained by acting on that? Five seeds.
# README.md says what was seen.
#
# usage: PYTHON=python-with-numpy-polars-and-pyarrow analysis/mislabels/run.sh [WORK]
#        the tables go to standard output, results to WORK (default: target/mislabels); finished steps are kept;
#        IMAGES, EPOCHS and SEEDS for a smaller try, SOURCE for another source model; BLOCKS=3 fine-tunes blocks too
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/mislabels}
data=${DATA:-../shared/data/cifar10}
seeds=${SEEDS:-0 1 2 3 4}
source analysis/steps.sh

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
