import { createPublicKey, randomBytes, verify } from "node:crypto";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ChunkCid, JobId } from "@qubix/shared/domain";
import { checkpointText, stoppedText } from "@qubix/shared/protocol";
import { createLogger } from "@qubix/shared/runtime";
import { attemptOf } from "../runner/testing.ts";
import { createBackoff } from "./backoff.ts";
import { type BulkLink, createBulkLink } from "./bulk.ts";
import { type ControlLink, createControlLink } from "./control.ts";
import { createKey, loadKey, type WorkerKey } from "./keys.ts";
import { createUplinkPacer } from "./pacer.ts";
import { identityFor, startTestOrchestrator, type TestOrchestrator } from "./testing.ts";
import { createWindow } from "./window.ts";

const logger = createLogger("test", "silent");
const never = new AbortController().signal;
const JOB = "job-a" as JobId;
const ATTEMPT = attemptOf("job-a");

let dir = "";
let key: WorkerKey;
let orchestrator: TestOrchestrator;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-link-"));
  key = createKey(join(dir, "key.pem"));
  orchestrator = await startTestOrchestrator(key.publicKey);
});
afterEach(async () => {
  await orchestrator.stop();
  await rm(dir, { recursive: true, force: true });
});

it("keeps its key to itself", async () => {
  const file = join(dir, "key.pem");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(loadKey(file).publicKey).toBe(key.publicKey);
  expect(Buffer.from(key.publicKey, "base64url")).toHaveLength(32);
  expect(() => loadKey(join(dir, "absent"))).toThrow(/Cannot read the worker's key/);
});

describe("the control socket", () => {
  const links: ControlLink[] = [];
  afterEach(async () => {
    for (const link of links.splice(0)) await link.stop();
  });

  function connect(heartbeatMs = 1000, own = key) {
    const told: string[] = [];
    const link = createControlLink({
      identity: identityFor(orchestrator, own),
      logger,
      random: () => 0,
      heartbeatMs: () => heartbeatMs,
    });
    links.push(link);
    link.start({
      opened: (welcome) => told.push(`opened ${welcome.sessionId}`),
      closed: () => told.push("closed"),
      order: (message) => told.push(`order ${message.kind}`),
      acknowledged: (body) => told.push(`ack ${body.kind}`),
      refused: (body, code) => told.push(`refused ${body.kind} ${code}`),
      failed: (error, final) => told.push(`failed ${error.code} ${final}`),
    });
    return { link, told };
  }

  it("proves who it is, numbers what it says, and matches answers to it", async () => {
    orchestrator.onMessage = (message, send) => {
      if (message.kind === "ended") send({ kind: "refused", re: message.msg, code: "stale_epoch", message: "no" });
      else send({ kind: "ack", re: message.msg });
    };
    const { link, told } = connect();
    await expect.poll(() => told).toEqual(["opened ses-1"]);
    expect(link.send({ kind: "heartbeat" })).toBe(true);
    link.send({ kind: "started", attempt: ATTEMPT, fromSeq: 0 });
    link.send({ kind: "ended", attempt: ATTEMPT, ranMs: 1, outcome: { kind: "stopped" } });
    await expect.poll(() => told.slice(1)).toEqual(["ack started", "refused ended stale_epoch"]);
    expect(orchestrator.messages.map((message) => message.msg)).toEqual([1, 2, 3]);
    orchestrator.send({ kind: "fence", attempt: ATTEMPT });
    await expect.poll(() => told.at(-1)).toBe("order fence");
  });

  it("tells of each heartbeat that was answered, and of no other; what was sent in an older session says nothing", async () => {
    let answering = false;
    orchestrator.onMessage = (message, send) => {
      if (answering) send({ kind: "ack", re: message.msg });
    };
    const { link, told } = connect();
    await expect.poll(() => told).toEqual(["opened ses-1"]);
    const answered: string[] = [];
    link.sendHeartbeat({ kind: "heartbeat" }, () => answered.push("first"));
    await expect.poll(() => orchestrator.messages).toHaveLength(1);
    answering = true;
    link.sendHeartbeat({ kind: "heartbeat" }, () => answered.push("second"));
    await expect.poll(() => answered).toEqual(["second"]);
    answering = false;
    link.sendHeartbeat({ kind: "heartbeat" }, () => answered.push("third"));
    await expect.poll(() => orchestrator.messages).toHaveLength(3);
    orchestrator.cut();
    await expect.poll(() => told.at(-1)).toBe("opened ses-2");
    orchestrator.send({ kind: "ack", re: 3 });
    orchestrator.send({ kind: "ack", re: 1 });
    orchestrator.send({ kind: "fence", attempt: ATTEMPT });
    await expect.poll(() => told.at(-1)).toBe("order fence");
    expect(answered).toEqual(["second"]);
  });

  it("signs the word that a container is over", async () => {
    const { link, told } = connect();
    await expect.poll(() => told).toHaveLength(1);
    link.send({ kind: "stopped", attempt: ATTEMPT });
    await expect.poll(() => orchestrator.messages).toHaveLength(1);
    const [stopped] = orchestrator.messages;
    expect(stopped).toMatchObject({ attempt: ATTEMPT, signature: key.sign(stoppedText(ATTEMPT)) });
  });

  it("signs checkpoints, and writes amounts as decimals", async () => {
    const { link, told } = connect();
    await expect.poll(() => told).toHaveLength(1);
    const tree = {
      manifestCid: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" as ChunkCid,
      files: 1,
      bytes: 2,
      bytesMoved: 3,
    };
    link.send({ kind: "checkpoint", attempt: ATTEMPT, seq: 2, parentSeq: 1, tree, ranMs: 5, progress: null });
    const offer = {
      gpus: [],
      cpus: 1,
      memoryMiB: 1,
      diskMiB: 1,
      region: "x",
      pricePerCpuHour: { amount: 100_000n, currency: "USD" },
      standbyPercent: 25,
      localImages: [],
      draining: false,
    };
    link.send({ kind: "hello", offer, attempts: [], standbys: [] });
    await expect.poll(() => orchestrator.messages).toHaveLength(2);
    const [checkpoint, hello] = orchestrator.messages;
    if (checkpoint?.kind !== "checkpoint") throw new Error("no checkpoint");
    const der = Buffer.concat([
      Buffer.from("302a300506032b6570032100", "hex"),
      Buffer.from(key.publicKey, "base64url"),
    ]);
    const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
    const signature = Buffer.from(checkpoint.signature, "base64url");
    expect(verify(null, Buffer.from(checkpointText(checkpoint)), publicKey, signature)).toBe(true);
    expect(hello).toMatchObject({ offer: { pricePerCpuHour: { amount: 100_000n } } });
  });

  it("opens again after a cut, and keeps nothing of the old session", async () => {
    const { link, told } = connect();
    await expect.poll(() => told).toEqual(["opened ses-1"]);
    orchestrator.cut();
    await expect.poll(() => told).toEqual(["opened ses-1", "closed", "opened ses-2"]);
    link.send({ kind: "heartbeat" });
    await expect.poll(() => orchestrator.messages.map((message) => message.msg)).toEqual([1]);
  });

  it("gives a silent line up, but not one that is only idle", async () => {
    orchestrator.onMessage = () => undefined;
    const { told } = connect(100);
    await expect.poll(() => told).toContain("opened ses-2");
    expect(told.slice(0, 2)).toEqual(["opened ses-1", "closed"]);
  });

  it("counts output as durable when something later is answered, and not before a tree ahead of it", async () => {
    let answering = true;
    orchestrator.onMessage = (message, send) => {
      if (answering && message.kind !== "log" && message.kind !== "checkpoint") send({ kind: "ack", re: message.msg });
    };
    const { link, told } = connect();
    await expect.poll(() => told).toHaveLength(1);
    const durable: string[] = [];
    const log = { kind: "log", attempt: ATTEMPT, stream: "stdout", offset: 0, text: "x", time: "" } as const;
    link.sendLog(log, () => durable.push("a"));
    link.send({ kind: "heartbeat" });
    await expect.poll(() => durable).toEqual(["a"]);
    const tree = {
      manifestCid: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" as ChunkCid,
      files: 1,
      bytes: 2,
      bytesMoved: 3,
    };
    link.sendLog(log, () => durable.push("b"));
    link.send({ kind: "checkpoint", attempt: ATTEMPT, seq: 1, parentSeq: 0, tree, ranMs: 5, progress: null });
    link.sendLog(log, () => durable.push("c"));
    link.send({ kind: "started", attempt: ATTEMPT, fromSeq: 0 });
    await expect.poll(() => told.at(-1)).toBe("ack started");
    expect(durable).toEqual(["a", "b"]);
    answering = false;
    orchestrator.send({ kind: "ack", re: 4 });
    link.send({ kind: "heartbeat" });
    orchestrator.send({ kind: "ack", re: 7 });
    await expect.poll(() => durable).toEqual(["a", "b", "c"]);
  });

  it("says of output whether it was refused for its epoch", async () => {
    orchestrator.onMessage = (message, send) => {
      if (message.kind === "log" && message.text === "stale") {
        send({ kind: "refused", re: message.msg, code: "stale_epoch", message: "not the current one" });
      } else if (message.kind === "heartbeat") send({ kind: "ack", re: message.msg });
    };
    const { link, told } = connect();
    await expect.poll(() => told).toHaveLength(1);
    const answers: [string, boolean][] = [];
    for (const text of ["good", "stale", "stale", "good"]) {
      const log = { kind: "log", attempt: ATTEMPT, stream: "stdout", offset: 0, text, time: "" } as const;
      link.sendLog(log, (taken) => answers.push([text, taken]));
    }
    link.send({ kind: "heartbeat" });
    await expect.poll(() => answers).toHaveLength(4);
    expect(answers).toEqual([
      ["good", true],
      ["stale", false],
      ["stale", false],
      ["good", true],
    ]);
  });

  it("does not sign for another orchestrator than the enrolled one", async () => {
    orchestrator.orchestratorId = "orc-other";
    const { told } = connect();
    await expect.poll(() => told[0]).toBe("failed wrong_orchestrator true");
  });

  it.each([
    [4001, "protocol_version"],
    [4003, "wrong_key"],
    [4004, "unknown_worker"],
  ])("tells a final refusal (%i) from a passing one", async (code, name) => {
    orchestrator.refuseWith = code;
    const { told } = connect();
    await expect.poll(() => told[0]).toBe(`failed ${name} true`);
    orchestrator.refuseWith = 1013;
    await expect.poll(() => told.at(-1)).toBe("failed link_failed false");
  });

  it("says that a key is not the enrolled one", async () => {
    const { told } = connect(1000, createKey(join(dir, "other.pem")));
    await expect.poll(() => told[0]).toBe("failed wrong_key true");
  });

  it("says that another agent has its identity", async () => {
    const { told } = connect();
    await expect.poll(() => told).toEqual(["opened ses-1"]);
    orchestrator.close(4009);
    await expect.poll(() => told).toEqual(["opened ses-1", "closed", "failed replaced false"]);
  });

  it("ignores what it does not know", async () => {
    const { told } = connect();
    await expect.poll(() => told).toHaveLength(1);
    orchestrator.send({ kind: "news" } as never);
    orchestrator.send({ kind: "release", standbyId: "job-a/s1" });
    await expect.poll(() => told.at(-1)).toBe("order release");
  });
});

describe("the bulk socket", () => {
  let bulk: BulkLink;
  beforeEach(() => {
    bulk = createBulkLink({ identity: identityFor(orchestrator, key), logger, random: () => 0 });
  });
  afterEach(() => bulk.stop());
  const cid = (n: number) =>
    `bafkrei${String(n)
      .padStart(52, "a")
      .replace(/[0189]/g, "b")}` as ChunkCid;

  it("asks, puts and gets, many at once, in frames of bounded size", async () => {
    const pieces = Array.from({ length: 40 }, (_, n) => randomBytes(1 + n * 5000));
    const names = pieces.map(
      (_, n) =>
        `bafkrei${"abcdefghijklmnopqrstuvwxyz234567".charAt(n % 32).repeat(51)}${n < 32 ? "a" : "b"}` as ChunkCid,
    );
    expect(await bulk.missing(JOB, names, never)).toEqual(new Set(names));
    await Promise.all(pieces.map((bytes, n) => bulk.put(JOB, names[n] ?? cid(n), bytes, never)));
    expect(await bulk.missing(JOB, names, never)).toEqual(new Set());
    const back = await Promise.all(names.map((name) => bulk.get(JOB, name, never)));
    expect(back.every((bytes, n) => pieces[n]?.equals(bytes))).toBe(true);
    expect(orchestrator.welcomed.bulk).toBe(1);
  });

  it("measures the line both ways, and says when it may not", async () => {
    expect(await bulk.measure("up", 1_000_000, never)).toBeGreaterThan(0);
    expect(await bulk.measure("down", 4 * 1024 * 1024, never)).toBeGreaterThan(0);
    expect(orchestrator.requests.map(({ kind }) => kind)).toEqual(["measure.up", "measure.down"]);
    orchestrator.onRequest = ({ req }, socket) => {
      socket.send(JSON.stringify({ kind: "refused", req, code: "measured_too_often", message: "later" }));
      return true;
    };
    await expect(bulk.measure("down", 1, never)).rejects.toMatchObject({ code: "measured_too_often" });
  });

  it("keeps to the owner's cap, which may change at any time, and mixes nothing up", async () => {
    let mbps: number | null = 16;
    bulk.stop();
    bulk = createBulkLink({
      identity: identityFor(orchestrator, key),
      logger,
      random: () => 0,
      pacer: createUplinkPacer(() => mbps),
    });
    const pieces = [300_000, 200_000, 500_000].map((bytes) => randomBytes(bytes));
    const names = ["a", "b", "c"].map((letter) => `bafkrei${letter.repeat(52)}` as ChunkCid);
    const sendAll = async () => {
      const begunMs = performance.now();
      await Promise.all([
        ...pieces.map((bytes, n) => bulk.put(JOB, names[n] ?? cid(n), bytes, never)),
        bulk.missing(JOB, names, never),
      ]);
      return performance.now() - begunMs;
    };
    // A million bytes at two million a second, less one frame.
    expect(await sendAll()).toBeGreaterThan(450);
    expect(pieces.every((bytes, n) => orchestrator.chunks.get(names[n] ?? cid(n))?.equals(bytes))).toBe(true);
    mbps = null;
    expect(await sendAll()).toBeLessThan(450);
    expect(orchestrator.welcomed.bulk).toBe(1);
  });

  /** The line takes a million bytes a second. */
  function pace(): void {
    bulk.stop();
    bulk = createBulkLink({
      identity: identityFor(orchestrator, key),
      logger,
      random: () => 0,
      pacer: createUplinkPacer(() => 8),
    });
  }

  it("finishes a chunk that nobody waits for any more, so that the line serves others", async () => {
    pace();
    const abort = new AbortController();
    const given = bulk.put(JOB, cid(1), randomBytes(300_000), abort.signal);
    await expect.poll(() => orchestrator.requests).toHaveLength(1);
    abort.abort(new Error("enough"));
    await expect(given).rejects.toThrow("enough");
    const bytes = randomBytes(1_000);
    await bulk.put(JOB, cid(2), bytes, never);
    expect(orchestrator.chunks.get(cid(2))?.equals(bytes)).toBe(true);
    expect(orchestrator.welcomed.bulk).toBe(1);
  });

  it("does not send what nobody waits for any more and has not begun to leave", async () => {
    pace();
    const abort = new AbortController();
    const given = [1, 2, 3].map((n) => bulk.put(JOB, cid(n), randomBytes(200_000), abort.signal));
    await expect.poll(() => orchestrator.requests).toHaveLength(1);
    abort.abort(new Error("enough"));
    for (const one of given) await expect(one).rejects.toThrow("enough");
    await bulk.put(JOB, cid(4), randomBytes(1_000), never);
    expect(orchestrator.requests).toMatchObject([{ cid: cid(1) }, { cid: cid(4) }]);
    expect(orchestrator.welcomed.bulk).toBe(1);
  });

  it("says what was refused", async () => {
    await expect(bulk.get(JOB, cid(1), never)).rejects.toMatchObject({ code: "chunk_unknown" });
  });

  it("goes on after a cut in the middle of a chunk", async () => {
    let cuts = 2;
    orchestrator.onRequest = (request, socket) => {
      if (request.kind !== "put" || cuts === 0) return false;
      cuts -= 1;
      socket.terminate();
      return true;
    };
    const bytes = randomBytes(300_000);
    await bulk.put(JOB, cid(1), bytes, never);
    expect(orchestrator.chunks.get(cid(1))?.equals(bytes)).toBe(true);
    expect(orchestrator.welcomed.bulk).toBe(3);
  });

  it("does not wait for a line that is being closed, and loses nothing with it", async () => {
    const sockets: Socket[] = [];
    let ended = 0;
    // Brings everything but the end of a connection, as a line that is lost in the midst of its closing.
    const between = createServer({ allowHalfOpen: true }, (client) => {
      const upstream = connect(Number(new URL(orchestrator.url).port), "127.0.0.1");
      upstream.on("data", (bytes) => client.write(bytes)).on("end", () => (ended += 1));
      client.on("data", (bytes) => upstream.write(bytes));
      for (const socket of [client, upstream]) sockets.push(socket.on("error", () => undefined));
    });
    await new Promise<void>((resolve) => between.listen(0, "127.0.0.1", resolve));
    bulk.stop();
    const url = `http://127.0.0.1:${(between.address() as AddressInfo).port}`;
    bulk = createBulkLink({ identity: { ...identityFor(orchestrator, key), url }, logger, random: () => 0 });
    let isFirst = true;
    orchestrator.onRequest = (_request, socket) => {
      if (isFirst) setImmediate(() => socket.close(1001, "closed by the test"));
      isFirst = false;
      return false;
    };
    try {
      await bulk.missing(JOB, [cid(1)], never);
      // The goodbyes of both are said.
      await expect.poll(() => ended).toBe(1);
      const bytes = randomBytes(1_000);
      await bulk.put(JOB, cid(1), bytes, never);
      expect(orchestrator.chunks.get(cid(1))?.equals(bytes)).toBe(true);
      expect(orchestrator.welcomed.bulk).toBe(2);
    } finally {
      for (const socket of sockets) socket.destroy();
      between.close();
    }
  });

  it("gives a request up that breaks every line", async () => {
    orchestrator.onRequest = (_request, socket) => {
      socket.terminate();
      return true;
    };
    await expect(bulk.get(JOB, cid(1), never)).rejects.toMatchObject({ code: "line_lost" });
  }, 60_000);

  it("stops waiting when it is told to", async () => {
    orchestrator.onRequest = () => true;
    const abort = new AbortController();
    const waiting = bulk.get(JOB, cid(1), abort.signal);
    await expect.poll(() => orchestrator.requests).toHaveLength(1);
    abort.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  it("breaks with one that sends bytes nobody asked for", async () => {
    let spoiled = false;
    orchestrator.chunks.set(cid(1), Buffer.from("good"));
    orchestrator.onRequest = (_request, socket) => {
      if (spoiled) return false;
      spoiled = true;
      socket.send(Buffer.from("stray"));
      return true;
    };
    expect(Buffer.from(await bulk.get(JOB, cid(1), never)).toString()).toBe("good");
    expect(orchestrator.welcomed.bulk).toBe(2);
  });
});

describe("the window", () => {
  it("never lets out more than its bounds, and lets everything out in the end", async () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 3000 }), { minLength: 1, maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(sizes, fc.infiniteStream(fc.nat(50)), async (requests, delays) => {
        let nowMs = 0;
        let inFlight = 0;
        let count = 0;
        let done = 0;
        const window = createWindow({ bytesMax: 4000, requestsMax: 5, nowMs: () => nowMs });
        const releases: (() => void)[] = [];
        const entered = requests.map((bytes) =>
          window.enter(bytes, never).then((release) => {
            inFlight += bytes;
            count += 1;
            expect(count).toBeLessThanOrEqual(5);
            if (count > 1) expect(inFlight).toBeLessThanOrEqual(4000 + 3000);
            releases.push(() => {
              inFlight -= bytes;
              count -= 1;
              done += 1;
              release();
            });
          }),
        );
        for (const delay of delays) {
          await Promise.resolve();
          nowMs += delay;
          releases.shift()?.();
          if (done === requests.length) break;
        }
        await Promise.all(entered);
      }),
    );
  });

  it("follows what the line carries, up to its bound", async () => {
    let nowMs = 0;
    const window = createWindow({ bytesMax: 8_000_000, requestsMax: 16, nowMs: () => nowMs });
    for (let i = 0; i < 50; i += 1) {
      const release = await window.enter(1_000_000, never);
      nowMs += 1000;
      release();
    }
    // One megabyte a second: half a second of it.
    expect(window.bound()).toBeCloseTo(500_000, -4);
  });
});

it("tries again at once, then less often, never all at one time", () => {
  const slow = createBackoff(() => 1);
  const pauses = Array.from({ length: 60 }, () => slow.next());
  expect(pauses.slice(0, 5)).toEqual([200, 400, 800, 1600, 2000]);
  expect(Math.max(...pauses.slice(0, 30))).toBe(2000);
  expect(pauses.at(-1)).toBe(8_000);
  slow.reset();
  expect(slow.next()).toBe(200);
  expect(createBackoff(() => 0).next()).toBe(100);
});
