// What a proof computes, for host and device alike. The specification, bit for bit, is shared/src/proof/README.md.
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define QUBIX_BOTH __host__ __device__ inline
#else
#define QUBIX_BOTH inline
#endif

namespace qubix {

constexpr uint32_t ROW_WORDS = 32;
constexpr uint32_t BLOCK_ROWS = 512;
constexpr uint32_t BLOCK_WORDS = ROW_WORDS * BLOCK_ROWS;
constexpr uint64_t BLOCK_BYTES = BLOCK_WORDS * 4ull;
constexpr uint64_t BLOCKS_PER_MIB = (1024 * 1024) / BLOCK_BYTES;
constexpr uint32_t MIXING_PASSES = 2;
constexpr uint32_t ROUND_STEPS = 256;
constexpr uint32_t MODULUS = 65521;

constexpr uint32_t GOLDEN = 0x9e3779b1u;
constexpr uint32_t LANE_SPREAD = 0x85ebca77u;
constexpr uint32_t MIX_A = 0x7feb352du;
constexpr uint32_t MIX_B = 0x846ca68bu;

/** Eight words of a key; a plain structure, so that a kernel takes it by value. */
struct Key {
  uint32_t words[8];
};

struct Lane {
  uint32_t a, b;
};

QUBIX_BOTH uint32_t rotate_left(uint32_t x, unsigned by) { return (x << by) | (x >> (32 - by)); }

QUBIX_BOTH uint32_t scramble(uint32_t x) {
  x ^= x >> 16;
  x *= MIX_A;
  x ^= x >> 15;
  x *= MIX_B;
  return x ^ (x >> 16);
}

// ── Memory: one word of a row, given the words of the row before ──

QUBIX_BOTH uint32_t seed_word(const Key &key, uint32_t block, uint32_t lane) {
  return scramble((key.words[lane & 7] ^ (block * GOLDEN)) + (lane + 1) * LANE_SPREAD);
}

QUBIX_BOTH uint32_t first_word(uint32_t own, uint32_t beside, uint32_t row) {
  uint32_t x = own + rotate_left(beside, 11) + row;
  x = (x ^ (x >> 15)) * MIX_A;
  x = (x ^ (x >> 13)) * MIX_B;
  return x ^ (x >> 16);
}

QUBIX_BOTH uint32_t mixed_word(uint32_t own, uint32_t beside, uint32_t here, uint32_t far) {
  uint32_t x = (own + rotate_left(beside, 11)) ^ here;
  x = (x ^ (x >> 15)) * MIX_A + far;
  x = (x ^ (x >> 13)) * MIX_B;
  return x ^ (x >> 16);
}

// ── Walks ──

QUBIX_BOTH Lane start_lane(const Key &key, uint32_t lane) {
  const uint32_t spread = (lane + 1) * GOLDEN;
  return {scramble(scramble(spread ^ key.words[0]) ^ key.words[1]),
          scramble(scramble(spread ^ key.words[2]) ^ key.words[3])};
}

/** Which word of the whole memory a lane reads next. */
QUBIX_BOTH uint64_t word_read(Lane lane, uint64_t blocks) {
  const uint64_t block = ((uint64_t)(lane.a >> 6) * blocks) >> 26;
  return block * BLOCK_WORDS + (lane.b & (BLOCK_WORDS - 1));
}

QUBIX_BOTH Lane step_lane(Lane lane, uint32_t value) {
  return {scramble((lane.a ^ value) + lane.b), scramble((lane.b + value) ^ rotate_left(lane.a, 16))};
}

// ── Matrices ──

QUBIX_BOTH uint32_t matrix_word(const Key &key, uint32_t index) {
  return scramble(scramble(index ^ key.words[0]) + key.words[1]);
}

/** Four products of bytes, added to a sum. */
QUBIX_BOTH uint32_t dot4(uint32_t a, uint32_t b, uint32_t sum) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 610
  return __dp4a(a, b, sum);
#else
  for (unsigned shift = 0; shift < 32; shift += 8) sum += ((a >> shift) & 0xff) * ((b >> shift) & 0xff);
  return sum;
#endif
}

/** From the sums over lower and upper bytes, each below 2^28 (4,096 x 255 x 255). */
QUBIX_BOTH uint32_t reduce(uint32_t low, uint32_t high) {
  return (uint32_t)((low + 256ull * high) % MODULUS);
}

}  // namespace qubix
