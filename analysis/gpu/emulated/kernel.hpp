// What a CUDA kernel says, in the words of C++ for a processor: included before a kernel's source, which is then compiled by g++.
//
// A launch runs block after block. The threads of a block run one after the other, each until it has to wait for others: they
// meet in `meet`, which device.cpp switches between them for.

#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

struct Index {
    unsigned x, y, z;
};
extern "C" Index threadIdx, blockIdx, blockDim, gridDim;
extern "C" char shared_memory[];
// Waits until every thread of the block (or of this thread's warp) that has not ended waits as well.
extern "C" void meet(bool warp);
// A slot of the calling thread's warp.
extern "C" uint64_t *warp_slot(unsigned lane);
constexpr int warpSize = 32;

#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one at a time.
#define __shared__ static
#undef __restrict__
#define __restrict__

using std::isnan;
using std::max;
using std::min;
using std::signbit;

inline unsigned lane_of_thread() { return threadIdx.x % warpSize; }
inline void __syncthreads() { meet(false); }
inline void __syncwarp(unsigned = ~0u) { meet(true); }

// Everyone's value by lane, as long as `use` runs.
template <class T, class Use> auto exchanged(T value, Use use) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    std::memcpy(warp_slot(lane_of_thread()), &value, sizeof value);
    meet(true);
    auto result = use([](unsigned lane) {
        T other;
        std::memcpy(&other, warp_slot(lane % warpSize), sizeof other);
        return other;
    });
    meet(true);
    return result;
}
template <class T> T __shfl_sync(unsigned, T value, int lane, int = warpSize) {
    return exchanged(value, [&](auto of) { return of(lane); });
}
template <class T> T __shfl_down_sync(unsigned, T value, unsigned step, int = warpSize) {
    unsigned lane = lane_of_thread();
    return exchanged(value, [&](auto of) { return lane + step < warpSize ? of(lane + step) : value; });
}
template <class T> T __shfl_xor_sync(unsigned, T value, int mask, int = warpSize) {
    unsigned lane = lane_of_thread();
    return exchanged(value, [&](auto of) { return of(lane ^ mask); });
}
inline unsigned __ballot_sync(unsigned, bool holds) {
    return exchanged(unsigned(holds), [](auto of) {
        unsigned bits = 0;
        for (unsigned lane = 0; lane < warpSize; lane++) bits |= of(lane) << lane;
        return bits;
    });
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T> T atomicAdd(T *at, T value) {
    T old = *at;
    *at = old + value;
    return old;
}
template <class T> T atomicCAS(T *at, T expected, T value) {
    T old = *at;
    if (old == expected) *at = value;
    return old;
}
template <class T> T atomicOr(T *at, T value) {
    T old = *at;
    *at = old | value;
    return old;
}
template <class T, class U> T atomicMax(T *at, U value) {
    T old = *at;
    *at = std::max(old, T(value));
    return old;
}
template <class T, class U> T atomicMin(T *at, U value) {
    T old = *at;
    *at = std::min(old, T(value));
    return old;
}
template <class T> T __ldg(const T *at) { return *at; }

template <class To, class From> To same_bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}
inline float __uint_as_float(unsigned bits) { return same_bits<float>(bits); }
inline unsigned __float_as_uint(float x) { return same_bits<unsigned>(x); }
inline float __int_as_float(int bits) { return same_bits<float>(bits); }
inline int __float_as_int(float x) { return same_bits<int>(x); }
inline long long __double_as_longlong(double x) { return same_bits<long long>(x); }
inline double __longlong_as_double(long long bits) { return same_bits<double>(bits); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline float normcdff(float x) { return float(0.5 * std::erfc(-x / std::sqrt(2.0))); }
inline double normcdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }

// Of the short floating point types.
template <class T> T hsqrt(T x) { return T(std::sqrt(float(x))); }
template <class T> T hcos(T x) { return T(std::cos(float(x))); }
template <class T> T hsin(T x) { return T(std::sin(float(x))); }
template <class T> T hlog(T x) { return T(std::log(float(x))); }
template <class T> T hexp(T x) { return T(std::exp(float(x))); }

// A kernel's call with its arguments as a launch has them: addresses, in order.
template <class... T, size_t... I> void call(void (*kernel)(T...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<T> *>(arguments[I])...);
}
template <class... T> void unpack(void (*kernel)(T...), void **arguments) {
    call(kernel, arguments, std::index_sequence_for<T...>{});
}
