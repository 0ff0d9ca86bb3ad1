// The GPU, by the CUDA runtime: chosen by its UUID, every call looked at.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "failure.h"

using Dim3 = dim3;

namespace qubix {

inline void check(cudaError_t error, const char *what) {
  if (error == cudaSuccess) return;
  throw Failure("gpu_error", std::string(what) + ": " + cudaGetErrorString(error) +
                                 ". Look whether nvidia-smi works, and mend the driver if it does not.");
}

#define QUBIX_LAUNCH(kernel, grid, block, ...)     \
  do {                                             \
    kernel<<<grid, block>>>(__VA_ARGS__);          \
    qubix::check(cudaGetLastError(), "launching"); \
  } while (0)

struct Device {
  static constexpr const char *KIND = "gpu";

  /** `uuid` as nvidia-smi prints it, GPU-… or MIG-…; empty for the first one. */
  static void open(const std::string &uuid) {
    // The driver then shows this one alone, whole cards and partitions alike.
    if (!uuid.empty()) setenv("CUDA_VISIBLE_DEVICES", uuid.c_str(), 1);
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver) {
      throw Failure("no_driver", "There is no NVIDIA driver, or it is too old for this program (built with CUDA " +
                                     std::to_string(CUDART_VERSION / 1000) + "). Install a newer one.");
    }
    if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
      throw Failure("no_gpu", "CUDA shows no GPU " + uuid + ". Look with nvidia-smi -L whether it is there.");
    }
    check(error, "asking for GPUs");
    check(cudaSetDevice(0), "opening the GPU");
    if (uuid.rfind("GPU-", 0) == 0 && uuid != uuid_of(properties())) {
      throw Failure("no_gpu", "CUDA shows " + uuid_of(properties()) + " where " + uuid + " was asked for.");
    }
    check(cudaFree(nullptr), "starting the GPU");
  }

  static std::string name() { return properties().name; }
  static unsigned processors() { return (unsigned)properties().multiProcessorCount; }

  static uint64_t free_bytes() {
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    // What is the whole machine's memory is not filled to the brim: something would be killed for it.
    return properties().integrated != 0 ? free - free / 8 : free;
  }

  /** Null when there is not so much. */
  static void *try_allocate(uint64_t bytes) {
    void *pointer = nullptr;
    const cudaError_t error = cudaMalloc(&pointer, bytes);
    if (error == cudaErrorMemoryAllocation) {
      (void)cudaGetLastError();
      return nullptr;
    }
    check(error, "getting memory");
    return pointer;
  }

  static void release(void *pointer) { (void)cudaFree(pointer); }
  static void to_device(void *to, const void *from, size_t bytes) {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "copying to the GPU");
  }
  static void to_host(void *to, const void *from, size_t bytes) {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "copying from the GPU");
  }
  static void wait() { check(cudaDeviceSynchronize(), "working"); }

 private:
  static const cudaDeviceProp &properties() {
    static const cudaDeviceProp known = [] {
      cudaDeviceProp found;
      check(cudaGetDeviceProperties(&found, 0), "asking what the GPU is");
      return found;
    }();
    return known;
  }

  static std::string uuid_of(const cudaDeviceProp &found) {
    std::string text = "GPU-";
    for (int i = 0; i < 16; i++) {
      char part[4];
      std::snprintf(part, sizeof part, "%02x", (unsigned)(unsigned char)found.uuid.bytes[i]);
      text += part;
      if (i == 3 || i == 5 || i == 7 || i == 9) text += '-';
    }
    return text;
  }
};

}  // namespace qubix
