// The program as a person or a supervisor meets it: real processes, from the sources.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { buildTree } from "../checkpoints/testing/trees.ts";
import { startKuboSimulator } from "../ipfs/testing/kubo-simulator.ts";

const RUN = `import("${new URL("./main.ts", import.meta.url).href}").then((main) => main.runCli(["node", "qubix-orchestrator", ...process.argv.slice(1)]))`;
const BIN = fileURLToPath(new URL("../../bin/qubix-orchestrator.js", import.meta.url));

interface Running {
  readonly pid: number;
  /** Resolves with the next whole line of standard output. */
  line(): Promise<string>;
  kill(signal: NodeJS.Signals): void;
  readonly ended: Promise<{ readonly code: number | null; readonly out: string; readonly err: string }>;
}

let dir = "";
const children: Running[] = [];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-program-"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
});

describe("qubix-orchestrator start", () => {
  test("makes the data, shows the admin key once, stops cleanly on SIGTERM, and knows the key again", async () => {
    const first = run(["start", "--data-dir", join(dir, "data"), "--listen", "127.0.0.1:0", "--json"]);
    const ready = JSON.parse(await first.line()) as { event: string; url: string; adminKey: string };
    expect(ready.event).toBe("ready");
    expect(ready.adminKey).toMatch(/^qbx_/);
    expect(await statusOf(`${ready.url}/readyz`)).toBe(200);
    first.kill("SIGTERM");
    expect((await first.ended).code).toBe(0);

    const second = run(["start", "--data-dir", join(dir, "data"), "--listen", "127.0.0.1:0", "--json"]);
    const again = JSON.parse(await second.line()) as { url: string; adminKey?: string };
    expect(again.adminKey).toBeUndefined();
    expect(await statusOf(`${again.url}/v1/accounts`, ready.adminKey)).toBe(200);
    second.kill("SIGINT");
    expect((await second.ended).code).toBe(0);
  });

  test("serves IPFS where asked to, takes several peers, and stops within 10 s", async () => {
    const peers = ["1", "2"].map(
      (port) => `/ip4/127.0.0.1/tcp/${port}/p2p/12D3KooWGC6TvWhfagpX6wvCNYYm8BUHDSjPuMZcVCRMv3rRRDP4`,
    );
    const options = [...peers.flatMap((peer) => ["--ipfs-peer", peer]), "--ipfs-listen", "/ip4/127.0.0.1/tcp/0"];
    const shown = await run(["start", ...options, "--print-config"]).ended;
    expect(JSON.parse(shown.out)).toMatchObject({ ipfsPeer: peers, ipfsListen: "/ip4/127.0.0.1/tcp/0" });
    const running = run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json", ...options]);
    const { url, adminKey } = JSON.parse(await running.line()) as { url: string; adminKey: string };
    const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminKey}` } });
    expect(await metrics.text()).toContain("qubix_ipfs_connections 0");
    const before = performance.now();
    running.kill("SIGTERM");
    expect((await running.ended).code).toBe(0);
    expect(performance.now() - before).toBeLessThan(10_000);
  });

  test("starts and stops while the Kubo node it copies to is down, and says what is pending", async () => {
    const options = ["--storage", "kubo", "--kubo-url", "http://127.0.0.1:1"];
    const running = run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json", ...options]);
    const { url, adminKey } = JSON.parse(await running.line()) as { url: string; adminKey: string };
    expect(await statusOf(`${url}/readyz`)).toBe(200);
    const metrics = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${adminKey}` } });
    expect(await metrics.text()).toContain("qubix_ipfs_pins_pending 0");
    running.kill("SIGTERM");
    expect((await running.ended).code).toBe(0);
  });

  test("killed before its Kubo node came up, it makes up for the copies after a restart", async () => {
    const port = await freePort();
    const options = ["--data-dir", dir, "--listen", "127.0.0.1:0", "--json", "--storage", "kubo"];
    const args = ["start", ...options, "--kubo-url", `http://127.0.0.1:${port}`];
    const first = run(args);
    const { url, adminKey } = JSON.parse(await first.line()) as { url: string; adminKey: string };
    const { chunks, manifest, ref } = buildTree({ step: "17" });
    const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/octet-stream" };
    for (const { cid, bytes } of chunks.slice(0, -1)) {
      const put = { method: "PUT", headers, body: new Uint8Array(bytes) };
      expect((await fetch(`${url}/v1/uploads/chunks/${cid}`, put)).status).toBe(204);
    }
    const json = { ...headers, "content-type": "application/json" };
    const made = await fetch(`${url}/v1/uploads`, {
      method: "POST",
      headers: json,
      body: JSON.stringify({ manifest }),
    });
    expect(made.status).toBe(201);
    const metrics = await (await fetch(`${url}/metrics`, { headers: { authorization: headers.authorization } })).text();
    expect(metrics).toContain("qubix_ipfs_pins_pending 1");
    first.kill("SIGKILL");
    await first.ended;
    await using kubo = await startKuboSimulator(port);
    const second = run(args);
    await second.line();
    await expect.poll(() => Object.keys(kubo.pins()), { timeout: 20_000 }).toHaveLength(1);
    expect(Object.keys(kubo.pins())[0]).toMatch(/^qubix\/orc-[0-9a-f]+\/acc-[a-z0-9-]+\/bafkrei/);
    expect(kubo.blocks.size).toBe(ref.files + 2);
    second.kill("SIGTERM");
    expect((await second.ended).code).toBe(0);
  });

  test("refuses a data folder that another one has, in one line", async () => {
    const first = run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json"]);
    await first.line();
    const second = await run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0"]).ended;
    expect(second.code).toBe(1);
    expect(second.out).toBe("");
    expect(second.err.trim().split("\n")).toHaveLength(1);
    expect(second.err).toContain(dir);
  });

  test("refuses a port in use, in one line, and leaves the first start for the next time", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const refused = await run(["start", "--data-dir", dir, "--listen", `127.0.0.1:${port}`]).ended;
    taken.close();
    expect(refused.code).toBe(1);
    expect(refused.err.trim().split("\n")).toHaveLength(1);
    expect(refused.err).toContain(String(port));
    const next = run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json"]);
    expect(JSON.parse(await next.line())).toHaveProperty("adminKey");
  });

  test("ends where it cannot start, though its relay listens already", async () => {
    const listens = ["--listen", "127.0.0.1:0", "--relay-listen", "/ip4/127.0.0.1/tcp/0"];
    const refused = await run(["start", "--data-dir", dir, ...listens, "--canaries", join(dir, "none")]).ended;
    expect(refused.code).toBe(1);
    expect(refused.err).toContain("canaries");
  });

  test("a first start that fails when the admin key is made already shows the key all the same", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as { port: number };
    const args = ["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json"];
    const refused = await run([...args, "--ipfs-listen", `/ip4/127.0.0.1/tcp/${port}`]).ended;
    taken.close();
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining("--ipfs-listen")]);
    const { event, adminKey } = JSON.parse(refused.out) as { event: string; adminKey: string };
    expect(event).toBe("admin_key");
    const next = run(args);
    const { url } = JSON.parse(await next.line()) as { url: string };
    expect(await statusOf(`${url}/v1/accounts`, adminKey)).toBe(200);
  });

  test("asked to stop while it starts, it shows its admin key first", async () => {
    const starting = run(["start", "--data-dir", dir, "--listen", "127.0.0.1:0", "--json", "--log-level", "silent"]);
    // From here on there is a key, or none was made.
    await expect.poll(() => existsSync(join(dir, "chunks")), { interval: 1 }).toBe(true);
    starting.kill("SIGTERM");
    const { code, out } = await starting.ended;
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ event: "ready", adminKey: expect.stringMatching(/^qbx_/) });
  });

  test("refuses a data folder that cannot be one, in one line", async () => {
    const file = join(dir, "file");
    await writeFile(file, "");
    const refused = await run(["start", "--data-dir", file, "--listen", "127.0.0.1:0"]).ended;
    expect(refused.code).toBe(1);
    expect(refused.err.trim().split("\n")).toHaveLength(1);
    expect(refused.err).toContain(file);
  });

  test.each([
    ["an address that is none", ["start", "--listen", "nowhere"], "listen"],
    ["a size that is none", ["start", "--storage-max", "lots"], "lots"],
    ["an unknown log level", ["start", "--log-level", "loud"], "logLevel"],
    ["an IPFS address that is none", ["start", "--ipfs-listen", "127.0.0.1:4001"], "ipfsListen"],
    ["an IPFS peer without its id", ["start", "--ipfs-peer", "/ip4/127.0.0.1/tcp/4001"], "ipfsPeer"],
    ["a storage that is none", ["start", "--storage", "tape"], "storage"],
    ["a Kubo node without a URL", ["start", "--kubo-url", "127.0.0.1:5001"], "kuboUrl"],
    ["a dispute window that never ends", ["start", "--dispute-window-s", "1e12"], "disputeWindowS"],
    ["an appeal window that never ends", ["start", "--appeal-window-s", "1e12"], "appealWindowS"],
    ["no time to decide", ["start", "--decision-s", "0"], "decisionS"],
    ["half a chain", ["start", "--evm-rpc-url", "http://127.0.0.1:1", "--evm-currency", "TST"], "evmContract"],
    ["a token with too few decimals", ["start", "--evm-token-decimals", "2"], "evmTokenDecimals"],
    ["a contract without an address", ["start", "--evm-contract", "0x12"], "evmContract"],
    ["an unknown flag", ["start", "--speed", "9"], "--speed"],
    ["an unknown command", ["dance"], "dance"],
    ["a configuration file that is not there", ["start", "--config", "/nowhere.json"], "/nowhere.json"],
  ])("%s is misuse: exit code 2, and it is named", async (_name, args, named) => {
    const { code, err } = await run(args).ended;
    expect(code).toBe(2);
    expect(err).toContain(named);
  });

  test("takes a chain's key only from a file that nobody else may read, and no currency that has other money", async () => {
    const key = join(dir, "key");
    const data = join(dir, "data");
    await writeFile(key, "1".padStart(64, "0"), { mode: 0o644 });
    const address = `0x${"1".repeat(40)}`;
    const settings = {
      "data-dir": data,
      listen: "127.0.0.1:0",
      "evm-rpc-url": "http://127.0.0.1:1",
      "evm-chain-id": "1",
      "evm-contract": address,
      "evm-token": `0x${"2".repeat(40)}`,
      "evm-key-file": key,
    };
    const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const start = (currency: string) => ["start", "--json", ...flags, "--evm-currency", currency];
    const unsafe = await run(start("TST")).ended;
    expect([unsafe.code, unsafe.err]).toEqual([1, expect.stringContaining(`chmod 600 ${key}`)]);
    await chmod(key, 0o600);
    // It starts though the chain's node is away, and takes money that lies with the operator.
    const first = run(start("TST"));
    const { url, adminKey } = JSON.parse(await first.line()) as { url: string; adminKey: string };
    const headers = { authorization: `Bearer ${adminKey}`, "content-type": "application/json" };
    for (const currency of ["USD", "TST"]) {
      const body = JSON.stringify({ accountId: "acc-admin", amount: { amount: "5", currency } });
      expect((await fetch(`${url}/v1/wallet/deposits`, { method: "POST", headers, body })).status).toBe(201);
    }
    first.kill("SIGTERM");
    expect((await first.ended).code).toBe(0);
    const taken = await run(start("USD")).ended;
    expect([taken.code, taken.err]).toEqual([1, expect.stringContaining("There are balances in USD already")]);
    const gone = await run(["start", "--data-dir", data, "--listen", "127.0.0.1:0"]).ended;
    expect([gone.code, gone.err]).toEqual([1, expect.stringContaining("--evm-currency TST")]);
  });

  test("shows the configuration in force: flags before variables before the file", async () => {
    const file = join(dir, "config.json");
    await writeFile(
      file,
      JSON.stringify({ listen: "127.0.0.1:1", logLevel: "debug", registryAllow: ["ghcr.io"], storageMax: "1.5GiB" }),
    );
    const env = {
      QUBIX_LISTEN: "127.0.0.1:2",
      QUBIX_LOG_LEVEL: "warn",
      QUBIX_DISPUTE_WINDOW_S: "60",
      QUBIX_APPEAL_WINDOW_S: "90",
    };
    const shown = await run(["start", "--config", file, "--log-level", "error", "--print-config"], env).ended;
    expect(shown.code).toBe(0);
    expect(JSON.parse(shown.out)).toMatchObject({
      listen: { host: "127.0.0.1", port: 2 },
      logLevel: "error",
      registryAllow: ["ghcr.io"],
      storageMax: 1_610_612_736,
      disputeWindowS: 60,
      appealWindowS: 90,
    });
  });

  test("helps", async () => {
    const { code, out } = await run(["start", "--help"]).ended;
    expect(code).toBe(0);
    for (const flag of ["--data-dir", "--listen", "--registry-allow", "--log-level", "--json", "--print-config"]) {
      expect(out).toContain(flag);
    }
  });
});

