import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jobSpecSchema } from "@qubix/shared/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { buildSpec, readSpec } from "./spec.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "qubix-spec-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function fileOf(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

test("flags alone make a specification that the network accepts", async () => {
  const { spec, localInputs } = await readSpec(
    undefined,
    {
      image: "docker.io/library/python:3.12",
      name: "train",
      env: ["A=1", "B=2"],
      cpus: "0.5",
      memory: "2GiB",
      disk: "10GiB",
      gpuModel: "RTX 4090",
      priceMax: "0.60/h",
      duration: "1h",
      budget: "0.50",
      standby: "hot",
      verify: "majority",
      verifyRuns: "5",
      verifyTolerance: "1e-5,1e-8",
      checkpointInterval: "10s",
      output: ["/out/model/**"],
      region: ["eu-west"],
      avoid: ["wrk-1"],
      queueFor: "2h",
      retries: "0",
      failovers: "5",
      shm: "128",
      stopGrace: "5s",
    },
    ["python", "-c", "print(1)"],
  );
  expect(localInputs).toEqual([]);
  const parsed = jobSpecSchema.parse(spec);
  expect(parsed).toMatchObject({
    name: "train",
    command: ["python", "-c", "print(1)"],
    env: { A: "1", B: "2" },
    resources: { gpus: { count: 1, model: "RTX 4090" }, cpus: 0.5, memoryMiB: 2048, diskMiB: 10_240 },
    checkpoint: { intervalS: 10, keep: 3 },
    standby: "hot",
    verification: { mode: "majority", replicas: 5, tolerance: { relative: 1e-5, absolute: 1e-8 } },
    outputs: ["/out/model/**"],
    placement: { regions: ["eu-west"], avoid: ["wrk-1"] },
    priceMaxPerHour: { amount: 600_000n, currency: "USD" },
    durationMaxS: 3600,
    budgetMax: { amount: 500_000n, currency: "USD" },
    queueS: 7200,
    retries: 0,
    failoversMax: 5,
    shmMiB: 128,
    stopGraceS: 5,
  });
});

test("what is paid of egress: a size and a price of each GiB", async () => {
  const flags = { image: "docker.io/library/python:3.12", network: "egress", priceMax: "0.60/h", duration: "1h" };
  const { spec } = await readSpec(undefined, { ...flags, egressMax: "512MiB", egressPriceMax: "0.05" }, null);
  expect(jobSpecSchema.parse(spec)).toMatchObject({
    egressGiBMax: 0.5,
    egressPriceMaxPerGiB: { amount: 50_000n, currency: "USD" },
  });
  const file = await fileOf("egress.yaml", "egressGiBMax: 2\negressPriceMaxPerGiB: 0.05 EUR\n");
  expect((await readSpec(file, flags, null)).spec).toMatchObject({
    egressGiBMax: 2,
    egressPriceMaxPerGiB: { amount: "50000", currency: "EUR" },
  });
});

test.each(["", "a", "-1", "1,2,3", "1,"])("--verify-tolerance %o is refused with what it should be", async (text) => {
  const flags = { image: "docker.io/library/python:3.12", verify: "spot-check", verifyTolerance: text };
  await expect(readSpec(undefined, flags, null)).rejects.toThrow(/relative, and absolute/);
});

const YAML = `
name: train
image: qubix/train:local
command: ["train.py"]
env: { STEPS: "600", SEED: "1" }
resources: { cpus: 2, memoryMiB: 512, gpus: { count: 2, model: H200 } }
checkpoint: { intervalS: 3, keep: 5 }
inputs:
  - { upload: upl-1, to: /work/a }
  - { local: ./data, to: /work/b }
priceMaxPerHour: 0.60 USD/h
durationMaxS: 1800
`;

test("a YAML file; flags win, and leave alone what they do not name", async () => {
  const file = await fileOf("job.yaml", YAML);
  const { spec, localInputs } = await readSpec(
    file,
    { env: ["SEED=2"], memory: "1GiB", gpus: "4", checkpointInterval: "1m", input: ["./more:/work/c"] },
    null,
  );
  expect(spec).toEqual({
    name: "train",
    image: "qubix/train:local",
    command: ["train.py"],
    env: { STEPS: "600", SEED: "2" },
    resources: { cpus: 2, memoryMiB: 1024, gpus: { count: 4, model: "H200" } },
    checkpoint: { intervalS: 60, keep: 5 },
    inputs: [{ upload: "upl-1", to: "/work/a" }],
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 1800,
  });
  expect(localInputs).toEqual([
    { local: "./data", to: "/work/b" },
    { local: "./more", to: "/work/c" },
  ]);
});

test("JSON is read too, and unknown fields are passed on for the server to name", async () => {
  const file = await fileOf(
    "job.json",
    JSON.stringify({ image: "a", priceMaxPerHour: { amount: "1", currency: "USD" }, durationMaxS: 1, gpuz: 1 }),
  );
  const { spec } = await readSpec(file, {}, null);
  expect(spec["gpuz"]).toBe(1);
});

test.each([
  ["no file and no image", undefined, {}, /nothing to run/],
  ["no price", undefined, { image: "a", duration: "1h" }, /--price-max/],
  ["no duration", undefined, { image: "a", priceMax: "1" }, /--duration/],
  ["a file that is not there", "/nowhere/job.yaml", {}, /Cannot read the specification/],
])("%s: says what to do", async (_name, file, flags, message) => {
  await expect(readSpec(file, flags, null)).rejects.toThrow(message);
});

test.each([
  ["broken.yaml", "image: [", /not valid YAML or JSON/],
  ["list.yaml", "- a\n- b\n", /does not hold a specification/],
  ["empty.yaml", "", /does not hold a specification/],
])("%s is refused", async (name, text, message) => {
  await expect(readSpec(await fileOf(name, text), {}, null)).rejects.toThrow(message);
});

test("a command after -- replaces the file's, none leaves it", () => {
  expect(buildSpec({ command: ["a"] }, {}, ["b"]).spec["command"]).toEqual(["b"]);
  expect(buildSpec({ command: ["a"] }, {}, null).spec["command"]).toEqual(["a"]);
});

test("a checkpoint of another job is named by a flag, or in a file as people do or field by field", () => {
  expect(buildSpec({}, { fromCheckpoint: "job-1@3" }, null).spec["fromCheckpoint"]).toEqual({ job: "job-1", seq: 3 });
  expect(buildSpec({ fromCheckpoint: "job-1" }, {}, null).spec["fromCheckpoint"]).toEqual({ job: "job-1" });
  const fields = { job: "job-1", seq: 2 };
  expect(buildSpec({ fromCheckpoint: fields }, {}, null).spec["fromCheckpoint"]).toEqual(fields);
  expect(buildSpec({ fromCheckpoint: fields }, { fromCheckpoint: "job-2" }, null).spec["fromCheckpoint"]).toEqual({
    job: "job-2",
  });
});
