#!/usr/bin/env bash
# Scores by the way back through training beside those by a curvature, for rough and smooth trainings: all are held against trainings on
# random halves, and against trainings in the same batches without the losses of halves, of single images and, as audits do it, of those most
# helpful. README.md says what was seen.
#
# usage: PYTHON=python-with-polars-and-numpy analysis/unrolled/run.sh [WORK]
#        QUERIES=20: test images that are scored
#        the table goes to standard output, results to WORK (default: target/unrolled); finished steps are kept
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/unrolled}
queries=${QUERIES:-20}
tolerated=3 # a solver may miss its tolerance, which run.json says
source analysis/steps.sh

# recipe NAME RATE DEVIATION: 24 random halves, two seeds each; the same halves and 24 single images without their losses alone.
recipe() {
    local model=$work/$1
    step "$model" transfer --source builtin:natural --train builtin:digits-train --test builtin:digits-test --images 200 \
        --batch-size 25 --learning-rate "$2" --head-deviation "$3" --blocks 3 --epochs 15 --augmentation none --frozen-statistics frozen --evaluate-every 0 --seed 0
    local rank="rank --model $model --queries $queries --skip-train --scores"
    step "$model-head" $rank
    step "$model-trained" evaluate "$model-head" --lds 24 --retrain 2 --queries "$queries"
    step "$model-head-lds" evaluate "$model-head" --lds 24 --retrained "$model-trained"
    step "$model-unrolled" $rank --blocks 3 --unrolled
    step "$model-unrolled-lds" evaluate "$model-unrolled" --lds 24 --retrained "$model-trained"
    step "$model-kept" evaluate "$model-unrolled" --lds 24 --leave-one-out 24 --retrain 1 --keep-batches --queries "$queries"
    for damping in 0 1e-2 1e-1; do
        step "$model-at-$damping" $rank --blocks 3 --solver direct --damping "$damping"
        step "$model-lds-$damping" evaluate "$model-at-$damping" --lds 24 --retrained "$model-trained"
        step "$model-kept-$damping" evaluate "$model-at-$damping" --lds 24 --leave-one-out 24 --retrained "$model-kept"
    done
    for removed in 1 10; do
        local audit="--measure 8 --removed $removed --skip-sensitivity --skip-held-out"
        step "$model-audit-$removed" audit "$model-unrolled" $audit
        step "$model-audit-at-1e-1-$removed" audit "$model-at-1e-1" $audit
    done
}

recipe paper 0.1 1
recipe large-head 0.03 1
recipe fast 0.1 0.05
recipe mid 0.03 0.05
recipe smooth 0.01 0.05
"$python" analysis/unrolled/table.py "$work"
