// The kernels. nvcc compiles them for the device; with host_runtime.h any C++ compiler makes them run on a host, thread by thread.
#pragma once
#include "algorithm.h"

namespace qubix {

constexpr unsigned WARP = 32;
constexpr unsigned WHOLE_WARP = 0xffffffffu;

constexpr unsigned FILL_THREADS = 128;
constexpr unsigned WALK_THREADS = 128;

/** A warp makes one block after the other. A thread reads only words that it has written itself: its own column. */
__global__ void fill_kernel(uint32_t *memory, uint64_t blocks, Key key) {
  const uint32_t lane = threadIdx.x % WARP;
  const uint32_t next = (lane + 1) % WARP;
  const uint64_t warps = (uint64_t)gridDim.x * (blockDim.x / WARP);
  for (uint64_t block = (uint64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; block < blocks; block += warps) {
    uint32_t *column = memory + block * BLOCK_WORDS + lane;
    uint32_t before = seed_word(key, (uint32_t)block, lane);
    for (uint32_t row = 0; row < BLOCK_ROWS; row++) {
      const uint32_t beside = __shfl_sync(WHOLE_WARP, before, next);
      before = first_word(before, beside, row);
      column[row * ROW_WORDS] = before;
    }
    for (uint32_t pass = 0; pass < MIXING_PASSES; pass++) {
      for (uint32_t row = 0; row < BLOCK_ROWS; row++) {
        const uint32_t beside = __shfl_sync(WHOLE_WARP, before, next);
        const uint32_t chosen = __shfl_sync(WHOLE_WARP, before, 0) % BLOCK_ROWS;
        const uint32_t here = column[row * ROW_WORDS];
        before = mixed_word(before, beside, here, column[chosen * ROW_WORDS]);
        column[row * ROW_WORDS] = before;
      }
    }
  }
}

/** A thread walks one lane. */
__global__ void walk_kernel(const uint32_t *memory, uint64_t blocks, Key key, uint32_t lanes, uint32_t steps, Lane *ends) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index >= lanes) return;
  Lane lane = start_lane(key, index);
  for (uint32_t step = 0; step < steps; step++) lane = step_lane(lane, memory[word_read(lane, blocks)]);
  ends[index] = lane;
}

// X is kept transposed, as two planes of bytes: word w of column j holds the lower (upper) bytes of rows 4w…4w+3 of that column. So a factor and
// the bytes it meets lie side by side, as dp4a wants them, and so does what a thread has to write.

constexpr unsigned TILE = 64;
constexpr unsigned TILE_WORDS = TILE / 4;
constexpr unsigned TILE_THREADS = 16;
constexpr unsigned PER_THREAD = TILE / TILE_THREADS;

/** One tile of 64 x 64 entries of A x X; a thread makes 4 rows of 4 columns. A is made where it is needed, and never stored. `size` is a multiple of 16. */
__global__ void multiply_kernel(Key key, uint32_t size, const uint32_t *low, const uint32_t *high, uint32_t *low_out,
                                uint32_t *high_out) {
  __shared__ uint32_t factors[TILE][TILE_WORDS + 1];
  __shared__ uint32_t lows[TILE][TILE_WORDS + 1];
  __shared__ uint32_t highs[TILE][TILE_WORDS + 1];
  const uint32_t words = size / 4;
  const uint32_t row0 = blockIdx.y * TILE;
  const uint32_t column0 = blockIdx.x * TILE;
  const uint32_t thread = threadIdx.y * TILE_THREADS + threadIdx.x;
  uint32_t low_sums[PER_THREAD][PER_THREAD] = {};
  uint32_t high_sums[PER_THREAD][PER_THREAD] = {};

  for (uint32_t word0 = 0; word0 < words; word0 += TILE_WORDS) {
    for (uint32_t item = thread; item < TILE * TILE_WORDS; item += TILE_THREADS * TILE_THREADS) {
      const uint32_t line = item / TILE_WORDS;
      const uint32_t word = item % TILE_WORDS;
      const bool inside = word0 + word < words;
      const bool has_row = inside && row0 + line < size;
      const bool has_column = inside && column0 + line < size;
      factors[line][word] = has_row ? matrix_word(key, (row0 + line) * words + word0 + word) : 0;
      lows[line][word] = has_column ? low[(column0 + line) * words + word0 + word] : 0;
      highs[line][word] = has_column ? high[(column0 + line) * words + word0 + word] : 0;
    }
    __syncthreads();
    for (uint32_t word = 0; word < TILE_WORDS; word++) {
      for (uint32_t c = 0; c < PER_THREAD; c++) {
        // Columns are spread over the tile, so that neighbours read other banks.
        const uint32_t lower = lows[c * TILE_THREADS + threadIdx.x][word];
        const uint32_t upper = highs[c * TILE_THREADS + threadIdx.x][word];
        for (uint32_t r = 0; r < PER_THREAD; r++) {
          const uint32_t factor = factors[threadIdx.y * PER_THREAD + r][word];
          low_sums[r][c] = dot4(factor, lower, low_sums[r][c]);
          high_sums[r][c] = dot4(factor, upper, high_sums[r][c]);
        }
      }
    }
    __syncthreads();
  }

  const uint32_t row = row0 + threadIdx.y * PER_THREAD;
  if (row >= size) return;
  for (uint32_t c = 0; c < PER_THREAD; c++) {
    const uint32_t column = column0 + c * TILE_THREADS + threadIdx.x;
    if (column >= size) continue;
    uint32_t lower = 0;
    uint32_t upper = 0;
    for (uint32_t r = 0; r < PER_THREAD; r++) {
      const uint32_t entry = reduce(low_sums[r][c], high_sums[r][c]);
      lower |= (entry & 0xff) << (8 * r);
      upper |= (entry >> 8) << (8 * r);
    }
    low_out[column * words + row / 4] = lower;
    high_out[column * words + row / 4] = upper;
  }
}

}  // namespace qubix
