#!/usr/bin/env bash
# A step of training, and transfers with kept activations, beside PyTorch. README.md says what was seen.
#
# usage: PYTHON=python-with-torch DATA=../shared/data analysis/speed/transfer/run.sh [step | blocks0 | blocks3 | large]
#
# PYTHON: an interpreter with torch, safetensors, polars and pillow. Another run on the machine falsifies the times.
set -euo pipefail
cd "$(dirname "$0")/../../.."
python=${PYTHON:-python3}
data=${DATA:-../shared/data}
ascribe=${ASCRIBE:-$PWD/target/release/ascribe}
out=${OUT:-target/transfer-speed}
here=analysis/speed/transfer
mkdir -p "$out"

# transfer NAME SOURCE NETWORK SIDE BLOCKS IMAGES EPOCHS BATCH: ours, then torch's.
transfer() {
    local name=$1 source=$2 network=$3 side=$4 blocks=$5 images=$6 epochs=$7 batch=$8 file=$2
    [ "$source" = builtin:robust ] && file=fixtures/source/robust.safetensors
    rm -rf "$out/$name"
    "$ascribe" transfer --source "$source" --side "$side" --train "$data/cifar10/train.parquet" --test "$test" \
        --images "$images" --blocks "$blocks" --epochs "$epochs" --batch-size "$batch" --learning-rate 0.01 --augmentation none \
        --frozen-statistics frozen --evaluate-every 0 --out "$out/$name" 2>"$out/$name.log"
    "$python" $here/epochs.py "$out/$name" "$network"
    "$python" $here/transfer.py "$file" "$network" "$side" "$blocks" "$images" "$epochs" "$batch" 0.01 \
        "$data/cifar10/train.parquet" "$test" 2>/dev/null
}

step=${1:-all}
test=$data/cifar10/test.parquet
if [ "$step" = all ] || [ "$step" = step ]; then
    cargo bench --quiet --bench training -- 3
    "$python" $here/step.py 3 2>/dev/null
fi
for blocks in 0 3; do
    if [ "$step" = all ] || [ "$step" = blocks$blocks ]; then
        transfer blocks$blocks builtin:robust cifar-resnet14-w16 32 $blocks 3200 9 128
    fi
done
# Times alone: weights at random, at the size of ImageNet's images, tested on few.
if [ "$step" = all ] || [ "$step" = large ]; then
    test=$data/cifar10-imagefolder/test
    [ -d "$out/source" ] || "$ascribe" train --train "$data/cifar10-imagefolder/test" --test "$test" --architecture resnet50 \
        --side 32 --images 10 --epochs 1 --augmentation none --out "$out/source"
    for blocks in 0 3; do
        transfer large-blocks$blocks "$out/source/model.safetensors" resnet50 224 $blocks 80 3 8
    done
fi
