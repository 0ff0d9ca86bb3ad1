// The whole of a proof on one device: memory, rounds, product. Written once over `Device` and QUBIX_LAUNCH, which a runtime's header has defined.
#pragma once
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "failure.h"
#include "kernels.h"
#include "sha256.h"

namespace qubix {

struct Order {
  std::string uuid;
  Digest nonce{};
  uint32_t memory_mib = 0;
  uint32_t lanes = 32768;
  uint32_t chase_steps = 0;
  uint32_t matrix_size = 0;
  uint32_t matrix_steps = 0;
  uint64_t timeout_ms = 0;
};

struct Proof {
  std::vector<uint8_t> answer;
  std::string device;
  uint32_t memory_mib = 0;
  double fill_ms = 0, chase_ms = 0, multiply_ms = 0;
};

/** Left alone when all free memory is asked for: the product needs a little, and a driver that has nothing left fails in strange ways. */
constexpr uint64_t RESERVE_BYTES = 192ull << 20;
/** With less there is nothing to prove. */
constexpr uint32_t MEMORY_MIB_MIN = 1;
/** Warps a processor can have in hand, so that reads are waited for together. */
constexpr unsigned FILL_BLOCKS_PER_PROCESSOR = 16;

inline Key key_of(const std::string &label, const Digest &state, const uint32_t *number = nullptr) {
  Sha256 hash;
  hash.add(label).add(state);
  if (number != nullptr) hash.word(*number);
  const Digest digest = hash.digest();
  Key key;
  for (int i = 0; i < 8; i++) {
    key.words[i] = (uint32_t)digest[4 * i] | (uint32_t)digest[4 * i + 1] << 8 | (uint32_t)digest[4 * i + 2] << 16 |
                   (uint32_t)digest[4 * i + 3] << 24;
  }
  return key;
}

/** Memory of the device that goes when it is no longer held. */
class Held {
 public:
  explicit Held(void *pointer) : pointer_(pointer) {}
  Held(const Held &) = delete;
  Held &operator=(const Held &) = delete;
  ~Held() { Device::release(pointer_); }
  template <class T>
  T *as() const {
    return (T *)pointer_;
  }

 private:
  void *pointer_;
};

inline void *allocate(uint64_t bytes) {
  void *pointer = Device::try_allocate(bytes);
  if (pointer == nullptr) throw Failure("no_memory", "The GPU has no memory left. End what else uses it.");
  return pointer;
}

class Prover {
 public:
  explicit Prover(const Order &order) : order_(order), began_(Clock::now()) {}

