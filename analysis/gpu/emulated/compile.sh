#!/usr/bin/env bash
# Compiles a CUDA source for the processor: a library with `unpack_NAME(arguments)` for each of its kernels.
#
# usage: compile.sh SOURCE LIBRARY OPTIONS...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(realpath "$1") library=$2
shift 2
work=$(mktemp -d "$(dirname "$library")/XXXXXX")
trap 'rm -r "$work"' EXIT
# Products are rounded before they are added, but where the source says fma.
flags=(-std=c++17 -O2 -march=native -ffp-contract=off -fno-strict-aliasing -w -fPIC)
compile=(g++ "${flags[@]}" -x c++ -include "$here/kernel.hpp" "$@")
"${compile[@]}" -c "$source" -o "$work/kernels.o"
{
    echo "#include \"$source\""
    nm --defined-only "$work/kernels.o" | awk '$2 == "T" && $3 !~ /^_Z/ { print $3 }' |
        sed 's/.*/extern "C" void unpack_&(void **arguments) { unpack(\&&, arguments); }/'
} >"$work/unpacked.cpp"
"${compile[@]}" -shared "$work/unpacked.cpp" -o "$work/library.so"
mv "$work/library.so" "$library"
