// Passes over activations [B, C, H, W], compiled when first used, once for each element type.
//
// REAL is what memory holds, ACC what is computed in: float, double, or bf16 with float. Sums run in a fixed order, and end in
// double. Every index fits 32 bits; the caller sees to it.

// Rounded to nearest, ties to even; a NaN stays one.
__device__ inline unsigned short bf16_bits(float x) {
    unsigned bits = __float_as_uint(x);
    return x != x ? 0x7fff : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

#ifdef BF16
typedef float ACC;
struct REAL { unsigned short bits; };
__device__ inline ACC of(REAL x) { return __uint_as_float(((unsigned)x.bits) << 16); }
__device__ inline REAL to(ACC x) {
    REAL y = {bf16_bits(x)};
    return y;
}
#else
typedef ELEMENT REAL;
typedef ELEMENT ACC;
__device__ inline ACC of(REAL x) { return x; }
__device__ inline REAL to(ACC x) { return x; }
#endif

#define KERNEL extern "C" __global__ void
#define EACH(i, n) for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
// A kernel for single elements, and one for four at a time, where no plane of a channel ends within the four.
#define BOTH(name, parameters, arguments) \
    KERNEL name##_1 parameters { name<1> arguments; } \
    KERNEL name##_4 parameters { name<4> arguments; }

template <int V> struct alignas(V * sizeof(REAL)) Pack { REAL v[V]; };
template <int V> __device__ inline Pack<V> load(const REAL *from, unsigned i) { return *(const Pack<V> *)(from + i); }
template <int V> __device__ inline void store(REAL *to, unsigned i, Pack<V> pack) { *(Pack<V> *)(to + i) = pack; }

// NaN is passed on.
__device__ inline ACC positive(ACC x) { return x < ACC(0) ? ACC(0) : x; }

template <int V> __device__ void rectify(const REAL *x, REAL *y, unsigned n) {
    EACH(j, n / V) {
        Pack<V> in = load<V>(x, j * V);
        for (int k = 0; k < V; k++) in.v[k] = to(positive(of(in.v[k])));
        store<V>(y, j * V, in);
    }
}
BOTH(rectify, (const REAL *x, REAL *y, unsigned n), (x, y, n))

template <int V> __device__ void add_rectify(const REAL *a, const REAL *b, REAL *y, unsigned n) {
    EACH(j, n / V) {
        Pack<V> left = load<V>(a, j * V), right = load<V>(b, j * V);
        for (int k = 0; k < V; k++) left.v[k] = to(positive(of(left.v[k]) + of(right.v[k])));
        store<V>(y, j * V, left);
    }
}
BOTH(add_rectify, (const REAL *a, const REAL *b, REAL *y, unsigned n), (a, b, y, n))

// The gradient, or the sum of two, where the result is positive.
template <int V> __device__ void gate(const REAL *result, const REAL *gradient, const REAL *other, REAL *y, unsigned n) {
    EACH(j, n / V) {
        Pack<V> kept = load<V>(result, j * V), g = load<V>(gradient, j * V);
        if (other) {
            Pack<V> more = load<V>(other, j * V);
            for (int k = 0; k < V; k++) g.v[k] = to(of(g.v[k]) + of(more.v[k]));
        }
        for (int k = 0; k < V; k++) g.v[k] = of(kept.v[k]) > ACC(0) ? g.v[k] : to(ACC(0));
        store<V>(y, j * V, g);
    }
}
BOTH(gate, (const REAL *result, const REAL *gradient, const REAL *other, REAL *y, unsigned n), (result, gradient, other, y, n))

// What a channel does to a value: scale (x − centre) + shift. One definition, so that the passes back find the very numbers whose
// sign the pass forward saw.
struct Channel {
    ACC scale, centre, shift;
    __device__ ACC of_value(ACC x) const { return fma(scale, x - centre, shift); }
};

// Without moments the scale is gamma itself.
__device__ inline Channel channel(const REAL *gamma, const REAL *beta, const double *moments, double epsilon, unsigned channels,
                                  unsigned c) {
    Channel it = {of(gamma[c]), ACC(0), of(beta[c])};
    if (moments) {
        it.scale *= ACC(1) / sqrt(ACC(moments[channels + c] + epsilon));
        it.centre = ACC(moments[c]);
    }
    return it;
}

// The value of each channel's map, and its positive part where `rectified`.
template <int V> __device__ void mapped(const REAL *x, const REAL *gamma, const REAL *beta, const double *moments, REAL *y,
                                        double epsilon, unsigned n, unsigned plane, unsigned channels, unsigned rectified) {
    EACH(j, n / V) {
        Channel it = channel(gamma, beta, moments, epsilon, channels, j * V / plane % channels);
        Pack<V> in = load<V>(x, j * V);
        for (int k = 0; k < V; k++) {
            ACC value = it.of_value(of(in.v[k]));
            in.v[k] = to(rectified ? positive(value) : value);
        }
        store<V>(y, j * V, in);
    }
}
BOTH(mapped, (const REAL *x, const REAL *gamma, const REAL *beta, const double *moments, REAL *y, double epsilon, unsigned n,
              unsigned plane, unsigned channels, unsigned rectified),
     (x, gamma, beta, moments, y, epsilon, n, plane, channels, rectified))

// The sum over a block of threads, in thread 0.
__device__ double block_sum(double value) {
    __shared__ double warps[32];
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffff, value, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x < blockDim.x / 32 ? warps[threadIdx.x] : 0.0;
    if (threadIdx.x < 32)
        for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffff, value, step);
    return value;
}

