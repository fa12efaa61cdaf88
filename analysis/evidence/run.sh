#!/usr/bin/env bash
# Is the ranking behind Figure 6 true? Leave-one-out, LDS and class match of every estimator on CIFAR-10 transfer, 3,200 images,
# natural and robust source; then Koh and Liang's check on all of MNIST. README.md says what was seen.
#
# usage: analysis/evidence/run.sh [WORK]    results go to WORK (default: target/evidence); finished steps are kept
#        MODELS=FOLDER with the transfers of analysis/figure6/run.sh (default: target/figure6)
set -euo pipefail
cd "$(dirname "$0")/../.."
work=${1:-target/evidence}
models=${MODELS:-target/figure6}
tolerated=3 # lissa misses its tolerance, which run.json says
source analysis/steps.sh

estimators=direct,leverage,cg,ekfac,arnoldi,lissa,pinv,identity,gradient-cosine,l-relatif,feature-cosine,knn,representer,trak
for source in natural robust; do
    for blocks in 3 0; do
        run=$work/rank-$source-blocks$blocks
        # A series of 200 terms: the 5,000 it may take would take an hour and still not converge.
        step "$run" rank --model "$models/$source-blocks$blocks" --skip-train --damping 0 --depth 200
        # At the head that the transfer left, and at the one fitted to convergence; both are held against the same refits.
        first=$work/$source-blocks$blocks-run
        step "$first" evaluate "$run" --leave-one-out 200 --lds 100 --compare "$estimators"
        step "$work/$source-blocks$blocks-fitted" evaluate "$run" --at fitted --leave-one-out 200 --lds 100 --certify 10 \
            --compare "$estimators" --retrained "$first"
    done
    step "$work/$source-checks" evaluate "$work/rank-$source-blocks0" --at fitted --queries 200 --removal 20 --mislabels 0.1 \
        --duplicates 50 --randomise --classes --compare ekfac,pinv,identity,feature-cosine
done
"$python" analysis/evidence/table.py "$work" >"$work/tables.md"

# Koh and Liang (2017, figure 2): L2 0.01, the 500 most influential of 60,000 images for one test image.
if [ ! -f "$work/mnist/train/labels.npy" ]; then
    "$python" analysis/evidence/mnist.py ../shared/data/mnist-idx "$work/mnist"
fi
step "$work/rank-mnist" rank --train "$work/mnist/train" --test "$work/mnist/test" --l2 1e-2 --damping 0 --skip-train
step "$work/mnist-koh-liang" evaluate "$work/rank-mnist" --leave-one-out 500 --choose influential --query 8 --gradient-norm 1e-8
