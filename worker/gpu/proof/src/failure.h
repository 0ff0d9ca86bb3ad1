#pragma once
#include <stdexcept>
#include <string>

namespace qubix {

/** What the program says and ends with: a stable code, and a message that says what to do. */
struct Failure : std::runtime_error {
  std::string code;
  Failure(std::string code, const std::string &message) : std::runtime_error(message), code(std::move(code)) {}
};

}  // namespace qubix