// Calls `add(first element)` for every V elements of channel blockIdx.x that are this thread's: `lanes` threads go over a plane, the
// block over as many images at once, gridDim.y blocks over the batch.
template <int V, class Add> __device__ inline void over_channel(unsigned batch, unsigned channels, unsigned plane, unsigned lanes,
                                                                Add add) {
    unsigned groups = blockDim.x / lanes, group = threadIdx.x / lanes;
    for (unsigned b = blockIdx.y * groups + group; b < batch; b += gridDim.y * groups) {
        unsigned start = (b * channels + blockIdx.x) * plane;
        for (unsigned r = threadIdx.x % lanes * V; r < plane; r += lanes * V) add(start + r);
    }
}

// parts[2][C][gridDim.y]
__device__ inline void write_part(double *parts, unsigned channels, ACC first, ACC second) {
    double total = block_sum(first);
    if (threadIdx.x == 0) parts[blockIdx.x * gridDim.y + blockIdx.y] = total;
    total = block_sum(second);
    if (threadIdx.x == 0) parts[(channels + blockIdx.x) * gridDim.y + blockIdx.y] = total;
}

__device__ inline double sum_of(const double *parts, unsigned count) {
    double sum = 0;
    for (unsigned i = 0; i < count; i++) sum += parts[i];
    return sum;
}

// Sums of x − p and (x − p)², p the channel's first value: one pass, and no digits lost unless p is many deviations from the mean.
template <int V> __device__ void moment_parts(const REAL *x, double *parts, unsigned batch, unsigned channels, unsigned plane,
                                              unsigned lanes) {
    ACC pivot = of(x[blockIdx.x * plane]), sum = 0, squares = 0;
    over_channel<V>(batch, channels, plane, lanes, [&](unsigned at) {
        Pack<V> in = load<V>(x, at);
        for (int k = 0; k < V; k++) {
            ACC d = of(in.v[k]) - pivot;
            sum += d;
            squares += d * d;
        }
    });
    write_part(parts, channels, sum, squares);
}
BOTH(moment_parts, (const REAL *x, double *parts, unsigned batch, unsigned channels, unsigned plane, unsigned lanes),
     (x, parts, batch, channels, plane, lanes))

// moments[c] the mean, moments[C + c] the biased variance.
KERNEL moments(const REAL *x, const double *parts, double *moments, unsigned count, unsigned channels, unsigned plane,
               unsigned number) {
    EACH(c, channels) {
        double mean = sum_of(parts + c * number, number) / count;
        double square = sum_of(parts + (channels + c) * number, number) / count;
        moments[c] = double(of(x[c * plane])) + mean;
        double variance = square - mean * mean;
        // What is not a number stays so, which it would not by max.
        moments[channels + c] = variance < 0 ? 0 : variance;
    }
}

