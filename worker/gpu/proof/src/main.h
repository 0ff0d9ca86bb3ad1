// The program around a prover. Flags in, the answer into a file, one line of JSON out: the times, or {"error": {"code", "message"}} and exit code 1.
#pragma once
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#ifdef __linux__
#include <csignal>
#include <sys/prctl.h>
#endif

#include "prover.h"

namespace qubix {

constexpr int EXIT_USAGE = 2;

inline const char *usage() {
  return "usage: qubix-gpu-proof --nonce HEX --chase-steps N --matrix-size N --matrix-steps N --answer FILE\n"
         "                       [--uuid UUID] [--memory-mib N] [--lanes N] [--timeout-ms N]\n"
         "Proves a GPU: fills its memory, walks through it, multiplies matrices (shared/src/proof/README.md).\n"
         "  --uuid UUID      as nvidia-smi -L prints it; else the first GPU\n"
         "  --memory-mib N   memory to fill; 0 or nothing for nearly all that is free\n"
         "  --lanes N        32768 (a GPU's); 1024 is what cores use\n";
}

inline uint32_t number_of(const std::string &flag, const std::string &text, uint32_t least, uint32_t most) {
  char *end = nullptr;
  const unsigned long value = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || text[0] == '-' || value < least || value > most) {
    throw Failure("usage", flag + " takes a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return (uint32_t)value;
}

inline Digest nonce_of(const std::string &hex) {
  if (hex.size() != 64 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) {
    throw Failure("usage", "--nonce takes 64 hexadecimal digits");
  }
  Digest nonce;
  for (size_t i = 0; i < nonce.size(); i++) nonce[i] = (uint8_t)std::stoul(hex.substr(2 * i, 2), nullptr, 16);
  return nonce;
}

inline std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += (unsigned char)c < 0x20 ? ' ' : c;
  }
  return out + "\"";
}

inline void write_file(const std::string &path, const std::vector<uint8_t> &bytes) {
  FILE *file = std::fopen(path.c_str(), "wb");
  bool good = file != nullptr && std::fwrite(bytes.data(), 1, bytes.size(), file) == bytes.size();
  if (file != nullptr) good = std::fclose(file) == 0 && good;
  if (!good) throw Failure("answer_unwritable", "The answer cannot be written to " + path + ": " + std::strerror(errno));
}

inline Order order_of(int argc, char **argv, std::string &answer) {
  Order order;
  bool has_nonce = false;
  for (int i = 1; i < argc; i += 2) {
    const std::string flag = argv[i];
    if (i + 1 == argc) throw Failure("usage", flag + " takes a value");
    const std::string value = argv[i + 1];
    if (flag == "--uuid") order.uuid = value;
    else if (flag == "--nonce") order.nonce = nonce_of(value), has_nonce = true;
    else if (flag == "--memory-mib") order.memory_mib = number_of(flag, value, 0, 1u << 22);
    else if (flag == "--lanes") order.lanes = number_of(flag, value, 1, 1u << 20);
    else if (flag == "--chase-steps") order.chase_steps = number_of(flag, value, 1, 1u << 20);
    else if (flag == "--matrix-size") order.matrix_size = number_of(flag, value, 16, 4096);
    else if (flag == "--matrix-steps") order.matrix_steps = number_of(flag, value, 1, 1u << 20);
    else if (flag == "--timeout-ms") order.timeout_ms = number_of(flag, value, 0, 1u << 30);
    else if (flag == "--answer") answer = value;
    else throw Failure("usage", "there is no flag " + flag);
  }
  if (!has_nonce || answer.empty() || order.chase_steps == 0 || order.matrix_size == 0 || order.matrix_steps == 0) {
    throw Failure("usage", "--nonce, --chase-steps, --matrix-size, --matrix-steps and --answer are needed");
  }
  if (order.matrix_size % 16 != 0) throw Failure("usage", "--matrix-size takes a multiple of 16");
  return order;
}

inline int run_program(int argc, char **argv) {
  if (argc == 2 && std::string(argv[1]) == "--help") {
    std::fputs(usage(), stdout);
    return 0;
  }
#ifdef __linux__
  // Nobody waits for an answer whose agent is gone.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
  try {
    std::string answer;
    const Order order = order_of(argc, argv, answer);
    const Proof proof = Prover(order).run();
    write_file(answer, proof.answer);
    std::printf("{\"kind\":\"%s\",\"device\":%s,\"memoryMiB\":%u,\"fillMs\":%.3f,\"chaseMs\":%.3f,\"multiplyMs\":%.3f}\n", Device::KIND,
                quoted(proof.device).c_str(), proof.memory_mib, proof.fill_ms, proof.chase_ms, proof.multiply_ms);
    return 0;
  } catch (const Failure &failure) {
    std::printf("{\"error\":{\"code\":%s,\"message\":%s}}\n", quoted(failure.code).c_str(), quoted(failure.what()).c_str());
    if (failure.code != "usage") return 1;
    std::fputs(usage(), stderr);
    return EXIT_USAGE;
  } catch (const std::exception &error) {
    std::printf("{\"error\":{\"code\":\"internal\",\"message\":%s}}\n", quoted(error.what()).c_str());
    return 1;
  }
}

}  // namespace qubix
