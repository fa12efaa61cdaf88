// The driver of a card that is the processor: memory, modules and launches, of CUDA's driver API what ascribe and candle call.
//
// Everything is done at once, in the order of the calls. Memory is handed out full of NaN and with a margin behind it; a margin that
// was written to, a thread that waits for one that ended, an unknown kernel: each ends the process and says why. A module's code is
// the path of a library that compile.sh built of its source.

#include <cuda.h>

#include <algorithm>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <mutex>
#include <string>
#include <sys/mman.h>
#include <vector>

namespace {

std::recursive_mutex whole;
using Lock = std::lock_guard<std::recursive_mutex>;

[[noreturn]] void stop(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "emulated device: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

// ---- what was done, written to the file that EMULATED_COUNTS names: calls, and bytes or threads or operations

struct Count {
    size_t calls = 0;
    double amount = 0;
};

struct Counts {
    std::map<std::string, Count> all;
    ~Counts() {
        const char *path = getenv("EMULATED_COUNTS");
        FILE *file = path ? fopen(path, "w") : nullptr;
        if (!file) return;
        for (auto &[what, count] : all) fprintf(file, "%s\t%zu\t%.0f\n", what.c_str(), count.calls, count.amount);
        fclose(file);
    }
} counts;

} // namespace

extern "C" void count(const char *what, double amount) {
    Lock lock(whole);
    Count &it = counts.all[what];
    it.calls++;
    it.amount += amount;
}

namespace {

// ---- memory

constexpr size_t MARGIN = 256;
constexpr unsigned char UNWRITTEN = 0xff, BEHIND = 0xa5;
const char *const mebibytes = getenv("EMULATED_MIB");
const size_t CAPACITY = (mebibytes ? strtoull(mebibytes, nullptr, 10) : 16384) << 20;
std::map<CUdeviceptr, size_t> allocations;
size_t held = 0;

CUdeviceptr allocate(size_t bytes) {
    Lock lock(whole);
    if (held + bytes > CAPACITY) return 0;
    size_t room = (bytes + 2 * MARGIN - 1) / MARGIN * MARGIN;
    auto *memory = static_cast<unsigned char *>(aligned_alloc(MARGIN, room));
    if (!memory) return 0;
    memset(memory, UNWRITTEN, bytes);
    memset(memory + bytes, BEHIND, room - bytes);
    allocations[CUdeviceptr(memory)] = bytes;
    count("allocation", bytes);
    held += bytes;
    double &most = counts.all["held at most"].amount;
    most = std::max(most, double(held));
    return CUdeviceptr(memory);
}

void release(CUdeviceptr address) {
    Lock lock(whole);
    auto it = allocations.find(address);
    if (it == allocations.end()) stop("memory was freed that is not allocated");
    auto *memory = reinterpret_cast<unsigned char *>(address);
    size_t bytes = it->second, room = (bytes + 2 * MARGIN - 1) / MARGIN * MARGIN;
    for (size_t i = bytes; i < room; i++)
        if (memory[i] != BEHIND) stop("byte %zu of an allocation of %zu was written", i, bytes);
    held -= bytes;
    allocations.erase(it);
    free(memory);
}

// Where bytes are read or written for a caller: within one allocation.
unsigned char *within(CUdeviceptr address, size_t bytes) {
    Lock lock(whole);
    auto it = allocations.upper_bound(address);
    if (it == allocations.begin()) stop("no allocation holds the address of %zu bytes", bytes);
    --it;
    if (address + bytes > it->first + it->second) stop("%zu bytes reach beyond their allocation", bytes);
    return reinterpret_cast<unsigned char *>(address);
}

} // namespace

// ---- threads of a block

struct Index {
    unsigned x, y, z;
};
extern "C" {
Index threadIdx, blockIdx, blockDim, gridDim;
char shared_memory[1 << 16];
}

namespace {

constexpr size_t STACK = 64 << 10;
constexpr unsigned WARP = 32, MOST = 1024;
enum class State { Ready, MeetsWarp, MeetsBlock, Ended };
struct Thread {
    // The top of its stack while another one runs.
    void *stack;
    State state;
};
Thread threads[MOST];
char *stacks = nullptr;
uint64_t slots[MOST];
void *scheduler = nullptr;
unsigned running = 0;
void (*kernel)(void **) = nullptr;
void **arguments = nullptr;
const bool backwards = getenv("EMULATED_ORDER") && getenv("EMULATED_ORDER")[0] == '-';
// Whether a thread of this launch runs on a stack of its own, from which it can be switched away.
bool on_own_stack = false;

// Goes on with what left its stack at `to`, once what a called function must keep is on this one, whose top is left in `from`.
extern "C" void switch_stacks(void **from, void *to);
asm(R"(
.text
switch_stacks:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

void place(unsigned thread) {
    running = thread;
    threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

void begin() {
    kernel(arguments);
    threads[running].state = State::Ended;
    switch_stacks(&threads[running].stack, scheduler);
}

void resume(unsigned thread) {
    place(thread);
    switch_stacks(&scheduler, threads[thread].stack);
}

// A stack that `switch_stacks` goes on from at the start of `begin`: six registers, where to go, and nowhere to return to.
void prepare(unsigned thread) {
    auto *top = reinterpret_cast<void **>(stacks + STACK * (thread + 1)) - 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void *>(begin);
    threads[thread] = {top, State::Ready};
}

// Lets those go on whose block, or whose warp, has met; whether there were any.
bool released(unsigned count) {
    auto meets = [&](unsigned from, unsigned to, State where) {
        bool any = false;
        for (unsigned i = from; i < to; i++) {
            if (threads[i].state != where && threads[i].state != State::Ended) return false;
            any |= threads[i].state == where;
        }
        if (!any) return false;
        for (unsigned i = from; i < to; i++)
            if (threads[i].state == where) threads[i].state = State::Ready;
        return true;
    };
    bool any = false;
    for (unsigned first = 0; first < count; first += WARP)
        any |= meets(first, std::min(first + WARP, count), State::MeetsWarp);
    return any || meets(0, count, State::MeetsBlock);
}

void run_block(unsigned count) {
    on_own_stack = true;
    prepare(0);
    resume(0);
    if (threads[0].state == State::Ended) {
        // Where the first thread waits for nobody no other does.
        on_own_stack = false;
        for (unsigned i = 1; i < count; i++) {
            place(i);
            kernel(arguments);
        }
        return;
    }
    for (unsigned i = 1; i < count; i++) prepare(i);
    for (;;) {
        bool all_ended = true;
        for (unsigned i = 0; i < count; i++) {
            unsigned thread = backwards ? count - 1 - i : i;
            if (threads[thread].state == State::Ready) resume(thread);
            all_ended &= threads[thread].state == State::Ended;
        }
        if (all_ended) return;
        if (!released(count)) stop("threads of a block wait in different places");
    }
}

} // namespace

extern "C" void meet(bool warp) {
    if (!on_own_stack) stop("a thread waits where the block's first one did not");
    Thread &it = threads[running];
    unsigned self = running;
    it.state = warp ? State::MeetsWarp : State::MeetsBlock;
    switch_stacks(&it.stack, scheduler);
    place(self);
}

extern "C" uint64_t *warp_slot(unsigned lane) { return &slots[running / WARP * WARP + lane]; }

// ---- modules and launches

struct CUmod_st {
    std::vector<void *> libraries;
};
struct CUfunc_st {
    void (*call)(void **);
    std::string name;
};

namespace {

// Libraries of candle's kernels, one for each of its files.
const std::vector<void *> &known() {
    static const std::vector<void *> libraries = [] {
        std::vector<void *> found;
        const char *folder = getenv("EMULATED_KERNELS");
        if (!folder) stop("EMULATED_KERNELS names no folder of compiled kernels");
        for (const char *name : {"affine", "binary", "cast", "fill", "indexing", "reduce", "sort", "ternary", "unary"}) {
            std::string path = std::string(folder) + "/" + name + ".so";
            void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
            if (!library) stop("%s", dlerror());
            found.push_back(library);
        }
        return found;
    }();
    return libraries;
}

CUresult done() { return CUDA_SUCCESS; }

} // namespace

extern "C" {

CUresult cuInit(unsigned) { return done(); }
CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    *device = ordinal;
    return ordinal == 0 ? done() : CUDA_ERROR_INVALID_DEVICE;
}
CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
    default: *value = 0;
    }
    return done();
}
CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) {
    *context = reinterpret_cast<CUcontext>(1);
    return done();
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return done(); }
CUresult cuCtxGetCurrent(CUcontext *context) {
    *context = reinterpret_cast<CUcontext>(1);
    return done();
}
CUresult cuCtxSetCurrent(CUcontext) { return done(); }
CUresult cuCtxSynchronize() { return done(); }
CUresult cuCtxDestroy_v2(CUcontext) { return done(); }
CUresult cuGetErrorString(CUresult, const char **text) {
    *text = "emulated error";
    return done();
}

