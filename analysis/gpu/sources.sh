#!/usr/bin/env bash
# Source models of CIFAR-100 on one CUDA device, side by side: natural, and robust in L2 with ε = 0.25, 0.5 and 1 (pixels in [0, 1]).
# fixtures/source/wide/README.md has what came of it.
#
# usage: ASCRIBE=program-built-with-cuda analysis/gpu/sources.sh TRAIN TEST OUT
set -euo pipefail
train=$1 test=$2 out=$3
ascribe=${ASCRIBE:-target/cuda/release/ascribe}
mkdir -p "$out"

source_model() { # NAME, options of the adversary
    local name=$1
    shift
    "$ascribe" train --train "$train" --test "$test" --architecture cifar-resnet18-w32 --epochs 30 --schedule cosine \
        --augmentation flip --evaluate-every 10 --seed 0 --device cuda --precision tf32 --weights f16 --eval-adversary l2 \
        --eval-epsilon 0.25,0.5,1 --eval-steps 20 --out "$out/$name" "$@" >"$out/$name.log" 2>&1
}

source_model natural &
for epsilon in 0.25 0.5 1; do
    source_model "l2-$epsilon" --adversary l2 --epsilon "$epsilon" --steps 3 &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
grep -h '' "$out"/*.log | grep -a 'accuracy' || true
exit $failed
