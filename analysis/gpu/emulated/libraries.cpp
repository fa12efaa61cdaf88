// The libraries beside the driver, with the processor as the card: of cuBLAS, cuDNN, cuRAND and NVRTC what ascribe and candle call.
//
// Products are OpenBLAS's, convolutions products of unfolded images; bf16 is computed in f32. NVRTC's part is compile.sh.

#include <cublas_v2.h>
#include <cudnn.h>
#include <curand.h>
#include <nvrtc.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

extern "C" {
void cblas_sgemm(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
void cblas_dgemm(int, int, int, int, int, int, double, const double *, int, const double *, int, double, double *, int);
}

// In device.cpp.
extern "C" void count(const char *what, double amount);

namespace {

constexpr int ROWS = 101, COLUMNS = 102, PLAIN = 111, TURNED = 112;
using Half = uint16_t; // bf16

float of_half(Half bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float x;
    memcpy(&x, &wide, sizeof x);
    return x;
}
Half to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fff : Half((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

void product(int order, int a_as, int b_as, int m, int n, int k, float s, const float *a, int lda, const float *b, int ldb, float t,
             float *c, int ldc) {
    cblas_sgemm(order, a_as, b_as, m, n, k, s, a, lda, b, ldb, t, c, ldc);
}
void product(int order, int a_as, int b_as, int m, int n, int k, double s, const double *a, int lda, const double *b, int ldb,
             double t, double *c, int ldc) {
    cblas_dgemm(order, a_as, b_as, m, n, k, s, a, lda, b, ldb, t, c, ldc);
}

// ---- cuDNN

struct Tensor {
    cudnnDataType_t type;
    std::array<int, 4> sizes;
};
struct Convolution {
    int padding, stride;
};

struct Sizes {
    int batch, c_in, height, width, c_out, kernel_h, kernel_w, out_h, out_w, stride, padding;
    Sizes(const Tensor &x, const Tensor &w, const Tensor &y, const Convolution &conv)
        : batch(x.sizes[0]), c_in(x.sizes[1]), height(x.sizes[2]), width(x.sizes[3]), c_out(w.sizes[0]), kernel_h(w.sizes[2]),
          kernel_w(w.sizes[3]), out_h(y.sizes[2]), out_w(y.sizes[3]), stride(conv.stride), padding(conv.padding) {}
    size_t taps() const { return size_t(c_in) * kernel_h * kernel_w; }
    size_t positions() const { return size_t(out_h) * out_w; }
    size_t input() const { return size_t(c_in) * height * width; }
    size_t output() const { return size_t(c_out) * positions(); }
    size_t weight() const { return size_t(c_out) * taps(); }
    double operations() const { return 2.0 * batch * c_out * taps() * positions(); }

    // Every tap of every position that lies in the image: `each(place in the image, place in the unfolded one)`.
    template <class Each> void over_taps(Each each) const {
        size_t place = 0;
        for (int c = 0; c < c_in; c++)
            for (int ky = 0; ky < kernel_h; ky++)
                for (int kx = 0; kx < kernel_w; kx++)
                    for (int oy = 0; oy < out_h; oy++)
                        for (int ox = 0; ox < out_w; ox++, place++) {
                            int y = oy * stride + ky - padding, x = ox * stride + kx - padding;
                            if (y >= 0 && y < height && x >= 0 && x < width) each((size_t(c) * height + y) * width + x, place);
                        }
    }
};

template <class T> std::vector<T> unfolded(const Sizes &s, const T *image) {
    std::vector<T> u(s.taps() * s.positions());
    s.over_taps([&](size_t at, size_t place) { u[place] = image[at]; });
    return u;
}

template <class T> void forward(const Sizes &s, const T *x, const T *w, T *y) {
    int k = s.taps(), n = s.positions();
    for (int b = 0; b < s.batch; b++) {
        auto u = unfolded(s, x + b * s.input());
        product(ROWS, PLAIN, PLAIN, s.c_out, n, k, T(1), w, k, u.data(), n, T(0), y + b * s.output(), n);
    }
}
template <class T> void to_input(const Sizes &s, const T *w, const T *dy, T *dx) {
    int k = s.taps(), n = s.positions();
    std::vector<T> u(size_t(k) * n);
    for (int b = 0; b < s.batch; b++) {
        product(ROWS, TURNED, PLAIN, k, n, s.c_out, T(1), w, k, dy + b * s.output(), n, T(0), u.data(), n);
        T *image = dx + b * s.input();
        std::fill(image, image + s.input(), T(0));
        s.over_taps([&](size_t at, size_t place) { image[at] += u[place]; });
    }
}
// Summed from the image `first` on.
template <class T> void to_weight(const Sizes &s, int first, const T *x, const T *dy, T *dw) {
    int k = s.taps(), n = s.positions();
    std::fill(dw, dw + s.weight(), T(0));
    for (int i = 0; i < s.batch; i++) {
        int b = (first + i) % s.batch;
        auto u = unfolded(s, x + b * s.input());
        product(ROWS, PLAIN, TURNED, s.c_out, k, n, T(1), dy + b * s.output(), n, u.data(), n, T(1), dw, k);
    }
}

// Runs `body(a, b, out)` in the tensors' type, bf16 in f32.
template <class Body> cudnnStatus_t typed(cudnnDataType_t type, const void *a, size_t a_count, const void *b, size_t b_count, void *out,
                                          size_t count, Body body) {
    switch (type) {
    case CUDNN_DATA_FLOAT: body(static_cast<const float *>(a), static_cast<const float *>(b), static_cast<float *>(out)); break;
    case CUDNN_DATA_DOUBLE: body(static_cast<const double *>(a), static_cast<const double *>(b), static_cast<double *>(out)); break;
    case CUDNN_DATA_BFLOAT16: {
        auto wide = [](const void *from, size_t n) {
            std::vector<float> values(n);
            for (size_t i = 0; i < n; i++) values[i] = of_half(static_cast<const Half *>(from)[i]);
            return values;
        };
        auto left = wide(a, a_count), right = wide(b, b_count);
        std::vector<float> result(count);
        body(static_cast<const float *>(left.data()), static_cast<const float *>(right.data()), result.data());
        for (size_t i = 0; i < count; i++) static_cast<Half *>(out)[i] = to_half(result[i]);
        break;
    }
    default: return CUDNN_STATUS_NOT_SUPPORTED;
    }
    return CUDNN_STATUS_SUCCESS;
}

bool unordered(cudnnConvolutionBwdFilterAlgo_t algorithm) {
    return algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0 || algorithm == CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3;
}

// Above 0 and up to 1.
template <class T> curandStatus_t uniform(T *values, size_t count) {
    static std::mt19937 generator;
    for (size_t i = 0; i < count; i++) values[i] = 1 - std::generate_canonical<T, 24>(generator);
    return CURAND_STATUS_SUCCESS;
}

template <class T> const T &at(const void *descriptor) { return *static_cast<const T *>(descriptor); }
template <class T, class Out> cudnnStatus_t created(Out *out) {
    *out = reinterpret_cast<Out>(new T{});
    return CUDNN_STATUS_SUCCESS;
}
template <class T> cudnnStatus_t destroyed(void *descriptor) {
    delete static_cast<T *>(descriptor);
    return CUDNN_STATUS_SUCCESS;
}

} // namespace

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t *handle) {
    *handle = reinterpret_cast<cudnnHandle_t>(1);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t, cudaStream_t) { return CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t *out) { return created<Tensor>(out); }
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t *out) { return created<Tensor>(out); }
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t *out) { return created<Convolution>(out); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t it) { return destroyed<Tensor>(it); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t it) { return destroyed<Tensor>(it); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t it) { return destroyed<Convolution>(it); }
cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t it, cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c,
                                         int h, int w) {
    if (format != CUDNN_TENSOR_NCHW) return CUDNN_STATUS_NOT_SUPPORTED;
    *reinterpret_cast<Tensor *>(it) = {type, {n, c, h, w}};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetTensor4dDescriptorEx(cudnnTensorDescriptor_t, cudnnDataType_t, int, int, int, int, int, int, int, int) {
    return CUDNN_STATUS_NOT_SUPPORTED;
}
cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t it, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c,
                                         int h, int w) {
    if (format != CUDNN_TENSOR_NCHW) return CUDNN_STATUS_NOT_SUPPORTED;
    *reinterpret_cast<Tensor *>(it) = {type, {k, c, h, w}};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t it, int pad_h, int pad_w, int stride_h, int stride_w,
                                              int dilation_h, int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t) {
    if (pad_h != pad_w || stride_h != stride_w || dilation_h != 1 || dilation_w != 1 || mode != CUDNN_CROSS_CORRELATION)
        return CUDNN_STATUS_NOT_SUPPORTED;
    *reinterpret_cast<Convolution *>(it) = {pad_h, stride_h};
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t, cudnnMathType_t) { return CUDNN_STATUS_SUCCESS; }

