#!/usr/bin/env bash
# Runs a command with what a build with CUDA needs of NVIDIA's toolkit, for machines that have neither toolkit nor driver: CUDA 13.0
# and cuDNN 9 from Python wheels, laid out in FOLDER as an installed toolkit is, and a stand-in for the driver's library to link
# against. The program that is built wants a driver of 580 or later where it runs.
#
# usage: analysis/gpu/with-toolkit.sh FOLDER COMMAND...
#   CUDA_COMPUTE_CAP  the card that candle's kernels are compiled for: 90 for H100 and H200 (default: the first card of this machine,
#                     else 80, which runs on every card since the A100)
#   WHOLE=1           compile candle's kernels for quantised models too, which nothing here calls: about 40 minutes on two cores
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
folder=$(realpath -m "$1")
shift
toolkit=$folder/toolkit

wheels() {
    python3 -m venv "$folder/wheels"
    "$folder/wheels/bin/pip" install --quiet \
        "nvidia-cuda-nvcc==13.0.*" "nvidia-cuda-crt==13.0.*" "nvidia-nvvm==13.0.*" "nvidia-cuda-runtime==13.0.*" \
        "nvidia-cuda-cccl==13.0.*" "nvidia-cuda-nvrtc==13.0.*" "nvidia-cublas==13.1.0.3" "nvidia-curand==10.4.0.*" \
        "nvidia-cudnn-cu13==9.*"
}

# Libraries by the names that a linker looks for: libx.so for libx.so.1.
libraries() {
    local library name
    for library in "$1"/*.so* "$1"/*.a; do
        [ -e "$library" ] || continue
        name=$(basename "$library")
        ln -sf "$library" "$toolkit/lib64/$name"
        case $name in *.so.*) ln -sf "$library" "$toolkit/lib64/${name%%.so.*}.so" ;; esac
    done
}

lay_out() {
    local packages
    packages=$(echo "$folder"/wheels/lib/python3*/site-packages/nvidia)
    rm -rf "$toolkit"
    mkdir -p "$toolkit/lib64/stubs"
    cp -rs "$packages"/cu13/{bin,include,nvvm} "$toolkit/"
    # nvcc finds its headers beside its own, resolved, path.
    for file in nvcc nvcc.profile; do cp --remove-destination "$packages/cu13/bin/$file" "$toolkit/bin/$file"; done
    chmod +x "$toolkit/bin/nvcc"
    libraries "$packages/cu13/lib"
    libraries "$packages/cudnn/lib"
    ln -sf "$packages"/cudnn/include/* "$toolkit/include/"
    ln -sfn lib64 "$toolkit/lib"
    # The driver's functions, each doing nothing: only their names are needed to link.
    grep --no-filename --only-matching --extended-regexp '\bcu[A-Z][A-Za-z0-9_]*\b' \
        "$toolkit/include/cuda.h" "$toolkit/include/cudaTypedefs.h" | sort -u | sed 's/.*/void &(void) {}/' |
        cc -w -shared -fPIC -x c -Wl,-soname,libcuda.so.1 -o "$toolkit/lib64/stubs/libcuda.so" -
    touch "$folder/complete"
}

if ! [ -e "$folder/complete" ]; then
    mkdir -p "$folder"
    wheels
    lay_out
fi

export CUDA_HOME=$toolkit CUDA_PATH=$toolkit CUDA_ROOT=$toolkit CUDA_TOOLKIT_ROOT_DIR=$toolkit PATH=$toolkit/bin:$PATH
here_is() { nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d '. '; }
cap=${CUDA_COMPUTE_CAP:-$(here_is || true)}
# What is compiled for 90 runs there alone; for 80, there and on all that came after.
export CUDA_COMPUTE_CAP=${cap:-80} CUDARC_CUDA_VERSION=13000
export LIBRARY_PATH=$toolkit/lib64:$toolkit/lib64/stubs
export RUSTFLAGS="${RUSTFLAGS:-} -L native=$toolkit/lib64 -L native=$toolkit/lib64/stubs"
export CUDAFORGE_THREADS=${CUDAFORGE_THREADS:-$(nproc)}
export NVCC=$toolkit/bin/nvcc
if [ "${WHOLE:-0}" != 1 ]; then
    export WHOLE_NVCC=$NVCC NVCC=$here/slim-nvcc.sh
fi
exec "$@"
