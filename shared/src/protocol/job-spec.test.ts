import { describe, expect, it } from "vitest";
import { jobSpecSchema, unavailableFeatures } from "./job-spec.ts";

const least = { image: "qubix/tiny:local", priceMaxPerHour: { amount: "600000", currency: "USD" }, durationMaxS: 60 };

function pathsOf(spec: unknown): string[] {
  const parsed = jobSpecSchema.safeParse(spec);
  return parsed.success ? [] : parsed.error.issues.map((issue) => issue.path.join("."));
}

describe("job specification", () => {
  it("fills in every default", () => {
    expect(jobSpecSchema.parse(least)).toEqual({
      image: "qubix/tiny:local",
      command: [],
      env: {},
      secrets: {},
      inputs: [],
      outputs: ["/out/**"],
      resources: { gpus: { count: 0 }, cpus: 1, memoryMiB: 1024, diskMiB: 4096 },
      checkpoint: { intervalS: 30, keep: 3 },
      standby: "cold",
      failover: "speculative",
      isolation: "standard",
      network: "none",
      placement: {},
      shmMiB: 64,
      stopGraceS: 10,
      priceMaxPerHour: { amount: 600_000n, currency: "USD" },
      durationMaxS: 60,
      queueS: 3600,
      retries: 3,
      failoversMax: 10,
      stallAfterS: 300,
    });
  });
  it("is exclusive by default where the job reaches outside", () => {
    expect(jobSpecSchema.parse({ ...least, network: "egress" }).failover).toBe("exclusive");
  });
  it.each([
    [{ ...least, image: "NOT AN IMAGE" }, "image"],
    [{ ...least, priceMaxPerHour: { amount: 1, currency: "USD" } }, "priceMaxPerHour.amount"],
    [{ ...least, priceMaxPerHour: { amount: "1.5", currency: "USD" } }, "priceMaxPerHour.amount"],
    [{ ...least, priceMaxPerHour: { amount: "9999999999999999", currency: "USD" } }, "priceMaxPerHour.amount"],
    [{ ...least, durationMaxS: 0 }, "durationMaxS"],
    [{ ...least, durationMaxS: 1.5 }, "durationMaxS"],
    [{ ...least, resources: { cpus: -1 } }, "resources.cpus"],
    [{ ...least, resources: { gpus: { count: 1.5 } } }, "resources.gpus.count"],
    [{ ...least, env: { QUBIX_EPOCH_FILE: "x" } }, "env"],
    [{ ...least, env: { "bad name": "x" } }, "env.bad name"],
    [{ ...least, outputs: ["/etc/passwd"] }, "outputs.0"],
    [{ ...least, outputs: ["/out/../etc"] }, "outputs.0"],
    [{ ...least, name: "a\u0000b" }, "name"],
    [{ ...least, surprise: true }, ""],
    [{ ...least, command: "sh -c" }, "command"],
    [{ ...least, inputs: [{ to: "/work" }] }, "inputs.0"],
  ])("refuses %j and names the field", (spec, path) => {
    expect(pathsOf(spec)).toContain(path);
  });
  it("names what no part of the network does yet", () => {
    const spec = jobSpecSchema.parse({
      ...least,
      standby: "mirror",
      network: "egress",
      isolation: "sandboxed",
      secrets: { A: "b" },
      stallAfterS: 10,
    });
    expect(unavailableFeatures(spec)).toEqual([
      "standby: mirror",
      "failover: exclusive",
      "isolation: sandboxed",
      "network: egress",
      "secrets",
      "stallAfterS",
    ]);
  });
});