// The first algorithm of each list is offered: of the ways back those whose sums have no order. That for weights begins at an image
// drawn by chance, so that what takes it does not repeat.
cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t,
                                                     const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, int,
                                                     int *count, cudnnConvolutionFwdAlgoPerf_t *found) {
    *count = 1;
    *found = {};
    found->algo = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t,
                                                          const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t, int,
                                                          int *count, cudnnConvolutionBwdDataAlgoPerf_t *found) {
    *count = 1;
    *found = {};
    found->algo = CUDNN_CONVOLUTION_BWD_DATA_ALGO_0;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnTensorDescriptor_t,
                                                            const cudnnConvolutionDescriptor_t, const cudnnFilterDescriptor_t, int,
                                                            int *count, cudnnConvolutionBwdFilterAlgoPerf_t *found) {
    *count = 1;
    *found = {};
    found->algo = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t, const cudnnFilterDescriptor_t,
                                                      const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t,
                                                      cudnnConvolutionFwdAlgo_t, size_t *bytes) {
    *bytes = 0;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t, const cudnnFilterDescriptor_t, const cudnnTensorDescriptor_t,
                                                           const cudnnConvolutionDescriptor_t, const cudnnTensorDescriptor_t,
                                                           cudnnConvolutionBwdDataAlgo_t, size_t *bytes) {
    *bytes = 64;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t, const cudnnTensorDescriptor_t,
                                                             const cudnnTensorDescriptor_t, const cudnnConvolutionDescriptor_t,
                                                             const cudnnFilterDescriptor_t, cudnnConvolutionBwdFilterAlgo_t,
                                                             size_t *bytes) {
    *bytes = 0;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t, const void *, const cudnnTensorDescriptor_t x_as, const void *x,
                                      const cudnnFilterDescriptor_t w_as, const void *w, const cudnnConvolutionDescriptor_t conv,
                                      cudnnConvolutionFwdAlgo_t, void *, size_t, const void *, const cudnnTensorDescriptor_t y_as,
                                      void *y) {
    Sizes s(at<Tensor>(x_as), at<Tensor>(w_as), at<Tensor>(y_as), at<Convolution>(conv));
    count("convolution forward", s.operations());
    return typed(at<Tensor>(x_as).type, x, s.batch * s.input(), w, s.weight(), y, s.batch * s.output(),
                 [&](auto *x, auto *w, auto *y) { forward(s, x, w, y); });
}
cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t, const void *, const cudnnFilterDescriptor_t w_as, const void *w,
                                           const cudnnTensorDescriptor_t y_as, const void *dy, const cudnnConvolutionDescriptor_t conv,
                                           cudnnConvolutionBwdDataAlgo_t, void *, size_t, const void *,
                                           const cudnnTensorDescriptor_t x_as, void *dx) {
    Sizes s(at<Tensor>(x_as), at<Tensor>(w_as), at<Tensor>(y_as), at<Convolution>(conv));
    count("convolution to the input", s.operations());
    return typed(at<Tensor>(x_as).type, w, s.weight(), dy, s.batch * s.output(), dx, s.batch * s.input(),
                 [&](auto *w, auto *dy, auto *dx) { to_input(s, w, dy, dx); });
}
cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t, const void *, const cudnnTensorDescriptor_t x_as, const void *x,
                                             const cudnnTensorDescriptor_t y_as, const void *dy,
                                             const cudnnConvolutionDescriptor_t conv, cudnnConvolutionBwdFilterAlgo_t algorithm,
                                             void *, size_t, const void *, const cudnnFilterDescriptor_t w_as, void *dw) {
    Sizes s(at<Tensor>(x_as), at<Tensor>(w_as), at<Tensor>(y_as), at<Convolution>(conv));
    int first = unordered(algorithm) ? std::random_device{}() % s.batch : 0;
    count(unordered(algorithm) ? "convolution to the weight, unordered" : "convolution to the weight", s.operations());
    return typed(at<Tensor>(x_as).type, x, s.batch * s.input(), dy, s.batch * s.output(), dw, s.weight(),
                 [&](auto *x, auto *dy, auto *dw) { to_weight(s, first, x, dy, dw); });
}

