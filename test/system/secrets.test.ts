// A job's secrets from the command line to its container, through the real programs: there, and nowhere else. Searched for while it runs, when it has moved to
// another machine, and when all is over.
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runProgram, sleep } from "../../scripts/lib/processes.ts";
import { eventsOf, logOf, outputOf, shellJob, startTestNetwork, type TestNetwork, until } from "./fixture.ts";

const run = promisify(execFile);
/** In no other file of this machine. */
const MARK = randomBytes(16).toString("hex");
const TOKEN = `token-${MARK}`;
const KEYFILE = `line one ${MARK}\nline two\n`;
/** Says what it was given only by its hash. */
const SCRIPT = `
cd /run/secrets && sha256sum TOKEN KEYFILE > /out/sums
stat -c '%a %u %F' TOKEN > /out/stat
env | grep -c ${MARK.slice(0, 20)} > /out/env; mkdir -p $QUBIX_CHECKPOINT_DIR/first
echo ready; until [ -e /work/never ]; do sleep 0.2; [ $(cat $QUBIX_EPOCH_FILE) -ge 2 ] && exit 0; done`;

let network: TestNetwork;
let folder: string;
let scratch: string;
beforeAll(async () => {
  network = await startTestNetwork(["anna", "bruno"]);
  folder = dirname(dirname(network.workers[0]?.dataDir ?? ""));
  scratch = mkdtempSync(join(tmpdir(), "qubix-client-"));
});
afterAll(async () => {
  await network?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

it("reach a container and its successor on another machine, and are nowhere else", async () => {
  const { client, apiKey } = network.consumer;
  writeFileSync(join(scratch, "keyfile"), KEYFILE);
  writeFileSync(join(scratch, "job.json"), JSON.stringify(shellJob(SCRIPT, { standby: "hot", placement: {} })));
  const args = ["--url", network.url, "run", join(scratch, "job.json"), "--json"];
  const secrets = ["--secret", `KEYFILE=@${join(scratch, "keyfile")}`, "--secret", "TOKEN=env:THE_TOKEN"];
  const submitted = await runProgram("client", [...args, ...secrets], { QUBIX_API_KEY: apiKey, THE_TOKEN: TOKEN });
  expect([submitted.code, submitted.stderr]).toEqual([0, ""]);
  // The search sees what there is to be seen.
  expect(await filesWith(scratch)).toEqual([join(scratch, "keyfile")]);
  const { id } = JSON.parse(submitted.stdout) as { id: string };

  const before = await until(
    client,
    id,
    ({ checkpoint, standby }) => checkpoint !== null && standby?.phase === "ready",
  );
  await searchEverywhere(id);
  // The standby has the image, the checkpoint and the place, but not the secrets.
  expect(secretFiles()).toEqual(["KEYFILE", "TOKEN"]);

  await network.worker(before.workerId).die();
  const job = await client.jobs.wait(id);
  expect([job.phase, job.reason, job.epoch]).toEqual(["succeeded", "completed", 2]);
  expect(job.workerId).not.toBe(before.workerId);
  expect(await outputOf(client, id, "sums")).toBe(`${await sha256(TOKEN)}  TOKEN\n${await sha256(KEYFILE)}  KEYFILE\n`);
  expect(await outputOf(client, id, "stat")).toMatch(/^400 \d+ regular file\n$/);
  expect(await outputOf(client, id, "env")).toBe("0\n");

  // The machine that died comes back: its agent removes what it was given.
  await network.worker(before.workerId).start();
  await expect.poll(secretFiles, { timeout: 20_000 }).toEqual([]);
  await searchEverywhere(id);
  expect(readdirSync(join(folder, "orchestrator", "vault"))).toEqual(["key-check"]);
  for (const worker of network.workers) await worker.stop();
  await network.orchestrator().stop();
  expect(await filesWith(folder)).toEqual([]);
});

/** In memory, for every worker of this network. */
function secretFiles(): readonly string[] {
  const roots = ["/run", "/dev/shm"].flatMap((parent) => network.workers.map(({ id }) => join(parent, `qubix-${id}`)));
  return roots
    .filter(existsSync)
    .flatMap((root) => readdirSync(root, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .toSorted();
}

async function searchEverywhere(id: string): Promise<void> {
  const { client } = network.consumer;
  await sleep(1_500);
  // Both data directories with journal, notes, database, chunks, key files; the programs' logs.
  expect(await filesWith(folder)).toEqual([]);
  const answers = [await client.jobs.get(id), await eventsOf(client, id), await logOf(client, id)];
  const lists = [await client.jobs.list(), await network.admin.jobs.list(), await network.admin.workers.list()];
  expect(
    JSON.stringify([...answers, ...lists], (_key, value: unknown) => (typeof value === "bigint" ? `${value}` : value)),
  ).not.toContain(MARK);
  for (const worker of network.workers) {
    for (const name of await worker.allContainers()) {
      const { stdout } = await run("docker", ["inspect", name]);
      expect(stdout).toContain("/run/secrets");
      expect(stdout).not.toContain(MARK);
    }
    if (!worker.program().running()) continue;
    for (const part of ["environ", "cmdline"]) {
      expect(readFileSync(`/proc/${worker.program().pid}/${part}`, "utf8")).not.toContain(MARK);
    }
  }
}

/** Files below a folder that have the mark in them, as it is or in base64. */
async function filesWith(root: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const text of [MARK, ...base64Parts(MARK)]) {
    const options = { maxBuffer: 1024 * 1024 };
    const { stdout } = await run("grep", ["-rlaF", "--", text, root], options).catch((error: { code: number }) => {
      if (error.code === 1) return { stdout: "" };
      throw error;
    });
    found.push(...stdout.split("\n").filter(Boolean));
  }
  return found;
}

/** What base64 makes of the inside of a text, wherever it begins. */
function base64Parts(text: string): readonly string[] {
  return [0, 1, 2].map((skip) => Buffer.from(text.slice(skip, skip + 27)).toString("base64url"));
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", Buffer.from(text));
  return Buffer.from(digest).toString("hex");
}
