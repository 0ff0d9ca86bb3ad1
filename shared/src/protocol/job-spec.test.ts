import { describe, expect, it } from "vitest";
import { CONTROL_FRAME_BYTES_MAX } from "./limits.ts";
import {
  egressLimitOf,
  featuresOf,
  fullHoldOf,
  isMirrorWithEffects,
  jobSpecSchema,
  unavailableFeatures,
} from "./job-spec.ts";

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
      verification: { mode: "none", replicas: 3 },
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
    [{ ...least, env: { A: "a\u0000b" } }, "env.A"],
    [{ ...least, env: { A: "\ud800" } }, "env.A"],
    [{ ...least, command: ["a\u0000b"] }, "command.0"],
    [{ ...least, name: "a\u0000b" }, "name"],
    [{ ...least, name: "a\nb" }, "name"],
    [{ ...least, name: "\u202egnp.exe" }, "name"],
    [{ ...least, name: "" }, "name"],
    [{ ...least, inputs: [{ upload: "upl-1", to: "/" }] }, "inputs.0.to"],
    [{ ...least, inputs: [{ upload: "upl-1", to: "/proc/self" }] }, "inputs.0.to"],
    [{ ...least, inputs: [{ upload: "upl-1", to: "/work" }] }, "inputs.0.to"],
    [{ ...least, inputs: [{ upload: "upl-1", to: "/data//x/" }] }, "inputs.0.to"],
    [{ ...least, inputs: ["/a", "/b", "/a"].map((to) => ({ upload: "upl-1", to })) }, "inputs"],
    [{ ...least, inputs: ["/a/b", "/a-b", "/a"].map((to) => ({ upload: "upl-1", to })) }, "inputs"],
    [{ ...least, surprise: true }, ""],
    [{ ...least, command: "sh -c" }, "command"],
    [{ ...least, inputs: [{ to: "/work" }] }, "inputs.0"],
  ])("refuses %j and names the field", (spec, path) => {
    expect(pathsOf(spec)).toContain(path);
  });
  it("takes names, texts and places in any language", () => {
    const inputs = ["/data", "/data-2", "/work/données"].map((to) => ({ upload: "upl-1", to }));
    const spec = { name: "😀 ñ 日本", env: { A: "line 1\nline 2 😀" }, command: ["", "\u0001"], inputs };
    expect(jobSpecSchema.parse({ ...least, ...spec })).toMatchObject(spec);
  });
  it("always fits one control message", () => {
    const env = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`A${n}`, worst]));
    const worst = "\u0001".repeat(21_000);
    const spec = jobSpecSchema.parse({ ...least, env: env(3) });
    expect(JSON.stringify(spec.env).length).toBeLessThan(CONTROL_FRAME_BYTES_MAX / 2);
    expect(jobSpecSchema.safeParse({ ...least, env: env(4) }).error?.issues[0]?.message).toContain("input");
  });

  it("does not begin both replicas of a mirror from another job's checkpoint", () => {
    const fromCheckpoint = { job: "job-1" };
    const spec = jobSpecSchema.parse({ ...least, standby: "mirror", fromCheckpoint });
    expect(unavailableFeatures(spec)).toEqual(["standby: mirror with fromCheckpoint"]);
  });
  it("names what no part of the network does yet", () => {
    const spec = jobSpecSchema.parse({
      ...least,
      network: "egress",
      isolation: "sandboxed",
      secrets: { A: "b" },
    });
    expect(unavailableFeatures(spec)).toEqual(["isolation: sandboxed with network: egress"]);
    const onGpu = jobSpecSchema.parse({ ...least, isolation: "sandboxed", resources: { gpus: { count: 1 } } });
    expect(unavailableFeatures(onGpu)).toEqual(["isolation: sandboxed with GPUs"]);
    expect(unavailableFeatures(jobSpecSchema.parse({ ...least, isolation: "sandboxed" }))).toEqual([]);
    const saved = { ...least, isolation: "sandboxed", checkpoint: { transparent: true } } as const;
    expect(unavailableFeatures(jobSpecSchema.parse(saved))).toEqual([]);
    expect(featuresOf(jobSpecSchema.parse(saved))).toEqual(["sandboxed", "transparent"]);
    const of = (more: object) =>
      unavailableFeatures(jobSpecSchema.parse({ ...saved, isolation: "standard", secrets: { A: "b" }, ...more }));
    expect(of({ failover: "exclusive", fromCheckpoint: { job: "job-a" } })).toEqual(
      expect.arrayContaining([
        "checkpoint: transparent without isolation: sandboxed",
        "checkpoint: transparent with failover: exclusive",
        "checkpoint: transparent with fromCheckpoint",
        "checkpoint: transparent with secrets",
      ]),
    );
    expect(of({ standby: "mirror" })).toContain("checkpoint: transparent with standby: mirror");
    expect(
      unavailableFeatures(jobSpecSchema.parse({ ...least, isolation: "sandboxed", failover: "exclusive" })),
    ).toEqual(["isolation: sandboxed with failover: exclusive"]);
  });
  it("has a budget in the currency of its price", () => {
    const budgetMax = { amount: "5", currency: least.priceMaxPerHour.currency };
    expect(jobSpecSchema.parse({ ...least, budgetMax }).budgetMax?.amount).toBe(5n);
    const other = jobSpecSchema.safeParse({ ...least, budgetMax: { ...budgetMax, currency: "XYZ" } });
    expect(other.error?.issues).toMatchObject([{ path: ["budgetMax"] }]);
  });
  it("pays for egress by an amount and a price, which go together, with a network, in the currency of its price", () => {
    const { currency } = least.priceMaxPerHour;
    const pays = { network: "egress", egressGiBMax: 1.5, egressPriceMaxPerGiB: { amount: "7", currency } };
    const spec = jobSpecSchema.parse({ ...least, ...pays });
    expect(egressLimitOf(spec)).toEqual({ bytesMax: 1_610_612_736, priceMaxPerGiB: 7n });
    expect(unavailableFeatures(spec)).toEqual([]);
    expect(fullHoldOf(spec) - fullHoldOf(jobSpecSchema.parse(least))).toBe(11n);
    expect(egressLimitOf(jobSpecSchema.parse({ ...least, network: "egress" }))).toBeUndefined();
    const problemsOf = (more: object) =>
      jobSpecSchema.safeParse({ ...least, ...pays, ...more }).error?.issues.map(({ path }) => path.join("."));
    expect(problemsOf({ egressPriceMaxPerGiB: undefined })).toEqual(["egressGiBMax"]);
    expect(problemsOf({ egressGiBMax: undefined })).toEqual(["egressGiBMax"]);
    expect(problemsOf({ network: "none" })).toEqual(["egressGiBMax"]);
    expect(problemsOf({ egressPriceMaxPerGiB: { amount: "7", currency: "XYZ" } })).toEqual(["egressPriceMaxPerGiB"]);
  });
  it("asks for the guard where a job is exclusive, by its own word or because it reaches outside", () => {
    expect(featuresOf(jobSpecSchema.parse({ ...least, failover: "exclusive" }))).toEqual(["exclusive"]);
    expect(featuresOf(jobSpecSchema.parse({ ...least, network: "egress" }))).toEqual(["egress", "exclusive"]);
    const twice = jobSpecSchema.parse({ ...least, network: "egress", failover: "speculative" });
    expect(featuresOf(twice)).toEqual(["egress"]);
  });
  it("knows which jobs can never run twice at once", () => {
    const isRefused = (more: object) => isMirrorWithEffects(jobSpecSchema.parse({ ...least, ...more }));
    expect(isRefused({ standby: "mirror" })).toBe(false);
    expect(isRefused({ standby: "mirror", failover: "exclusive" })).toBe(true);
    expect(isRefused({ standby: "mirror", network: "egress", failover: "speculative" })).toBe(true);
    expect(isRefused({ standby: "hot", failover: "exclusive" })).toBe(false);
  });
});
