#!/usr/bin/env bash
# nvcc, but for candle's kernels of quantised and mixture-of-experts models: their functions, which nothing here calls, become ones
# that abort. They would take most of the build's time and half of the program's size.
set -euo pipefail

source='' target='' last=''
for word in "$@"; do
    [ "$last" = -o ] && target=$word
    case $word in *.cu) source=$word ;; esac
    last=$word
done

stand_in() { # C on standard input, compiled in place of the source
    cc -w -O1 -fPIC -c -x c -o "$target" -
}

case $source in
*moe/moe_gguf.cu)
    # One file defines all functions that candle-kernels declares in Rust.
    declared=$(dirname "$source")/../ffi.rs
    { echo '#include <stdlib.h>'
      grep -ohE 'fn +[a-z0-9_]+' "$declared" | awk '{ print "void " $2 "(void) { abort(); }" }' | sort -u; } | stand_in
    ;;
*/mmq_gguf/* | */moe/* | *mmvq_gguf.cu) echo 'static int nothing;' | stand_in ;;
*) exec "${WHOLE_NVCC:?set by with-toolkit.sh}" "$@" ;;
esac