// Sums of g and g (x − centre), g the gradient where a rectifier after the map let it through.
template <int V> __device__ void gradient_parts(const REAL *x, const REAL *g, const REAL *gamma, const REAL *beta,
                                                const double *moments, double *parts, double epsilon, unsigned batch,
                                                unsigned channels, unsigned plane, unsigned lanes, unsigned rectified) {
    Channel it = channel(gamma, beta, moments, epsilon, channels, blockIdx.x);
    ACC plain = 0, weighted = 0;
    over_channel<V>(batch, channels, plane, lanes, [&](unsigned at) {
        Pack<V> in = load<V>(x, at), gradient = load<V>(g, at);
        for (int k = 0; k < V; k++) {
            ACC value = of(in.v[k]), slope = of(gradient.v[k]);
            if (rectified && !(it.of_value(value) > ACC(0))) slope = 0;
            plain += slope;
            weighted += slope * (value - it.centre);
        }
    });
    write_part(parts, channels, plain, weighted);
}
BOTH(gradient_parts, (const REAL *x, const REAL *g, const REAL *gamma, const REAL *beta, const double *moments, double *parts,
                      double epsilon, unsigned batch, unsigned channels, unsigned plane, unsigned lanes, unsigned rectified),
     (x, g, gamma, beta, moments, parts, epsilon, batch, channels, plane, lanes, rectified))

// sums[c] = Σ g, sums[C + c] = Σ g (x − centre), and the gradients of gamma and beta.
KERNEL channel_gradients(const double *parts, const double *moments, double *sums, REAL *gamma, REAL *beta, double epsilon,
                         unsigned channels, unsigned number) {
    EACH(c, channels) {
        double plain = sum_of(parts + c * number, number), weighted = sum_of(parts + (channels + c) * number, number);
        sums[c] = plain;
        sums[channels + c] = weighted;
        gamma[c] = to(ACC(moments ? weighted / sqrt(moments[channels + c] + epsilon) : weighted));
        beta[c] = to(ACC(plain));
    }
}

// The gradient of x through a channel's map: scale · g, and where the moments are those of x itself
// γ/√(σ² + ε) · (g − Σg/N − x̂ Σgx̂/N).
template <int V> __device__ void input_gradient(const REAL *x, const REAL *g, const REAL *gamma, const REAL *beta,
                                                const double *moments, const double *sums, REAL *out, double epsilon, double count,
                                                unsigned n, unsigned plane, unsigned channels, unsigned rectified) {
    EACH(j, n / V) {
        unsigned c = j * V / plane % channels;
        Channel it = channel(gamma, beta, moments, epsilon, channels, c);
        ACC constant = 0, slope = 0;
        if (moments) {
            constant = ACC(sums[c] / count);
            slope = ACC(sums[channels + c] / count / (moments[channels + c] + epsilon));
        }
        Pack<V> gradient = load<V>(g, j * V), in;
        if (moments || rectified) in = load<V>(x, j * V);
        for (int k = 0; k < V; k++) {
            ACC value = moments || rectified ? of(in.v[k]) : ACC(0), through = of(gradient.v[k]);
            if (rectified && !(it.of_value(value) > ACC(0))) through = 0;
            gradient.v[k] = to(it.scale * (through - constant - slope * (value - it.centre)));
        }
        store<V>(out, j * V, gradient);
    }
}
BOTH(input_gradient, (const REAL *x, const REAL *g, const REAL *gamma, const REAL *beta, const double *moments, const double *sums,
                      REAL *out, double epsilon, double count, unsigned n, unsigned plane, unsigned channels, unsigned rectified),
     (x, g, gamma, beta, moments, sums, out, epsilon, count, n, plane, channels, rectified))

// Of tangents along several directions [B, k, C, ...], i the index of one: that of the value [B, C, ...] it lies beside, `image` the
// values of an image.
__device__ inline unsigned beside(unsigned i, unsigned image, unsigned directions) {
    return i / (image * directions) * image + i % image;
}