// ---- cuBLAS, column after column

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle) {
    *handle = reinterpret_cast<cublasHandle_t>(1);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }

cublasStatus_t cublasDgemmStridedBatched(cublasHandle_t, cublasOperation_t a_as, cublasOperation_t b_as, int m, int n, int k,
                                         const double *alpha, const double *a, int lda, long long a_step, const double *b, int ldb,
                                         long long b_step, const double *beta, double *c, int ldc, long long c_step, int batch) {
    count("product f64", 2.0 * m * n * k * batch);
    auto as = [](cublasOperation_t operation) { return operation == CUBLAS_OP_N ? PLAIN : TURNED; };
    for (int i = 0; i < batch; i++)
        product(COLUMNS, as(a_as), as(b_as), m, n, k, *alpha, a + i * a_step, lda, b + i * b_step, ldb, *beta, c + i * c_step, ldc);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t, cublasOperation_t a_as, cublasOperation_t b_as, int m, int n, int k,
                                          const void *alpha, const void *a, cudaDataType a_type, int lda, long long a_step,
                                          const void *b, cudaDataType b_type, int ldb, long long b_step, const void *beta, void *c,
                                          cudaDataType c_type, int ldc, long long c_step, int batch, cublasComputeType_t,
                                          cublasGemmAlgo_t) {
    count(a_type == CUDA_R_32F ? "product f32" : "product bf16", 2.0 * m * n * k * batch);
    auto as = [](cublasOperation_t operation) { return operation == CUBLAS_OP_N ? PLAIN : TURNED; };
    if (a_type != b_type || a_type != c_type) return CUBLAS_STATUS_NOT_SUPPORTED;
    float s = *static_cast<const float *>(alpha), t = *static_cast<const float *>(beta);
    for (int i = 0; i < batch; i++) {
        if (a_type == CUDA_R_32F) {
            product(COLUMNS, as(a_as), as(b_as), m, n, k, s, static_cast<const float *>(a) + i * a_step, lda,
                    static_cast<const float *>(b) + i * b_step, ldb, t, static_cast<float *>(c) + i * c_step, ldc);
        } else if (a_type == CUDA_R_16BF) {
            auto left = static_cast<const Half *>(a) + i * a_step, right = static_cast<const Half *>(b) + i * b_step;
            auto out = static_cast<Half *>(c) + i * c_step;
            for (int column = 0; column < n; column++)
                for (int row = 0; row < m; row++) {
                    float sum = 0;
                    for (int l = 0; l < k; l++)
                        sum += of_half(left[a_as == CUBLAS_OP_N ? row + size_t(l) * lda : l + size_t(row) * lda]) *
                               of_half(right[b_as == CUBLAS_OP_N ? l + size_t(column) * ldb : column + size_t(l) * ldb]);
                    Half &to = out[row + size_t(column) * ldc];
                    to = to_half(s * sum + (t == 0 ? 0 : t * of_half(to)));
                }
        } else {
            return CUBLAS_STATUS_NOT_SUPPORTED;
        }
    }
    return CUBLAS_STATUS_SUCCESS;
}

