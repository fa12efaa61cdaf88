#!/usr/bin/env bash
# Scores by the way back through training beside those by a curvature, for rough and smooth trainings: all are held against one set of
# trainings on random halves. README.md says what was seen.
#
# usage: PYTHON=python-with-polars-and-numpy analysis/unrolled/run.sh [WORK]
#        the table goes to standard output, results to WORK (default: target/unrolled); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/unrolled}
cifar=${DATA:-../shared/data/cifar10}
tolerated=3 # a solver may miss its tolerance, which run.json says
source analysis/steps.sh

# recipe NAME TRAIN TEST IMAGES BATCH RATE DEVIATION: 24 random halves, two seeds each.
recipe() {
    local model=$work/$1
    step "$model" transfer --source builtin:natural --train "$2" --test "$3" --images "$4" --batch-size "$5" --learning-rate "$6" \
        --head-deviation "$7" --blocks 3 --epochs 15 --augmentation none --frozen-statistics frozen --evaluate-every 0 --seed 0
    local rank="rank --model $model --queries 20 --skip-train --scores"
    step "$model-head" $rank
    step "$model-trained" evaluate "$model-head" --lds 24 --retrain 2 --queries 20
    step "$model-head-lds" evaluate "$model-head" --lds 24 --retrained "$model-trained"
    step "$model-unrolled" $rank --blocks 3 --unrolled
    step "$model-unrolled-lds" evaluate "$model-unrolled" --lds 24 --retrained "$model-trained"
    for damping in 0 1e-2 1e-1; do
        step "$model-at-$damping" $rank --blocks 3 --solver direct --damping "$damping"
        step "$model-lds-$damping" evaluate "$model-at-$damping" --lds 24 --retrained "$model-trained"
    done
}

digits="builtin:digits-train builtin:digits-test 200 25"
recipe paper $digits 0.1 1
recipe mid $digits 0.03 0.05
recipe smooth $digits 0.01 0.05
recipe cifar "$cifar/train.parquet" "$cifar/test.parquet" 400 50 0.01 0.05
"$python" analysis/unrolled/table.py "$work"