// scale along + scale_along x + shift_along, where `gated` zero if the output of the rectifier after it is not above 0.
template <int V> __device__ void affine_along(const REAL *x, const REAL *along, const REAL *scale, const REAL *scale_along,
                                              const REAL *shift_along, const REAL *output, REAL *y, unsigned n, unsigned plane,
                                              unsigned channels, unsigned directions, unsigned gated) {
    EACH(j, n / V) {
        unsigned i = j * V, row = i / plane, c = row % channels, column = row % (channels * directions);
        unsigned at = beside(i, channels * plane, directions);
        ACC s = of(scale[c]), slope = of(scale_along[column]), shift = of(shift_along[column]);
        Pack<V> tangent = load<V>(along, i), value = load<V>(x, at), open = value;
        if (gated) open = load<V>(output, at);
        for (int k = 0; k < V; k++) {
            ACC moved = fma(s, of(tangent.v[k]), fma(slope, of(value.v[k]), shift));
            tangent.v[k] = to(gated && !(of(open.v[k]) > ACC(0)) ? ACC(0) : moved);
        }
        store<V>(y, i, tangent);
    }
}
BOTH(affine_along, (const REAL *x, const REAL *along, const REAL *scale, const REAL *scale_along, const REAL *shift_along,
                    const REAL *output, REAL *y, unsigned n, unsigned plane, unsigned channels, unsigned directions, unsigned gated),
     (x, along, scale, scale_along, shift_along, output, y, n, plane, channels, directions, gated))

// The gradients along every direction where the result that all share is positive.
template <int V> __device__ void gate_along(const REAL *result, const REAL *gradient, REAL *y, unsigned n, unsigned image,
                                            unsigned directions) {
    EACH(j, n / V) {
        Pack<V> kept = load<V>(result, beside(j * V, image, directions)), g = load<V>(gradient, j * V);
        for (int k = 0; k < V; k++) g.v[k] = of(kept.v[k]) > ACC(0) ? g.v[k] : to(ACC(0));
        store<V>(y, j * V, g);
    }
}
BOTH(gate_along, (const REAL *result, const REAL *gradient, REAL *y, unsigned n, unsigned image, unsigned directions),
     (result, gradient, y, n, image, directions))

// Sums for every direction and channel, of the gradient along the direction, and of that times x and, where there is a `second`
// term, shared times x_along. `columns` is k C; channel_gradients ends them.
template <int V> __device__ void along_parts(const REAL *x, const REAL *gradient, const REAL *x_along, const REAL *shared, double *parts,
                                             unsigned batch, unsigned channels, unsigned columns, unsigned plane, unsigned lanes,
                                             unsigned second) {
    ACC plain = 0, weighted = 0;
    over_channel<V>(batch, columns, plane, lanes, [&](unsigned i) {
        unsigned at = beside(i, channels * plane, columns / channels);
        Pack<V> slope = load<V>(gradient, i), value = load<V>(x, at), tangent = slope, outer = value;
        if (second) {
            tangent = load<V>(x_along, i);
            outer = load<V>(shared, at);
        }
        for (int k = 0; k < V; k++) {
            plain += of(slope.v[k]);
            weighted += of(slope.v[k]) * of(value.v[k]);
            if (second) weighted += of(outer.v[k]) * of(tangent.v[k]);
        }
    });
    write_part(parts, columns, plain, weighted);
}
BOTH(along_parts, (const REAL *x, const REAL *gradient, const REAL *x_along, const REAL *shared, double *parts, unsigned batch,
                   unsigned channels, unsigned columns, unsigned plane, unsigned lanes, unsigned second),
     (x, gradient, x_along, shared, parts, batch, channels, columns, plane, lanes, second))

// Batch norm in evaluation mode as scale and shift.
KERNEL folded(const REAL *gamma, const REAL *beta, const REAL *mean, const REAL *variance, REAL *scale, REAL *shift, double epsilon,
              unsigned channels) {
    EACH(c, channels) {
        ACC factor = of(gamma[c]) / sqrt(of(variance[c]) + ACC(epsilon));
        scale[c] = to(factor);
        shift[c] = to(of(beta[c]) - of(mean[c]) * factor);
    }
}

