// What a worker of these benchmarks says when it is welcomed: some cores, nothing running.

export const HELLO = JSON.stringify({
  msg: 0,
  kind: "hello",
  offer: {
    gpus: [],
    cpus: 4,
    memoryMiB: 8192,
    diskMiB: 65_536,
    region: "bench",
    pricePerCpuHour: { amount: "100000", currency: "USD" },
  },
  attempts: [],
  standbys: [],
});