  Proof run() {
    Device::open(order_.uuid);
    proof_.device = Device::name();
    Digest state;
    {
      const Held memory(get_memory());
      state = rounds(memory.as<uint32_t>());
    }
    multiply(state);
    return std::move(proof_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  /** What was asked for, or as much of the free memory as can be had in one piece. */
  void *get_memory() {
    const uint64_t free_mib = Device::free_bytes() >> 20;
    const uint64_t reserve_mib = RESERVE_BYTES >> 20;
    uint64_t wanted = order_.memory_mib > 0 ? order_.memory_mib : (free_mib > reserve_mib ? free_mib - reserve_mib : 0);
    while (wanted >= MEMORY_MIB_MIN) {
      void *pointer = Device::try_allocate(wanted << 20);
      if (pointer != nullptr) {
        proof_.memory_mib = (uint32_t)wanted;
        return pointer;
      }
      if (order_.memory_mib > 0) break;
      // Close steps first: what is missing is mostly little.
      wanted = tries_++ < 16 ? wanted - std::max<uint64_t>(1, wanted / 64) : wanted / 2;
    }
    throw Failure("no_memory", "The GPU has " + std::to_string(free_mib) + " MiB free, which is too little. End what else uses it.");
  }

  Digest rounds(uint32_t *memory) {
    const uint64_t blocks = proof_.memory_mib * BLOCKS_PER_MIB;
    Sha256 first;
    first.add("qubix-proof-v1").add(order_.nonce).word((uint32_t)blocks).word(order_.lanes);
    Digest state = first.word(order_.chase_steps).word(order_.matrix_size).word(order_.matrix_steps).digest();
    const size_t ends_bytes = order_.lanes * sizeof(Lane);
    const Held ends(allocate(ends_bytes));
    const uint64_t wanted = (blocks * WARP + FILL_THREADS - 1) / FILL_THREADS;
    const unsigned fill_blocks = (unsigned)std::min<uint64_t>(wanted, Device::processors() * FILL_BLOCKS_PER_PROCESSOR);
    const unsigned walk_blocks = (order_.lanes + WALK_THREADS - 1) / WALK_THREADS;

    for (uint32_t done = 0; done < order_.chase_steps; done += ROUND_STEPS) {
      const uint32_t steps = std::min(ROUND_STEPS, order_.chase_steps - done);
      proof_.fill_ms += timed([&] {
        const Key key = key_of("memory", state);
        QUBIX_LAUNCH(fill_kernel, (Dim3{fill_blocks}), (Dim3{FILL_THREADS}), memory, blocks, key);
      });
      proof_.chase_ms += timed([&] {
        const Key key = key_of("chase", state);
        const uint32_t lanes = order_.lanes;
        Lane *to = ends.as<Lane>();
        QUBIX_LAUNCH(walk_kernel, (Dim3{walk_blocks}), (Dim3{WALK_THREADS}), memory, blocks, key, lanes, steps, to);
      });
      // Every host that CUDA runs on is little endian, as the answer is.
      const size_t at = proof_.answer.size();
      proof_.answer.resize(at + ends_bytes);
      Device::to_host(proof_.answer.data() + at, ends.as<void>(), ends_bytes);
      state = Sha256().add("ends").add(state).add(proof_.answer.data() + at, ends_bytes).digest();
    }
    return state;
  }

  void multiply(const Digest &state) {
    const uint32_t size = order_.matrix_size;
    const size_t bytes = (size_t)size * size;
    const Held low(allocate(bytes)), high(allocate(bytes)), low_next(allocate(bytes)), high_next(allocate(bytes));
    uint32_t *planes[2][2] = {{low.as<uint32_t>(), high.as<uint32_t>()}, {low_next.as<uint32_t>(), high_next.as<uint32_t>()}};
    std::vector<uint8_t> lower(bytes), upper(bytes);
    start_matrix(key_of("start", state), lower, upper);
    Device::to_device(planes[0][0], lower.data(), bytes);
    Device::to_device(planes[0][1], upper.data(), bytes);

    const unsigned tiles = (size + TILE - 1) / TILE;
    for (uint32_t step = 0; step < order_.matrix_steps; step++) {
      const Key key = key_of("matrix", state, &step);
      uint32_t *const *from = planes[step % 2];
      uint32_t *const *to = planes[(step + 1) % 2];
      const uint32_t *low_from = from[0], *high_from = from[1];
      uint32_t *low_to = to[0], *high_to = to[1];
      proof_.multiply_ms += timed([&] {
        QUBIX_LAUNCH(multiply_kernel, (Dim3{tiles, tiles}), (Dim3{TILE_THREADS, TILE_THREADS}), key, size, low_from, high_from, low_to, high_to);
      });
    }

    uint32_t *const *last = planes[order_.matrix_steps % 2];
    Device::to_host(lower.data(), last[0], bytes);
    Device::to_host(upper.data(), last[1], bytes);
    const size_t at = proof_.answer.size();
    proof_.answer.resize(at + 2 * bytes);
    for (uint32_t row = 0; row < size; row++) {
      for (uint32_t column = 0; column < size; column++) {
        uint8_t *entry = proof_.answer.data() + at + 2 * ((size_t)row * size + column);
        entry[0] = lower[(size_t)column * size + row];
        entry[1] = upper[(size_t)column * size + row];
      }
    }
  }

  /** The first X, transposed, its lower and upper bytes apart. */
  void start_matrix(const Key &key, std::vector<uint8_t> &lower, std::vector<uint8_t> &upper) const {
    const uint32_t size = order_.matrix_size;
    for (uint32_t row = 0; row < size; row++) {
      for (uint32_t column = 0; column < size; column++) {
        const uint32_t index = row * size + column;
        const uint32_t half = (matrix_word(key, index / 2) >> (16 * (index % 2))) & 0xffff;
        const uint32_t entry = half % MODULUS;
        lower[(size_t)column * size + row] = (uint8_t)entry;
        upper[(size_t)column * size + row] = (uint8_t)(entry >> 8);
      }
    }
  }

  /** How long it took, to the end of the device's work; and the place where time runs out. */
  template <class Work>
  double timed(Work work) {
    const auto before = Clock::now();
    work();
    Device::wait();
    const auto after = Clock::now();
    const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(after - began_).count();
    if (order_.timeout_ms > 0 && (uint64_t)spent > order_.timeout_ms) {
      throw Failure("timeout", "It was not done within " + std::to_string(order_.timeout_ms) + " ms. End what else uses the GPU.");
    }
    return std::chrono::duration<double, std::milli>(after - before).count();
  }

  const Order order_;
  const Clock::time_point began_;
  Proof proof_;
  unsigned tries_ = 0;
};

}  // namespace qubix
