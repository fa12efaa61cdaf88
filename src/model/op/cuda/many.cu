// Many small tensors in one launch: each of these would cost more to launch than to compute.

#define TENSORS 64

// As many.rs has them: tensor i is that of the blocks from `first[i]` on, of `a_block` elements each.
struct Blocks {
    unsigned first[TENSORS], count[TENSORS];
    unsigned number, a_block;
};

// Of the calling block the tensor `t` and its elements `start..end`. No function, so that nothing takes the argument's address.
#define WHERE(blocks) \
    unsigned t = 0; \
    while (t + 1 < blocks.number && blocks.first[t + 1] <= blockIdx.x) t++; \
    unsigned start = (blockIdx.x - blocks.first[t]) * blocks.a_block, end = min(start + blocks.a_block, blocks.count[t]);

struct Descending {
    REAL *parameter[TENSORS], *velocity[TENSORS];
    const void *gradient[TENSORS];
    // Gradients whose bit is set are in bf16.
    unsigned long long in_bf16;
};

// PyTorch's stochastic gradient descent in place: g ← gradient + l2 θ, v ← momentum v + g, θ ← θ − rate v.
KERNEL descend(const Blocks blocks, const Descending all, double l2, double momentum, double rate) {
    WHERE(blocks)
    REAL *parameter = all.parameter[t], *velocity = all.velocity[t];
    const void *gradient = all.gradient[t];
    bool in_bf16 = all.in_bf16 >> t & 1;
    for (unsigned i = start + threadIdx.x; i < end; i += blockDim.x) {
        ACC slope = in_bf16 ? ACC(__uint_as_float((unsigned)((const unsigned short *)gradient)[i] << 16))
                            : of(((const REAL *)gradient)[i]);
        ACC theta = of(parameter[i]), v = ACC(momentum) * of(velocity[i]) + (slope + ACC(l2) * theta);
        velocity[i] = to(v);
        parameter[i] = to(theta - ACC(rate) * v);
    }
}

struct Lowering {
    const REAL *from[TENSORS];
    unsigned to[TENSORS];
};

// Copies in bf16, tensor i from element `to[i]` of `lowered` on.
KERNEL lower(const Blocks blocks, const Lowering all, unsigned short *lowered) {
    WHERE(blocks)
    const REAL *from = all.from[t];
    lowered += all.to[t];
    for (unsigned i = start + threadIdx.x; i < end; i += blockDim.x) lowered[i] = bf16_bits(float(of(from[i])));
}

struct Moving {
    const double *moments[TENSORS];
    const REAL *mean[TENSORS], *variance[TENSORS];
    double unbiased[TENSORS];
    unsigned to[TENSORS];
};

// Running means and variances [C], moved towards the newest moments [2, C]: those of tensor i from element `to[i]` of `moved` on,
// means before variances. `unbiased` is N/(N − 1).
KERNEL move_statistics(const Blocks blocks, const Moving all, REAL *moved, double momentum) {
    WHERE(blocks)
    const double *moments = all.moments[t];
    const REAL *mean = all.mean[t], *variance = all.variance[t];
    double unbiased = all.unbiased[t];
    unsigned channels = blocks.count[t];
    moved += all.to[t];
    for (unsigned c = start + threadIdx.x; c < end; c += blockDim.x) {
        ACC old = ACC(1.0 - momentum), newest = ACC(momentum);
        moved[c] = to(of(mean[c]) * old + ACC(moments[c]) * newest);
        moved[channels + c] = to(of(variance[c]) * old + ACC(moments[channels + c] * unbiased) * newest);
    }
}