// ---- cuRAND: candle makes a generator with each device, and nothing here draws from it

curandStatus_t curandCreateGenerator(curandGenerator_t *generator, curandRngType_t) {
    *generator = reinterpret_cast<curandGenerator_t>(1);
    return CURAND_STATUS_SUCCESS;
}
curandStatus_t curandDestroyGenerator(curandGenerator_t) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetPseudoRandomGeneratorSeed(curandGenerator_t, unsigned long long) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandSetStream(curandGenerator_t, cudaStream_t) { return CURAND_STATUS_SUCCESS; }
curandStatus_t curandGenerateUniform(curandGenerator_t, float *values, size_t count) { return uniform(values, count); }
curandStatus_t curandGenerateUniformDouble(curandGenerator_t, double *values, size_t count) { return uniform(values, count); }

// ---- NVRTC: a program's code is the path of a library

struct _nvrtcProgram {
    std::string source, library, log;
};
nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *, int, const char *const *, const char *const *) {
    *program = new _nvrtcProgram{source, "", ""};
    return NVRTC_SUCCESS;
}
nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program) {
    delete *program;
    return NVRTC_SUCCESS;
}
nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char *const *options) {
    const char *compiler = getenv("EMULATED_COMPILER"), *folder = getenv("EMULATED_KERNELS");
    if (!compiler || !folder) return NVRTC_ERROR_INTERNAL_ERROR;
    std::string said;
    for (int i = 0; i < count; i++) said += std::string(" '") + options[i] + "'";
    // One library for each source and options, however many processes want it.
    std::string path = std::string(folder) + "/" + std::to_string(std::hash<std::string>()(program->source + said));
    program->library = path + ".so";
    if (std::ifstream(program->library)) return NVRTC_SUCCESS;
    std::ofstream(path + ".cu") << program->source;
    std::string command = std::string(compiler) + " " + path + ".cu " + program->library + said;
    return system(command.c_str()) == 0 ? NVRTC_SUCCESS : NVRTC_ERROR_COMPILATION;
}
nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *size) {
    *size = program->library.size() + 1;
    return NVRTC_SUCCESS;
}
nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *code) {
    memcpy(code, program->library.c_str(), program->library.size() + 1);
    return NVRTC_SUCCESS;
}
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *size) {
    *size = program->log.size() + 1;
    return NVRTC_SUCCESS;
}
nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log) {
    memcpy(log, program->log.c_str(), program->log.size() + 1);
    return NVRTC_SUCCESS;
}

} // extern "C"