test("the installed program reads on any Node and answers on this one", async () => {
  const child = spawnNode([BIN, "--version"], {});
  const { code, out, err } = await child.ended;
  // Without a build it says so; with one it answers.
  if (code === 0) expect(out.trim()).toMatch(/^\d+\.\d+\.\d+$/);
  else expect(err).toContain("npm run build");
});

describe("qubix-orchestrator rotate-key", () => {
  const data = () => ["--data-dir", join(dir, "data")];
  const start = (...more: readonly string[]) => run(["start", ...data(), "--listen", "127.0.0.1:0", "--json", ...more]);
  const rotate = (...more: readonly string[]) =>
    run(["rotate-key", ...data(), "--new-master-key-file", join(dir, "new.key"), ...more]).ended;

  test("puts everything under a new master key while the orchestrator is stopped; the old one is of no use then", async () => {
    const none = await rotate();
    expect(none.code).toBe(1);
    expect(none.err).toContain("--data-dir");
    const first = start();
    await first.line();
    const early = await rotate();
    expect(early.code).toBe(1);
    expect(early.err).toContain("Stop that one first");
    first.kill("SIGTERM");
    await first.ended;

    const rotated = await rotate("--json");
    expect(JSON.parse(rotated.out)).toMatchObject({ event: "rotated", to: join(dir, "new.key") });
    const refused = await start().ended;
    expect(refused.code).toBe(1);
    expect(refused.err.trim().split("\n")).toHaveLength(1);
    expect(refused.err).toContain("--master-key-file");
    const second = start("--master-key-file", join(dir, "new.key"));
    expect(JSON.parse(await second.line())).toHaveProperty("url");
  });
});

function run(args: readonly string[], env: Record<string, string> = {}): Running {
  return spawnNode(["--conditions=qubix-source", "--eval", RUN, "--", ...args], env);
}

function spawnNode(args: readonly string[], env: Record<string, string>): Running {
  const child = spawn(process.execPath, [...args], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  let read = 0;
  let wake = () => {};
  child.stdout.on("data", (part: Buffer) => {
    out += part.toString();
    wake();
  });
  child.stderr.on("data", (part: Buffer) => {
    err += part.toString();
  });
  const ended = new Promise<Awaited<Running["ended"]>>((resolve) => {
    child.on("close", (code) => {
      resolve({ code, out, err });
      wake();
    });
  });
  const line = async () => {
    for (;;) {
      const end = out.indexOf("\n", read);
      if (end >= 0) {
        const text = out.slice(read, end);
        read = end + 1;
        return text;
      }
      if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}: ${err}`);
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  const running = { pid: child.pid ?? 0, line, kill: (signal: NodeJS.Signals) => void child.kill(signal), ended };
  children.push(running);
  return running;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function statusOf(url: string, key?: string): Promise<number> {
  const headers = key === undefined ? {} : { authorization: `Bearer ${key}` };
  return (await fetch(url, { headers })).status;
}
