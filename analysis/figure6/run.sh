#!/usr/bin/env bash
# Figures 5 and 6 on CIFAR-10, from CIFAR-100 source models: transfer, rank, draw. README.md says what was seen.
#
# usage: analysis/figure6/run.sh [WORK]    results go to WORK (default: target/figure6); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/figure6}
data=${DATA:-../shared/data/cifar10}
source analysis/steps.sh

for blocks in 3 0; do
    for source in natural robust; do
        model=$work/$source-blocks$blocks
        step "$model" transfer --source "builtin:$source" --train "$data/train.parquet" --test "$data/test.parquet" \
            --images 3200 --blocks "$blocks" --epochs 30 --augmentation flip --evaluate-every 10 --seed 0
        step "$work/rank-$source-blocks$blocks" rank --model "$model" --damping 1e-3
    done
    "$ascribe" figure 6 "$work/rank-natural-blocks$blocks" "$work/rank-robust-blocks$blocks" \
        --names natural,robust --out "$work/blocks$blocks"
    # Figure 5 shows CIFAR-10 pictures, which may not be redistributed: it stays in WORK.
    "$ascribe" figure 5 "$work/rank-natural-blocks$blocks" "$work/rank-robust-blocks$blocks" \
        --names natural,robust --seed 0 --out "$work/blocks$blocks"
done
