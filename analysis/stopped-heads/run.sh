#!/usr/bin/env bash
# Which damping for a head whose training stopped early: the scores at each are held against trainings on random halves.
# README.md says what was seen.
#
# usage: PYTHON=python-with-polars-and-numpy analysis/stopped-heads/run.sh [WORK]
#        the table goes to standard output, results to WORK (default: target/stopped-heads); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/stopped-heads}
data=${DATA:-../shared/data}
dampings="0 1e-3 1e-2 1e-1 trained"
tolerated=3 # a solver may miss its tolerance, which run.json says
source analysis/steps.sh

# target NAME TRAIN TEST IMAGES BATCH: 24 random halves, two seeds each, after 15, 50 and 150 epochs.
target() {
    local name=$1 train=$2 test=$3 images=$4 batch=$5
    for epochs in 15 50 150; do
        for source in natural robust; do
            local model=$work/$name-$epochs-$source
            step "$model" transfer --source "builtin:$source" --train "$train" --test "$test" --images "$images" \
                --blocks 0 --epochs "$epochs" --batch-size "$batch" --augmentation none --frozen-statistics frozen \
                --evaluate-every 0
            local rank="rank --model $model --queries 40 --skip-train --scores"
            step "$model-run" $rank
            step "$model-again" evaluate "$model-run" --lds 24 --retrain 2
            for damping in $dampings; do
                step "$model-at-$damping" $rank --damping "$damping"
                step "$model-lds-$damping" evaluate "$model-at-$damping" --lds 24 --retrained "$model-again"
            done
            for damping in 0 trained; do
                step "$model-refit-$damping" evaluate "$model-at-$damping" --lds 24 --leave-one-out 24
            done
        done
    done
}

target digits builtin:digits-train builtin:digits-test 200 25
target cifar10 "$data/cifar10/train.parquet" "$data/cifar10/test.parquet" 800 50
target fashion-mnist "$data/fashion-mnist/train-1000-per-class.parquet" \
    "$data/fashion-mnist/test-200-per-class.parquet" 800 50
"$python" analysis/stopped-heads/table.py "$work" $dampings
