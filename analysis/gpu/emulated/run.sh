#!/usr/bin/env bash
# Runs a command with the processor as the one CUDA device: the driver and the libraries of device.cpp and libraries.cpp in place of
# NVIDIA's, candle's kernels and ascribe's compiled by g++. For x86-64 Linux. It is no measure of a card's speed, and its libraries sum
# in other orders than NVIDIA's. What is compiled is kept in FOLDER until something here or Cargo.lock is newer.
#
# usage: analysis/gpu/emulated/run.sh FOLDER COMMAND...
#   CUDA_HOME         a CUDA toolkit with cuDNN, whose headers are read
#   EMULATED_MIB      the card's memory, 16384 by default
#   EMULATED_ORDER=-1 the threads of a block run from the last to the first
#   EMULATED_COUNTS   a file for how often each kernel ran, and for products, copies and waits
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
command -v g++ >/dev/null || { echo "run.sh: g++ was not found; install it (Debian, Ubuntu: apt-get install g++)" >&2; exit 1; }
here=$(cd "$(dirname "$0")" && pwd)
folder=$(realpath -m "$1")
shift

libraries() {
    local name flags=(-std=c++17 -O2 -Wall -Wextra -Wno-deprecated-declarations -fPIC -isystem "$CUDA_HOME/include")
    mkdir -p "$folder/lib"
    for name in cublas cudnn curand nvrtc; do
        local version
        version=$(cd "$CUDA_HOME/lib64" && echo "lib$name".so.[0-9]*)
        echo "$version { global: $name*; };"
        ln -sf libcuda.so.1 "$folder/lib/$version"
    done >"$folder/versions"
    for name in device libraries; do g++ "${flags[@]}" -c "$here/$name.cpp" -o "$folder/$name.o"; done
    g++ -shared -Wl,--version-script="$folder/versions" -Wl,-soname,libcuda.so.1 -o "$folder/lib/libcuda.so.1" \
        "$folder"/{device,libraries}.o -lopenblas -ldl
}

# Candle asks for the architecture before it uses what cards before it lack, and once for shared memory of a size known at launch.
candle() {
    local sources name
    sources=$(cargo metadata --format-version 1 --features cuda --filter-platform x86_64-unknown-linux-gnu |
        grep -o '"manifest_path":"[^"]*/candle-kernels-[^"]*"' | head -1 | cut -d '"' -f 4)
    sources=$(dirname "$sources")/src
    mkdir -p "$folder/candle"
    cp "$sources"/*.cu "$sources"/*.cuh "$folder/candle"
    sed -i 's/__CUDA_ARCH__/EMULATED_ARCH/g; s/extern __shared__ int \(.*\)\[\];/int *\1 = (int *)shared_memory;/' "$folder"/candle/*
    for name in affine binary cast fill indexing reduce sort ternary unary; do
        "$here/compile.sh" "$folder/candle/$name.cu" "$folder/candle/$name.so" -DEMULATED_ARCH=800 \
            -I"$CUDA_HOME/include" -I"$CUDA_HOME/include/cccl"
    done
}

if ! [ -e "$folder/complete" ] || [ -n "$(find "$here" "$here/../../../Cargo.lock" -newer "$folder/complete")" ]; then
    rm -rf "$folder"
    libraries
    candle
    touch "$folder/complete"
fi
export EMULATED_KERNELS=$folder/candle EMULATED_COMPILER=$here/compile.sh
export LD_LIBRARY_PATH=$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
exec "$@"
