// qubix-gpu-proof-emulated: the same kernels on a host, thread by thread. For tests.
#include "host_runtime.h"
#include "main.h"

int main(int argc, char **argv) { return qubix::run_program(argc, argv); }
