// Proofs of hardware with the real programs: what is there gets onto the market, what is made up never does, and owners are told why.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failedProofFault } from "@qubix/shared/proof";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Network, type RunningWorker, startNetwork } from "../../scripts/lib/network.ts";
import { runProgram } from "../../scripts/lib/processes.ts";
import { untilSeen } from "../lib/until.ts";
import { createFakeSmi, FIXTURES } from "../../worker/src/gpu/testing.ts";
import { CREDIT, shellJob } from "./fixture.ts";

const UNTIL_TIMEOUT_MS = 120_000;
const ARGS = ["--cpus", "1", "--memory-mib", "512", "--disk-mib", "1024", "--price-per-cpu-hour", "0.10"];
const GPU_ARGS = [...ARGS, "--price-per-gpu-hour", "0.50"];
/** A program that claims to have proven the GPU at once, with an answer of the right length. */
const CHEAT = `#!${process.execPath}
import { writeFileSync } from "node:fs";
import { answerBytes, lanesOf } from ${JSON.stringify(new URL("../../shared/dist/proof/index.js", import.meta.url).href)};
const flag = (name) => process.argv[process.argv.indexOf(name) + 1];
const target = { kind: "gpu", uuid: flag("--uuid") };
const work = { target, chaseSteps: Number(flag("--chase-steps")), matrixSize: Number(flag("--matrix-size")) };
writeFileSync(flag("--answer"), Buffer.alloc(answerBytes(work)));
console.log(JSON.stringify({ memoryMiB: 24000, fillMs: 1, chaseMs: 1, multiplyMs: 1 }));
`;

describe("a network that wants proofs", () => {
  const folder = mkdtempSync(join(tmpdir(), "qubix-proofs-"));
  let network: Network;
  beforeAll(async () => {
    network = await startNetwork({ folder });
  });
  afterAll(async () => {
    await network.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const view = (worker: RunningWorker) => network.admin.workers.get(worker.id);
  const said = async (...args: string[]) => {
    const { stdout, stderr } = await runProgram("client", args, {
      QUBIX_URL: network.url,
      QUBIX_API_KEY: network.adminKey,
    });
    return stdout + stderr;
  };

  it("lists a worker once its cores are proven; a job that comes before waits, and runs", async () => {
    const consumer = await network.addConsumer("consumer", CREDIT.toString());
    const worker = await network.addWorker({ name: "honest", args: [...ARGS, "--local-image", "qubix/tiny:local"] });
    // Until it has said hello nobody knows of its image.
    await expect.poll(async () => (await view(worker)).phase).toBe("online");
    const { id } = await consumer.client.jobs.create(shellJob("true"));
    expect((await consumer.client.jobs.wait(id)).phase).toBe("succeeded");
    const { verified, proofs } = await view(worker);
    expect({ verified, proofs }).toMatchObject({ verified: true, proofs: [{ gpuUuid: null, state: "proven" }] });
    expect(proofs[0]?.figures["elapsedMs"]).toBeGreaterThan(0);
    expect(await said("workers")).toMatch(/honest.*verified/);
    const [offer] = await collect(network.admin.offers.listAll());
    expect(offer).toMatchObject({ workerId: worker.id, verified: true, gpus: [] });
    await worker.stop();
  });

  it.each([
    ["without a program that could prove it", [], /no_program/],
    ["with a program that makes answers up", ["--gpu-proof-program", join(folder, "cheat.mjs")], /_wrong|answer_/],
  ])("never lists a GPU that only nvidia-smi knows of, %s", async (_how, args, code) => {
    writeFileSync(join(folder, "cheat.mjs"), CHEAT);
    chmodSync(join(folder, "cheat.mjs"), 0o755);
    const smi = await createFakeSmi(mkdtempSync(join(folder, "smi-")));
    await smi.set({ report: readFileSync(join(FIXTURES, "rtx-4090-desktop-v12.xml"), "utf8") });
    const worker = await network.addWorker({
      name: `spoofed-${args.length}`,
      args: [...GPU_ARGS, ...args],
      env: { PATH: `${smi.directory}:${process.env["PATH"]}` },
    });
    const found = await until(async () => {
      const { gpus, proofs, verified } = await view(worker);
      const gpu = proofs.find(({ gpuUuid }) => gpuUuid !== null);
      const settled = gpu?.state === "failed" && proofs.some(({ state }) => state === "proven");
      return settled ? { gpus, gpu, verified } : undefined;
    });
    expect(found.gpus[0]?.model).toContain("4090");
    expect(found.verified).toBe(false);
    expect(found.gpu?.failure?.code).toMatch(code);
    const offer = (await collect(network.admin.offers.listAll())).find(({ workerId }) => workerId === worker.id);
    expect(offer).toMatchObject({ gpus: [], gpusFree: 0, verified: true });
    expect(await said("workers")).toMatch(/4090.*not proven, so it gets no work/);
    const spec = { ...shellJob("true"), resources: { gpus: { count: 1 } } };
    const quote = await network.admin.quotes.create(spec);
    expect(quote.offers.matching).toBe(0);
    expect(quote.filters.find(({ filter }) => filter === "verified")?.removed).toBeGreaterThan(0);
    await worker.stop();
  });

  // The second challenge comes a minute after the first.
  it(
    "accuses whose program makes answers up, with evidence that the command line works out again, and not who has no program",
    async () => {
      writeFileSync(join(folder, "cheat.mjs"), CHEAT);
      chmodSync(join(folder, "cheat.mjs"), 0o755);
      const smi = await createFakeSmi(mkdtempSync(join(folder, "smi-")));
      await smi.set({ report: readFileSync(join(FIXTURES, "rtx-4090-desktop-v12.xml"), "utf8") });
      const env = { PATH: `${smi.directory}:${process.env["PATH"]}` };
      const add = (name: string, args: readonly string[]) =>
        network.addWorker({ name, args: [...GPU_ARGS, ...args], env });
      const cheat = await add("cheat", ["--gpu-proof-program", join(folder, "cheat.mjs")]);
      const failuresOf = async (worker: RunningWorker) =>
        (await view(worker)).proofs.find(({ gpuUuid }) => gpuUuid !== null)?.failure?.count ?? 0;
      const slashes = async () => (await network.admin.slashes.list()).items;
      await until(async () => ((await failuresOf(cheat)) > 0 ? true : undefined));
      // Once may be a bit that flipped.
      expect(await slashes()).toEqual([]);
      const without = await add("without", []);
      await until(async () => ((await failuresOf(without)) > 1 && (await slashes()).length > 0 ? true : undefined));
      const [slash, ...others] = await slashes();
      expect(others).toEqual([]);
      expect(slash).toMatchObject({ offence: "failed_proof", workerId: cheat.id, jobId: null, phase: "proposed" });
      expect(failedProofFault(slash?.publicKey ?? "", slash?.evidence)).toBeNull();
      const shown = await runProgram("client", ["slashes", slash?.id ?? ""], {
        QUBIX_URL: network.url,
        QUBIX_API_KEY: network.adminKey,
      });
      expect(shown).toMatchObject({ code: 0, stdout: expect.stringContaining("a part that is wrong") });
      expect((await view(cheat)).reputation.wrong).toBeGreaterThan(0.9);
      await cheat.stop();
      await without.stop();
    },
    4 * UNTIL_TIMEOUT_MS,
  );
});

const until = <T>(look: () => Promise<T | undefined>): Promise<T> => untilSeen(look, UNTIL_TIMEOUT_MS);

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
