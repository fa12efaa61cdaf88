#!/usr/bin/env bash
# Influence through the three fine-tuned blocks beside influence through the head alone, on CIFAR-10, natural and robust source:
# class match, rankings, time, memory; then which of the two predicts training again. README.md says what was seen.
#
# usage: PYTHON=python-with-polars-and-numpy analysis/through-blocks/run.sh [WORK]
#        MODELS=FOLDER with the transfers of analysis/figure6/run.sh (default: target/figure6)
#        the tables go to standard output, results to WORK (default: target/through-blocks); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/through-blocks}
models=${MODELS:-target/figure6}
data=${DATA:-../shared/data/cifar10}
tolerated=3 # a solver may miss its tolerance, which run.json says
source analysis/steps.sh

# The whole fine-tuning set, the same damping on both sides.
for source in natural robust; do
    model=$models/$source-blocks3
    common="rank --model $model --queries ${QUERIES:-20} --damping 1e-1 --skip-train --scores"
    step "$work/$source-head" $common
    step "$work/$source-blocks" $common --blocks 3 --shares
done

# Is it true? An eighth of the images, so that the blocks can be trained again: 24 random halves, two seeds each.
for source in natural robust; do
    small=$work/$source-small
    step "$small" transfer --source "builtin:$source" --train "$data/train.parquet" --test "$data/test.parquet" --images 400 \
        --blocks 3 --epochs 15 --batch-size 50 --augmentation none --frozen-statistics frozen --evaluate-every 0 --seed 0
    step "$work/$source-small-blocks" rank --model "$small" --queries 40 --damping 1e-1 --skip-train --scores --blocks 3
    step "$work/$source-trained" evaluate "$work/$source-small-blocks" --lds 24 --retrain 2 --compare \
        direct,ekfac,identity,gradient-cosine,feature-cosine,knn,trak
done
"$python" analysis/through-blocks/table.py "$work"
