// The largest (or smallest) of each row of scores, compiled when first used, once for each element type.
//
// A number's bits, turned so that unsigned integers have the order of the numbers, are its key; −0 has that of 0. The last key
// kept is found eight bits at a time, from the top: how many of the row's keys go on with each value of the next eight bits says
// with which value that key goes on. Where several equal it, the same is done with their columns, so that the first ones are
// kept. One block of threads takes one row; every row has more columns than are kept.

#ifdef DOUBLE
typedef double REAL;
typedef unsigned long long KEY;
__device__ inline KEY bits_of(REAL x) { return (KEY)__double_as_longlong(x); }
#define EXPONENT 0x7ff0000000000000ull
#else
typedef float REAL;
typedef unsigned KEY;
__device__ inline KEY bits_of(REAL x) { return __float_as_uint(x); }
#define EXPONENT 0x7f800000u
#endif
#define SIGN (KEY(1) << (8 * sizeof(KEY) - 1))
#define VALUES 256

// Larger keys are kept first.
__device__ inline KEY key_of(REAL x, bool smallest) {
    KEY bits = bits_of(x);
    if (bits == SIGN) bits = 0;
    KEY key = bits & SIGN ? ~bits : bits | SIGN;
    return smallest ? ~key : key;
}

// The integer that `wanted` of the row's are not below; how many of those equal to it are among them is left in `wanted`.
// `of(i, integer)` says whether column i takes part, and with what.
template <class T, class Of> __device__ T last_kept(unsigned columns, unsigned &wanted, Of of) {
    __shared__ unsigned counts[VALUES];
    __shared__ unsigned value, above;
    T found = 0, known = 0;
    for (int shift = 8 * sizeof(T) - 8; shift >= 0; shift -= 8) {
        for (unsigned i = threadIdx.x; i < VALUES; i += blockDim.x) counts[i] = 0;
        __syncthreads();
        for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) {
            T integer;
            if (of(i, integer) && (integer & known) == found) atomicAdd(&counts[(integer >> shift) % VALUES], 1u);
        }
        __syncthreads();
        for (unsigned i = threadIdx.x; i < VALUES; i += blockDim.x) {
            unsigned larger = 0;
            for (unsigned j = i + 1; j < VALUES; j++) larger += counts[j];
            if (larger < wanted && wanted <= larger + counts[i]) {
                value = i;
                above = larger;
            }
        }
        __syncthreads();
        found |= T(value) << shift;
        known |= T(VALUES - 1) << shift;
        wanted -= above;
        __syncthreads();
    }
    return found;
}

// chosen, positions: [rows, kept], in no order. unsound[row] is 1 where a number of the row is not finite.
extern "C" __global__ void extremes(const REAL *scores, unsigned columns, unsigned kept, unsigned smallest, REAL *chosen,
                                    unsigned *positions, unsigned *unsound) {
    const REAL *row = scores + (size_t)blockIdx.x * columns;
    __shared__ unsigned taken, broken;
    if (threadIdx.x == 0) taken = broken = 0;
    unsigned equal = kept;
    KEY last = last_kept<KEY>(columns, equal, [&](unsigned i, KEY &key) {
        key = key_of(row[i], smallest);
        return true;
    });
    unsigned first = last_kept<unsigned>(columns, equal, [&](unsigned i, unsigned &place) {
        place = ~i;
        return key_of(row[i], smallest) == last;
    });
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) {
        KEY key = key_of(row[i], smallest);
        if (key > last || (key == last && ~i >= first)) {
            size_t place = (size_t)blockIdx.x * kept + atomicAdd(&taken, 1u);
            chosen[place] = row[i];
            positions[place] = i;
        }
        if ((bits_of(row[i]) & EXPONENT) == EXPONENT) broken = 1;
    }
    __syncthreads();
    if (threadIdx.x == 0) unsound[blockIdx.x] = broken;
}
