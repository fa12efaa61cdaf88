#!/usr/bin/env bash
# Which damping, through three fine-tuned blocks: the scores at each are held against one set of trainings on random halves.
# README.md says what was seen.
#
# usage: PYTHON=python-with-polars-and-numpy analysis/through-blocks/damping/run.sh [WORK]
#        the table goes to standard output, results to WORK (default: target/damping); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../../.."
work=${1:-target/damping}
cifar=${DATA:-../shared/data/cifar10}
dampings=${DAMPINGS:-"0 1e-4 1e-3 1e-2 1e-1 1"}
tolerated=3 # a solver may miss its tolerance, which run.json says
source analysis/steps.sh

# target NAME TRAIN TEST IMAGES BATCH: 24 random halves, two seeds each.
target() {
    local name=$1 train=$2 test=$3 images=$4 batch=$5
    for source in natural robust; do
        local model=$work/$name-$source
        step "$model" transfer --source "builtin:$source" --train "$train" --test "$test" --images "$images" --blocks 3 \
            --epochs 15 --batch-size "$batch" --augmentation none --frozen-statistics frozen --evaluate-every 0 --seed 0
        local rank="rank --model $model --queries 40 --skip-train --scores"
        step "$model-head" $rank
        step "$model-trained" evaluate "$model-head" --lds 24 --retrain 2
        for damping in $dampings; do
            step "$model-head-at-$damping" $rank --damping "$damping"
            step "$model-head-lds-$damping" evaluate "$model-head-at-$damping" --lds 24 --retrained "$model-trained"
            step "$model-at-$damping" $rank --blocks 3 --solver direct --damping "$damping"
            step "$model-lds-$damping" evaluate "$model-at-$damping" --lds 24 --retrained "$model-trained"
        done
    done
}

target digits builtin:digits-train builtin:digits-test 200 25
target cifar10 "$cifar/train.parquet" "$cifar/test.parquet" 400 50
"$python" analysis/through-blocks/damping/table.py "$work" $dampings
