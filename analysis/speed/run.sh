#!/usr/bin/env bash
# Ascribe and its peers on one job in one go: 3,200 training images × 10,000 queries, d = 2,048, ten classes,
# damping 1e-3. README.md says what was seen.
#
# usage: PYTHON=python-with-the-peers BENCH=folder analysis/speed/run.sh
#
# PYTHON: an interpreter with torch, scipy, polars, pillow, kronfluence and pyDVL[influence].
# BENCH:  a folder for features, heads and results; features and the exact f64 answer are made there where missing
#         (../shared/bench/features.py, train_gt.py and own_bench.py).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
export BENCH=${BENCH:-$PWD/target/speed}
peers=$(realpath ../shared/bench)
ascribe=${ASCRIBE:-$PWD/target/release/ascribe}
job=$BENCH/features/d2048
mkdir -p "$BENCH/out"
[ -x "$ascribe" ] || cargo build --release

[ -f "$job/train_features.npy" ] || "$python" "$peers/features.py"
# The head only: the exact answer comes from the next line.
[ -f "$job/head_weight.npy" ] || "$python" "$peers/train_gt.py" d2048 || true
[ -f "$job/gt_scores.npy" ] || "$python" "$peers/own_bench.py" explicit d2048 10000 dtype=f64 save=gt
"$python" analysis/speed/prepare.py "$job"

# ours NAME OPTIONS…: seconds, peak memory and agreement of one run.
ours() {
    local name=$1 out=$BENCH/out/ascribe-$1
    shift
    rm -rf "$out"
    /usr/bin/time -f "%e %M" -o "$BENCH/out/time" "$ascribe" rank --train "$job/train" --head "$job/head.npz" \
        --damping 1e-3 --skip-train --out "$out" "$@" >/dev/null
    read -r seconds kilobytes <"$BENCH/out/time"
    "$python" analysis/speed/record.py "$name" "$job" "$out" "$seconds" "$kilobytes"
}

step=${1:-all}
if [ "$step" = all ] || [ "$step" = ours ]; then
    ours direct --test "$job/test"
    ours direct-certify-100 --test "$job/test" --certify 100
    ours ekfac --test "$job/test" --solver ekfac
    ours identity --test "$job/test" --solver identity
    ours pinv --test "$job/test" --solver pinv --rcond 5e-2
    ours cg-10-queries --test "$job/test10" --solver cg --tolerance 1e-4
fi
if [ "$step" = all ] || [ "$step" = peers ]; then
    "$python" "$peers/own_bench.py" explicit d2048 10000 dtype=f32
    "$python" "$peers/kron_bench.py" ekfac d2048 10000
    "$python" "$peers/kron_bench.py" identity d2048 10000
    "$python" "$peers/pydvl_bench.py" blockcg d2048 10
    "$python" "$peers/pydvl_bench.py" direct d2048 10000 side=train
fi
if [ "$step" = all ] || [ "$step" = large ]; then
    large=$BENCH/features/large out=$BENCH/out/ascribe-large
    [ -f "$large/test/features.npy" ] || "$python" analysis/speed/large.py
    rm -rf "$out"
    /usr/bin/time -f "50,000 × 10,000: %e s, %U + %S s of both cores, %M KiB" "$ascribe" rank --train "$large/train" \
        --test "$large/test" --head "$job/head.npz" --damping 1e-3 --skip-train --memory 6 --out "$out"
fi
[ "$step" = large ] || "$python" analysis/speed/table.py
