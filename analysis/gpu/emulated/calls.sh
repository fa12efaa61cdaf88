#!/usr/bin/env bash
# What a step of training asks of a device: calls a step, by what is called, of the bench device_training with the processor in the
# card's place (run.sh). Of two runs one takes two steps more; the difference is halved.
#
# usage: analysis/gpu/emulated/calls.sh FOLDER BENCH [OPTIONS...], as in
#   analysis/gpu/with-toolkit.sh target/cuda-toolkit analysis/gpu/emulated/calls.sh target/cuda-emulated \
#       target/cuda/release/deps/device_training-* --only "resnet18 bf16 natural" --batch 4
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
folder=$1 bench=$2
shift 2
counts=$(mktemp -d)
trap 'rm -r "$counts"' EXIT
for repeats in 1 3; do
    EMULATED_COUNTS=$counts/$repeats "$(dirname "$0")/run.sh" "$folder" "$bench" --device cuda --repeats $repeats "$@" >&2
done
awk -F '\t' '
    NR == FNR { before[$1] = $2; next }
    { calls = ($2 - before[$1]) / 2 }
    calls == 0 { next }
    { print calls "\t" $1 }
    /^(kernel [a-z_0-9]+|product|convolution)/ && $1 != "kernel asked for" { launches += calls }
    END { print launches "\tlaunches in all" }' "$counts/1" "$counts/3" | sort -rn
