// Passes over the rows of matrices; REAL is that of extremes.cu.

// A part of the inner product of row blockIdx.x of `left` and `right`, over `part` columns from blockIdx.y · part on, in double:
// parts [rows, gridDim.y]. The square of a small float is no float.
extern "C" __global__ void row_products(const REAL *left, const REAL *right, double *parts, unsigned columns, unsigned part) {
    __shared__ double warps[32];
    left += (size_t)blockIdx.x * columns;
    right += (size_t)blockIdx.x * columns;
    unsigned start = blockIdx.y * part, end = columns - start < part ? columns : start + part;
    double sum = 0;
    for (unsigned i = start + threadIdx.x; i < end; i += blockDim.x) sum += double(left[i]) * double(right[i]);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffff, sum, step);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (unsigned warp = 1; warp < blockDim.x / 32; warp++) sum += warps[warp];
    parts[(size_t)blockIdx.x * gridDim.y + blockIdx.y] = sum;
}

// The outer product of each row of [rows, lefts] and [rows, rights], [rows, lefts, rights]: a block of threads for each number of
// the left ones.
extern "C" __global__ void row_outer(const REAL *left, const REAL *right, REAL *products, unsigned lefts, unsigned rights) {
    REAL factor = left[blockIdx.x];
    right += (size_t)(blockIdx.x / lefts) * rights;
    products += (size_t)blockIdx.x * rights;
    for (unsigned i = threadIdx.x; i < rights; i += blockDim.x) products[i] = factor * right[i];
}
