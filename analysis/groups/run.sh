#!/usr/bin/env bash
# Groups of training images: how far the sum of their scores holds when they leave together, by kind and size of the group.
# README.md says what was seen.
#
# usage: PYTHON=python-with-numpy analysis/groups/run.sh [WORK]
#        the table goes to standard output, results to WORK (default: target/groups); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/groups}
cifar=${DATA:-../shared/data/cifar10}
source analysis/steps.sh

# target NAME TRAIN TEST IMAGES BATCH EPOCHS
target() {
    local name=$1 train=$2 test=$3 images=$4 batch=$5 epochs=$6
    for source in natural robust; do
        local model=$work/$name-$source
        step "$model" transfer --source "builtin:$source" --train "$train" --test "$test" --images "$images" --blocks 3 \
            --epochs "$epochs" --batch-size "$batch" --augmentation none --frozen-statistics frozen --evaluate-every 0 --seed 0
        step "$model-seen" rank --model "$model" --queries 500 --skip-train --keep-features
        step "$model-rank" rank --train "$model-seen/train_features.safetensors" --test "$model-seen/test_features.safetensors" \
            --head "$model-seen/head.safetensors" --skip-train
        "$python" analysis/groups/groups.py draw "$model-seen/train_features.safetensors" "$model"
        for drawn in "$model"-*.csv; do
            local ask="evaluate $model-rank --leave-group-out $drawn --queries 500"
            step "${drawn%.csv}" $ask
            step "${drawn%.csv}-fitted" $ask --at fitted --compare leverage --retrained "${drawn%.csv}"
        done
    done
}

target digits builtin:digits-train builtin:digits-test 500 50 15
target cifar10 "$cifar/train.parquet" "$cifar/test.parquet" 1600 64 10
"$python" analysis/groups/groups.py table "$work"