CUresult cuEventCreate(CUevent *event, unsigned) {
    *event = reinterpret_cast<CUevent>(1);
    return done();
}
CUresult cuEventDestroy_v2(CUevent) { return done(); }
CUresult cuEventRecord(CUevent, CUstream) { return done(); }
CUresult cuStreamCreate(CUstream *stream, unsigned) {
    *stream = reinterpret_cast<CUstream>(1);
    return done();
}
CUresult cuStreamDestroy_v2(CUstream) { return done(); }
CUresult cuStreamSynchronize(CUstream) {
    count("wait", 0);
    return done();
}
CUresult cuStreamWaitEvent(CUstream, CUevent, unsigned) { return done(); }
CUresult cuStreamIsCapturing(CUstream, CUstreamCaptureStatus *status) {
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return done();
}

CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    *address = allocate(bytes);
    return *address ? done() : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream) { return cuMemAlloc_v2(address, bytes); }
CUresult cuMemFree_v2(CUdeviceptr address) {
    release(address);
    return done();
}
CUresult cuMemFreeAsync(CUdeviceptr address, CUstream) { return cuMemFree_v2(address); }
CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    *total = CAPACITY;
    *free = CAPACITY - std::min(held, CAPACITY);
    return done();
}
CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice) {
    *pool = reinterpret_cast<CUmemoryPool>(1);
    return done();
}
CUresult cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute, void *value) {
    *static_cast<uint64_t *>(value) = 0;
    return done();
}
CUresult cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return done(); }
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t bytes, CUstream) {
    count("copy to the device", bytes);
    memcpy(within(to, bytes), from, bytes);
    return done();
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t bytes, CUstream) {
    count("copy to the host", bytes);
    memcpy(to, within(from, bytes), bytes);
    return done();
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
    count("copy within the device", bytes);
    memcpy(within(to, bytes), within(from, bytes), bytes);
    return done();
}
CUresult cuMemcpyPeerAsync(CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, size_t, CUstream) {
    stop("there is one device");
}
CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
    memset(within(to, bytes), value, bytes);
    return done();
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    Lock lock(whole);
    const char *code = static_cast<const char *>(image);
    *module = new CUmod_st;
    if (code[0] == '/' && code[1] != '/') {
        void *library = dlopen(code, RTLD_NOW | RTLD_LOCAL);
        if (!library) stop("%s", dlerror());
        (*module)->libraries.push_back(library);
    } else {
        (*module)->libraries = known();
    }
    return done();
}
CUresult cuModuleLoad(CUmodule *, const char *path) { stop("no modules from files: %s", path); }
CUresult cuModuleUnload(CUmodule module) {
    delete module;
    return done();
}
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    count("kernel asked for", 0);
    for (void *library : module->libraries)
        if (void *call = dlsym(library, (std::string("unpack_") + name).c_str())) {
            *function = new CUfunc_st{reinterpret_cast<void (*)(void **)>(call), name};
            return done();
        }
    stop("no kernel is called %s", name);
}
CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared, CUstream, void **given, void **) {
    Lock lock(whole);
    unsigned count = block_x * block_y * block_z;
    if (count == 0 || count > MOST || grid_x * grid_y * grid_z == 0 || grid_y > 65535 || grid_z > 65535 || shared > 48 << 10)
        return CUDA_ERROR_INVALID_VALUE;
    if (!stacks) {
        void *memory = mmap(nullptr, STACK * MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) stop("no memory for the stacks of a block");
        stacks = static_cast<char *>(memory);
    }
    ::count(("kernel " + function->name).c_str(), double(count) * grid_x * grid_y * grid_z);
    kernel = function->call;
    arguments = given;
    gridDim = {grid_x, grid_y, grid_z};
    blockDim = {block_x, block_y, block_z};
    for (unsigned z = 0; z < grid_z; z++)
        for (unsigned y = 0; y < grid_y; y++)
            for (unsigned x = 0; x < grid_x; x++) {
                blockIdx = {x, y, z};
                run_block(count);
            }
    return done();
}

} // extern "C"
