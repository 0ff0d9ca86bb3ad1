// As much of CUDA as the kernels use, on a host: each thread of a thread block is a fibre, and all of them run to the next barrier in turn. Slow. It
// is there so that the very code of the kernels (indices, tiles, exchanges within a warp) can be tested on a machine without a GPU.
// A kernel may use either __syncthreads or __shfl_sync, and all threads that still run must meet each of them together.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#define __global__ static
#define __shared__ static

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};
static Dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace qubix::host {

constexpr size_t STACK_BYTES = 64 * 1024;

struct Fibre {
  ucontext_t context;
  jmp_buf here;
  bool begun = false;
  std::vector<char> stack = std::vector<char>(STACK_BYTES);
  Dim3 index;
  uint32_t said[2] = {0, 0};
  unsigned exchanges = 0;
  bool done = false;
};

static ucontext_t first_scheduler;
static jmp_buf scheduler;
static std::vector<Fibre> fibres;
static Fibre *running;
static std::function<void()> body;

static void enter() {
  body();
  running->done = true;
  _longjmp(scheduler, 1);
}

/** Back to the others. Jumps, because swapcontext asks the system each time. */
__attribute__((noinline)) static void barrier() {
  if (_setjmp(running->here) == 0) _longjmp(scheduler, 1);
}

/** Runs a fibre to its next barrier, or to its end. */
__attribute__((noinline)) static void resume(Fibre &fibre) {
  running = &fibre;
  threadIdx = fibre.index;
  if (_setjmp(scheduler) != 0) return;
  if (fibre.begun) _longjmp(fibre.here, 1);
  fibre.begun = true;
  swapcontext(&first_scheduler, &fibre.context);
}

static uint32_t exchange(uint32_t value, uint32_t from) {
  Fibre &own = *running;
  const unsigned turn = own.exchanges++ % 2;
  own.said[turn] = value;
  barrier();
  const size_t first = (size_t)(&own - fibres.data()) / 32 * 32;
  return fibres[first + from % 32].said[turn];
}

static void run_block() {
  const unsigned count = blockDim.x * blockDim.y;
  fibres.resize(count);
  for (unsigned i = 0; i < count; i++) {
    Fibre &fibre = fibres[i];
    fibre.done = false;
    fibre.begun = false;
    fibre.exchanges = 0;
    fibre.index = {i % blockDim.x, i / blockDim.x, 0};
    getcontext(&fibre.context);
    fibre.context.uc_stack.ss_sp = fibre.stack.data();
    fibre.context.uc_stack.ss_size = fibre.stack.size();
    fibre.context.uc_link = nullptr;
    makecontext(&fibre.context, enter, 0);
  }
  for (bool alive = true; alive;) {
    alive = false;
    for (Fibre &fibre : fibres) {
      if (fibre.done) continue;
      resume(fibre);
      alive = alive || !fibre.done;
    }
  }
}

static void launch(Dim3 grid, Dim3 block, std::function<void()> kernel) {
  gridDim = grid;
  blockDim = block;
  body = std::move(kernel);
  for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++) {
    for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) run_block();
  }
}

}  // namespace qubix::host

static inline void __syncthreads() { qubix::host::barrier(); }
static inline uint32_t __shfl_sync(unsigned, uint32_t value, uint32_t from) { return qubix::host::exchange(value, from); }

#define QUBIX_LAUNCH(kernel, grid, block, ...) qubix::host::launch(grid, block, [=] { kernel(__VA_ARGS__); })

namespace qubix {

/** The device that is none. */
struct Device {
  static constexpr const char *KIND = "emulated";
  static void open(const std::string &) {}
  static std::string name() { return "emulated"; }
  static unsigned processors() { return 2; }
  static uint64_t free_bytes() { return 64ull << 20; }
  static void *try_allocate(uint64_t bytes) { return std::malloc(bytes); }
  static void release(void *pointer) { std::free(pointer); }
  static void to_device(void *to, const void *from, size_t bytes) { std::memcpy(to, from, bytes); }
  static void to_host(void *to, const void *from, size_t bytes) { std::memcpy(to, from, bytes); }
  static void wait() {}
};

}  // namespace qubix
