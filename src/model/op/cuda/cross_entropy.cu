// Softmax cross-entropy of logits [B, C], and its way back.

// A warp takes a row: logits = product + bias, gradient = (softmax − one of the label) / B; into `rows` the loss in nats, [B], and
// then 1 where the label has the first of the largest logits, [B]. A label that is no class has a loss that is no number.
KERNEL cross_entropy(const REAL *product, const REAL *bias, const unsigned *labels, REAL *logits, REAL *gradient, double *rows,
                     unsigned batch, unsigned classes) {
    const unsigned whole = 0xffffffff, none = 0xffffffff;
    unsigned row = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x % 32;
    if (row >= batch) return;
    product += row * classes;
    logits += row * classes;
    gradient += row * classes;
    ACC largest = -__int_as_float(0x7f800000);
    unsigned first = none;
    for (unsigned c = lane; c < classes; c += 32) {
        ACC logit = of(product[c]) + of(bias[c]);
        logits[c] = to(logit);
        if (logit > largest) {
            largest = logit;
            first = c;
        }
    }
    for (int step = 16; step > 0; step /= 2) {
        ACC other = __shfl_xor_sync(whole, largest, step);
        unsigned place = __shfl_xor_sync(whole, first, step);
        if (other > largest || (other == largest && place < first)) {
            largest = other;
            first = place;
        }
    }
    ACC sum = 0;
    for (unsigned c = lane; c < classes; c += 32) sum += exp(of(product[c]) + of(bias[c]) - largest);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(whole, sum, step);
    unsigned label = labels[row];
    for (unsigned c = lane; c < classes; c += 32) {
        ACC share = exp(of(product[c]) + of(bias[c]) - largest) / sum;
        gradient[c] = to((share - ACC(c == label)) / ACC(batch));
    }
    if (lane == 0) {
        bool known = label < classes;
        double own = known ? double(of(product[label]) + of(bias[label])) : double(__int_as_float(0x7fffffff));
        rows[row] = double(largest) + log(double(sum)) - own;
        rows[batch + row] = first == label;
    }
}

// Of a batch: the mean loss and how many are right, and the gradient of the bias, the sum over images.
KERNEL cross_entropy_totals(const double *rows, const REAL *gradient, double *totals, REAL *to_bias, unsigned batch,
                            unsigned classes) {
    EACH(c, classes) {
        double sum = 0;
        for (unsigned b = 0; b < batch; b++) sum += of(gradient[b * classes + c]);
        to_bias[c] = to(ACC(sum));
    }
    if (blockIdx.x > 0) return;
    for (unsigned k = 0; k < 2; k++) {
        double sum = 0;
        for (unsigned b = threadIdx.x; b < batch; b += blockDim.x) sum += rows[k * batch + b];
        sum = block_sum(sum);
        if (threadIdx.x == 0) totals[k] = k ? sum : sum / batch;
    }
}
