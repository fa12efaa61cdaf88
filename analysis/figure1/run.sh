#!/usr/bin/env bash
# Figures 1 and 2: transfer from natural and robust CIFAR-100 sources, few images to many, on a CUDA device. README.md says
# what was seen.
#
# usage: analysis/figure1/run.sh [WORK]    results go to WORK (default: target/figure1); finished runs are kept
#        PLAN=1 analysis/figure1/run.sh    only says how many runs there are and how long they will take
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/figure1}
ascribe=${ASCRIBE:-target/cuda/release/ascribe}
spec=${SPEC:-analysis/figure1/study.toml}
[ -x "$ascribe" ] || make cuda
mkdir -p "$work"

if [ -n "${PLAN:-}" ]; then
    exec "$ascribe" study "$spec" --plan --out "$work/study"
fi
"$ascribe" study "$spec" --jobs "${JOBS:-8}" --out "$work/study"
for blocks in 0 3; do
    "$ascribe" figure 1 "$work/study" --blocks "$blocks" --out "$work/blocks$blocks"
    for images in 400 3200; do
        "$ascribe" figure 2 "$work/study" --blocks "$blocks" --images "$images" --out "$work/blocks$blocks-images$images"
    done
done
for images in 100 3200; do
    "$ascribe" figure blocks "$work/study" --images "$images" --out "$work/images$images"
    "$ascribe" figure epsilon "$work/study" --blocks 3 --images "$images" --out "$work/images$images"
done
