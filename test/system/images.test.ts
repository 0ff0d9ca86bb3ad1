// Images from a registry and from a consumer's disk, through the real programs.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startNetwork, type Network } from "../../scripts/lib/network.ts";
import {
  hasRegistry,
  idOf,
  makeImage,
  makeTar,
  PASSWORD,
  savedFiles,
  startRegistry,
  type TestRegistry,
  unsave,
  USER,
} from "../../worker/src/runner/images/testing.ts";
import { NO_PROOFS, CREDIT, logOf, shellJob } from "./fixture.ts";

const run = promisify(execFile);
const CLI = join(import.meta.dirname, "../../client/bin/qubix.js");
let dir = "";
let registry: TestRegistry;
let closed: TestRegistry;
let network: Network;
let consumer: Awaited<ReturnType<Network["addConsumer"]>>;
const made: string[] = [];

beforeAll(async () => {
  if (!hasRegistry) throw new Error("these tests need a registry: apt-get install docker-registry");
  dir = await mkdtemp(join(tmpdir(), "qubix-system-images-"));
  registry = await startRegistry();
  closed = await startRegistry({ withAuth: true });
  const hosts = [registry.host, closed.host];
  network = await startNetwork({ folder: dir, orchestratorArgs: ["--registry-allow", hosts.join(), ...NO_PROOFS] });
  const args = ["--cpus", "2", "--memory-mib", "1024", "--disk-mib", "4096"];
  const allowed = hosts.flatMap((host) => ["--allow-private-registry", host]);
  await network.addWorker({ name: "anna", args: [...args, ...allowed] });
  consumer = await network.addConsumer("consumer", CREDIT.toString());
});
afterAll(async () => {
  await network?.stop();
  await registry?.stop();
  await closed?.stop();
  for (const id of made) await run("docker", ["rmi", "-f", id]).catch(() => undefined);
  await rm(dir, { recursive: true, force: true });
});

/** The small image of the system tests, and something that makes it another one. */
async function image() {
  const { stdout } = await run("docker", ["save", "qubix/tiny:local"], {
    encoding: "buffer",
    maxBuffer: 64 * 1024 * 1024,
  });
  const fresh = await makeImage({ layers: (await unsave(stdout)).layers });
  made.push(idOf(fresh));
  return fresh;
}

const text = async (id: string) => (await logOf(consumer.client, id)).map((line) => line.text).join("");

it("a registry's image is pulled and pinned, also when its tag moves while the job waits to be tried again", async () => {
  const digest = await registry.put(await image(), "team/tool", "1");
  const { id } = await consumer.client.jobs.create(
    shellJob("cat /mark; if [ $(cat $QUBIX_EPOCH_FILE) = 1 ]; then sleep 2; exit 3; fi", {
      image: `${registry.host}/team/tool:1`,
    }),
  );
  await expect.poll(async () => (await consumer.client.jobs.get(id)).imageDigest, { timeout: 20_000 }).toBe(digest);
  await registry.put(await image(), "team/tool", "1");
  const job = await consumer.client.jobs.wait(id);
  expect([job.phase, job.epoch, job.imageDigest]).toEqual(["succeeded", 2, digest]);
  // Both attempts saw the same mark.
  const marks = (await text(id)).match(/[0-9a-f]{32}/g);
  expect([marks?.length, new Set(marks).size]).toEqual([2, 1]);
});

it("a private registry's image runs for who has its credentials, and for nobody else after him", async () => {
  await closed.put(await image(), "team/secret", "1");
  const job = (auth?: { username: string; password: string }) =>
    shellJob("cat /mark", {
      image: `${closed.host}/team/secret:1`,
      retries: 0,
      failoversMax: 0,
      ...(auth === undefined ? {} : { registryAuth: auth }),
    });
  const { jobs } = consumer.client;
  const allowed = await jobs.wait((await jobs.create(job({ username: USER, password: PASSWORD }))).id);
  expect(allowed.phase).toBe("succeeded");
  expect(JSON.stringify(allowed)).not.toContain(PASSWORD);
  // The image is on the worker now.
  for (const auth of [undefined, { username: USER, password: "wrong" }]) {
    const refused = await jobs.wait((await jobs.create(job(auth))).id);
    expect([refused.phase, await text(refused.id)]).toEqual(["failed", ""]);
  }
});

it("an archive is uploaded and run by the command line", async () => {
  const archive = join(dir, "image.tar");
  await writeFile(archive, await makeTar(savedFiles(await image(), ["qubix/tiny:local"])));
  const { stdout } = await run(
    process.execPath,
    [CLI, "run", "--image-file", archive, "--price-max", "0.60/h", "--duration", "5m", "--cpus", "0.5"].concat([
      "--memory",
      "64MiB",
      "--disk",
      "64MiB",
      "--",
      "/bin/sh",
      "-c",
      "echo uploaded; cat /mark",
    ]),
    { env: { ...process.env, QUBIX_URL: network.url, QUBIX_API_KEY: consumer.apiKey } },
  );
  const id = stdout.trim();
  expect((await consumer.client.jobs.wait(id)).phase).toBe("succeeded");
  expect(await text(id)).toMatch(/^uploaded\n[0-9a-f]{32}$/);
});