// The index within its plane of the largest value of an output's window, the first of equals; NaN wins and stays.
__device__ unsigned winner(const REAL *plane, int height, int width, int oy, int ox, int size, int stride, int padding) {
    int top = max(oy * stride - padding, 0), left = max(ox * stride - padding, 0);
    int bottom = min(oy * stride - padding + size, height), right = min(ox * stride - padding + size, width);
    unsigned best = top * width + left;
    ACC largest = of(plane[best]);
    for (int y = top; y < bottom; y++)
        for (int x = left; x < right; x++) {
            ACC value = of(plane[y * width + x]);
            if (value > largest || value != value) { largest = value; best = y * width + x; }
        }
    return best;
}

KERNEL max_pool(const REAL *x, REAL *y, unsigned n, int height, int width, int out_h, int out_w, int size, int stride,
                int padding) {
    EACH(i, n) {
        unsigned plane = i / (out_h * out_w), at = i % (out_h * out_w);
        const REAL *from = x + (size_t)plane * height * width;
        y[i] = from[winner(from, height, width, at / out_w, at % out_w, size, stride, padding)];
    }
}

// Each input gathers the gradients of the windows that it wins, in their order.
KERNEL max_pool_input(const REAL *x, const REAL *g, REAL *out, unsigned n, int height, int width, int out_h, int out_w, int size,
                      int stride, int padding) {
    EACH(i, n) {
        unsigned plane = i / (height * width), at = i % (height * width);
        int y = at / width, x_ = at % width;
        const REAL *from = x + (size_t)plane * height * width, *gradient = g + (size_t)plane * out_h * out_w;
        int first_y = max((y + padding - size + stride) / stride, 0), last_y = min((y + padding) / stride, out_h - 1);
        int first_x = max((x_ + padding - size + stride) / stride, 0), last_x = min((x_ + padding) / stride, out_w - 1);
        if (y + padding - size + stride < 0) first_y = 0;
        if (x_ + padding - size + stride < 0) first_x = 0;
        ACC sum = 0;
        for (int oy = first_y; oy <= last_y; oy++)
            for (int ox = first_x; ox <= last_x; ox++)
                if (winner(from, height, width, oy, ox, size, stride, padding) == at) sum += of(gradient[oy * out_w + ox]);
        out[i] = to(sum);
    }
}

// U(x): [B, C, H, W] → [B, K, N], K = C k_h k_w, N = out_h out_w.
KERNEL unfold(const REAL *x, REAL *u, unsigned n, int channels, int height, int width, int kernel_h, int kernel_w, int out_h,
              int out_w, int stride, int padding) {
    EACH(i, n) {
        unsigned at = i % (out_h * out_w), rest = i / (out_h * out_w);
        unsigned kx = rest % kernel_w; rest /= kernel_w;
        unsigned ky = rest % kernel_h; rest /= kernel_h;
        int y = int(at / out_w) * stride + int(ky) - padding, x_ = int(at % out_w) * stride + int(kx) - padding;
        bool inside = y >= 0 && y < height && x_ >= 0 && x_ < width;
        u[i] = inside ? x[((size_t)rest * height + y) * width + x_] : to(ACC(0));
    }
}

// Its adjoint: each pixel gathers its taps.
KERNEL fold(const REAL *u, REAL *x, unsigned n, int channels, int height, int width, int kernel_h, int kernel_w, int out_h,
            int out_w, int stride, int padding) {
    EACH(i, n) {
        unsigned at = i % (height * width), rest = i / (height * width);
        int y = int(at / width) + padding, x_ = int(at % width) + padding;
        ACC sum = 0;
        for (int ky = 0; ky < kernel_h; ky++) {
            int down = y - ky;
            if (down < 0 || down % stride || down / stride >= out_h) continue;
            for (int kx = 0; kx < kernel_w; kx++) {
                int across = x_ - kx;
                if (across < 0 || across % stride || across / stride >= out_w) continue;
                size_t tap = ((size_t)rest * kernel_h + ky) * kernel_w + kx;
                sum += of(u[(tap * out_h + down / stride) * out_w + across / stride]);
            }
        }
        x[i] = to(sum);
    }
}

