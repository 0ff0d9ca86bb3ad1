import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commitmentOf, type ProofWork } from "@qubix/shared/proof";
import { type Program, runProgram } from "./program.ts";
import { programFor } from "./programs.ts";

const vectorsFile = new URL("../../../shared/fixtures/proof-v1.json", import.meta.url);
const { answers } = JSON.parse(readFileSync(vectorsFile, "utf8")) as {
  readonly answers: readonly { work: Omit<ProofWork, "nonce"> & { readonly nonce: string }; commitment: string }[];
};
const folder = fileURLToPath(new URL("../../gpu/proof/", import.meta.url));
const never = new AbortController().signal;

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "qubix-proof-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function run(program: Program, work: ProofWork, timeoutMs = 60_000, signal = never) {
  return runProgram(program, { work, timeoutMs, answerPath: join(dir, "answer") }, signal);
}

function decode(work: (typeof answers)[number]["work"]): ProofWork {
  return { ...work, nonce: Buffer.from(work.nonce, "base64url") };
}

// As small as they come.
const [first] = answers;
if (first === undefined) throw new Error("there are no vectors");
const small = decode(first.work);

describe("the program for cores", () => {
  const cpu = programFor({ kind: "cpu" }, { threads: 3 });

  it.each(answers.filter(({ work }) => work.target.kind === "cpu"))(
    "answers $commitment, whatever the number of threads",
    async ({ work, commitment }) => {
      const proof = await run(cpu, decode(work));
      expect(commitmentOf(proof.answer)).toBe(commitment);
      expect(proof.memoryMiB).toBe(work.memoryMiB);
      expect(Math.min(proof.fillMs, proof.chaseMs, proof.multiplyMs)).toBeGreaterThan(0);
    },
  );

  it("says that there is not so much memory, without trying", async () => {
    await expect(run(cpu, { ...small, memoryMiB: 1024 * 1024 })).rejects.toMatchObject({ code: "no_memory" });
  });

  it("ends when its time is up, and when it is told to", async () => {
    const long = { ...small, matrixSize: 1024, matrixSteps: 10_000 };
    await expect(run(cpu, long, 1_000)).rejects.toMatchObject({ code: "timeout" });
    const abort = new AbortController();
    setTimeout(() => abort.abort(new Error("not needed any more")), 300);
    await expect(run(cpu, long, 60_000, abort.signal)).rejects.toThrow("not needed any more");
  });
});

describe("a program", () => {
  const script = (text: string): Program => {
    const path = join(dir, "program.sh");
    writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
    return { command: path, args: [] };
  };

  it("that is not there, says nothing, or writes something else is told apart", async () => {
    await expect(run({ command: join(dir, "absent"), args: [] }, small)).rejects.toMatchObject({ code: "no_program" });
    await expect(run(script("exit 3"), small)).rejects.toThrow(/ended with code 3 without a word/);
    const times = `{"memoryMiB":1,"fillMs":1,"chaseMs":1,"multiplyMs":1}`;
    await expect(run(script(`echo x > ${join(dir, "answer")}; echo '${times}'`), small)).rejects.toThrow(
      /wrong length/,
    );
    const error = `{"error":{"code":"no_gpu","message":"none here"}}`;
    await expect(run(script(`echo '${error}'; exit 1`), small)).rejects.toMatchObject({ code: "no_gpu" });
  });

  it("for GPUs is looked for where it is built, and missed with a remedy", () => {
    const missing = () =>
      programFor({ kind: "gpu", uuid: "GPU-0" }, { threads: 1, gpuProofProgram: join(dir, "absent") });
    expect(missing).toThrow(/build\.sh/);
    const there = script("exit 0").command;
    const found = programFor({ kind: "gpu", uuid: "GPU-0" }, { threads: 1, gpuProofProgram: there });
    expect(found).toEqual({ command: there, args: [] });
  });
});

const hasCompiler = spawnSync("g++", ["--version"]).status === 0;
if (!hasCompiler) console.warn("skipped: the kernels of the proof of GPU are not run, because there is no g++ here");

// The very code of the kernels, on a host. What is not run here: launching them on a device, and choosing one.
describe.skipIf(!hasCompiler)("the program for GPUs, its kernels run thread by thread", () => {
  const emulated = { command: join(folder, "build/qubix-gpu-proof-emulated"), args: [] };
  beforeAll(() => {
    const built = spawnSync(join(folder, "build.sh"), ["emulated"], { encoding: "utf8", timeout: 60_000 });
    if (built.status !== 0) throw new Error(`build.sh failed: ${built.stderr}`);
  }, 70_000);

  it.each(answers)("answers $commitment", async ({ work, commitment }) => {
    const proof = await run(emulated, decode(work));
    expect(commitmentOf(proof.answer)).toBe(commitment);
  });

  it("takes what memory there is when all is asked for", async () => {
    // As little as this device says it has, the reserve is more.
    await expect(run(emulated, { ...small, memoryMiB: 0 })).rejects.toMatchObject({ code: "no_memory" });
  });

  it("refuses what it does not understand", () => {
    const said = spawnSync(emulated.command, ["--nonce", "xyz"], { encoding: "utf8" });
    expect(said.status).toBe(2);
    expect(JSON.parse(said.stdout)).toMatchObject({ error: { code: "usage" } });
  });
});

const nvcc = ["nvcc", "/usr/local/cuda/bin/nvcc"].find((path) => spawnSync(path, ["--version"]).status === 0);
if (nvcc === undefined) console.warn("skipped: the program for GPUs is not compiled, because there is no nvcc here");

describe.skipIf(nvcc === undefined)("the program for GPUs", () => {
  it("compiles for the device, with its three kernels", () => {
    const ptx = join(dir, "gpu.ptx");
    const args = ["-std=c++17", "-ptx", "-o", ptx, join(folder, "src/gpu.cu")];
    const built = spawnSync(nvcc ?? "", args, { encoding: "utf8", timeout: 60_000 });
    expect(built.stderr).toBe("");
    const kernels = [...readFileSync(ptx, "utf8").matchAll(/\.visible \.entry \w*?(fill|walk|multiply)_kernel/g)];
    expect(kernels.map(([, name]) => name).toSorted()).toEqual(["fill", "multiply", "walk"]);
  }, 70_000);
});
