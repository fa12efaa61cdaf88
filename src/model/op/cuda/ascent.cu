// A step of projected gradient ascent on images, a block for each: with g the slope,
// δ = x′ + step · direction(g) − x, moved = clip(x + shortened δ) to [0, 1].
//
// The direction is g/‖g‖, and δ is shortened to the ball's radius, where the norm is Euclidean; else sign g, and δ is clipped.

__device__ inline ACC clipped(ACC x, ACC low, ACC high) { return x < low ? low : x > high ? high : x; }

// The larger one; of what is not a number, that.
__device__ inline double at_least(double x, double least) { return x < least ? least : x; }

// The sum over a block, for all of its threads.
__device__ inline double shared_sum(double value) {
    __shared__ double sum;
    value = block_sum(value);
    if (threadIdx.x == 0) sum = value;
    __syncthreads();
    return sum;
}

KERNEL ascend(const REAL *images, const REAL *perturbed, const REAL *slope, REAL *moved, double radius, double step, unsigned pixels,
              unsigned euclidean) {
    unsigned start = blockIdx.x * pixels;
    images += start;
    perturbed += start;
    slope += start;
    moved += start;
    ACC along = step, shortening = 1;
    if (euclidean) {
        double squares = 0;
        for (unsigned i = threadIdx.x; i < pixels; i += blockDim.x) squares += double(of(slope[i])) * of(slope[i]);
        // A slope of zero gives a step of zero, and one that is not a number none that is.
        along = ACC(step / at_least(sqrt(shared_sum(squares)), 1e-30));
        squares = 0;
        for (unsigned i = threadIdx.x; i < pixels; i += blockDim.x) {
            ACC d = of(perturbed[i]) + along * of(slope[i]) - of(images[i]);
            squares += double(d) * d;
        }
        shortening = ACC(radius / at_least(sqrt(shared_sum(squares)), radius));
    }
    for (unsigned i = threadIdx.x; i < pixels; i += blockDim.x) {
        ACC g = of(slope[i]), x = of(images[i]);
        ACC d = of(perturbed[i]) + along * (euclidean ? g : ACC(g > 0) - ACC(g < 0)) - x;
        d = euclidean ? shortening * d : clipped(d, ACC(-radius), ACC(radius));
        moved[i] = to(clipped(x + d, ACC(0), ACC(1)));
    }
}
