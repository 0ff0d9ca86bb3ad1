// qubix-gpu-proof: on a GPU.
#include "cuda_runtime_device.h"
#include "main.h"

int main(int argc, char **argv) { return qubix::run_program(argc, argv); }
