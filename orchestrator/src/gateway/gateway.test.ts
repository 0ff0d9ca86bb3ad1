import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { WebSocket } from "ws";
import {
  BULK_FRAME_BYTES_MAX,
  checkpointText,
  CONTROL_FRAME_BYTES_MAX,
  sealingKeyText,
  stoppedText,
  tickText,
} from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import { contradictionFault } from "@qubix/shared/runtime";
import type { Epoch, JobId } from "@qubix/shared/domain";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cidOf } from "../checkpoints/index.ts";
import { buildTree, type BuiltTree } from "../checkpoints/testing/trees.ts";
import { CLOSE_CODES } from "./index.ts";
import { QUEUED_MESSAGES_MAX } from "./limits.ts";
import {
  authenticateAs,
  connect,
  connectBulk,
  dial,
  OFFER,
  startRig,
  type Identity,
  type Message,
  type Peer,
  type Rig,
} from "./testing/rig.ts";

const AUTH_TIMEOUT_MS = 300;

describe("the worker gateway", () => {
  let rig: Rig;
  let ann: Identity;
  beforeEach(async () => {
    rig = await startRig({ authTimeoutMs: AUTH_TIMEOUT_MS });
    ann = await rig.enrol("ann");
  });
  afterEach(() => rig.stop());

  const worker = () => rig.store.load().rows.workers.find((row) => row.id === ann.workerId);

  describe("the key for secrets", () => {
    const publicKey = Buffer.alloc(32, 7).toString("base64url");
    const features = ["egress", "secrets"];
    const offerOf = async (offer: object) => {
      const peer = await connect(rig, ann);
      peer.send({ kind: "offer", msg: 1, offer: { ...OFFER, ...offer } });
      await expect.poll(() => worker()?.offer?.features).toBeDefined();
      return worker()?.offer;
    };

    it("counts with the signature of the worker's own key", async () => {
      const sealingKey = { publicKey, signature: ann.sign(sealingKeyText(ann.workerId, publicKey)) };
      expect(await offerOf({ features, sealingKey })).toMatchObject({ features, sealingKey });
    });
    it.each(["somebody else's", "another text's", "no"])("does not count with %s signature", async (whose) => {
      const bob = await rig.enrol("bob");
      const texts: Record<string, string> = {
        "somebody else's": bob.sign(sealingKeyText(ann.workerId, publicKey)),
        "another text's": ann.sign(sealingKeyText(bob.workerId, publicKey)),
      };
      const sealingKey = { publicKey, signature: texts[whose] ?? "AA" };
      const offer = await offerOf({ features, sealingKey });
      expect(offer?.features).toEqual(["egress"]);
      expect(offer).not.toHaveProperty("sealingKey");
    });
    it("is needed to take jobs that have some", async () => {
      expect((await offerOf({ features }))?.features).toEqual(["egress"]);
    });
  });

  describe("authentication", () => {
    it("welcomes a worker with its key, and the core takes its hello", async () => {
      await connect(rig, ann);
      expect(worker()).toMatchObject({ phase: "online", offer: { cpus: 4 } });
      expect(rig.gateway.gauges()).toEqual({
        worker_sockets: 1,
        worker_bulk_sockets: 0,
        worker_sockets_unauthenticated: 0,
        worker_sockets_in_line: 0,
      });
    });

    it("tells the core where a worker comes from", async () => {
      await connect(rig, ann);
      expect(rig.writer.state().ix.machines.get(ann.workerId)?.network).toBe("127.0.0.0/24");
    });

    it.each([
      [
        "another key",
        CLOSE_CODES.wrongKey,
        /not by the key/,
        async (): Promise<Record<string, unknown>> => ({ signature: (await rig.enrol("bob")).sign("x") }),
      ],
      ["a signature that is none", CLOSE_CODES.wrongKey, /not by the key/, async () => ({ signature: "AAAA" })],
      [
        "another protocol",
        CLOSE_CODES.protocolVersion,
        /protocol 1, the worker 7/,
        async () => ({ protocol: 7, more: true }),
      ],
      ["an unknown worker", CLOSE_CODES.unknownWorker, /not enrolled/, async () => ({ workerId: "wrk-nobody" })],
      ["a field too many", CLOSE_CODES.malformed, /more/, async () => ({ more: true })],
      ["another kind of message", CLOSE_CODES.malformed, /kind/, async () => ({ kind: "hello" })],
    ])("closes on %s and says why", async (_, code, reason, replaced) => {
      const peer = await dial(rig, "/v1/worker");
      await authenticateAs(peer, "control", ann, await replaced());
      expect(await peer.closed).toEqual({ code, reason: expect.stringMatching(reason) });
      expect(worker()?.sessionId).toBeNull();
    });

    it("does not take a signature for one socket on the other", async () => {
      const peer = await dial(rig, "/v1/worker/bulk");
      await authenticateAs(peer, "control", ann);
      expect((await peer.closed).code).toBe(CLOSE_CODES.wrongKey);
    });

    it("closes what never authenticates, and what never finishes its request", async () => {
      const silent = await dial(rig, "/v1/worker");
      expect((await silent.closed).code).toBe(CLOSE_CODES.authTimeout);
      expect(rig.gateway.gauges().worker_sockets_unauthenticated).toBe(0);
    });

    it("leaves other paths to others", async () => {
      const ws = new WebSocket(`${rig.url}/v1/other`);
      const [error] = (await once(ws, "error")) as [Error];
      expect(error.message).toMatch(/hang up|ECONNRESET/);
    });

    it("lets go of a socket that it refused, also where the other side does not hang up", async () => {
      await rig.gateway.stop();
      const { port } = new URL(rig.url.replace("ws:", "http:"));
      const socket = connectTcp({ port: Number(port), host: "127.0.0.1", allowHalfOpen: true });
      const isGone = new Promise((resolve) => socket.once("error", resolve).once("close", resolve));
      socket.write("GET /v1/worker HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
      const [answer] = (await once(socket, "data")) as [Buffer];
      expect(answer.toString()).toContain(" 503 ");
      // Only a socket that is closed on the other side as well says no to this.
      const more = setInterval(() => socket.write("still here"), 5);
      await isGone;
      clearInterval(more);
      socket.destroy();
    });

    it("survives a peer that cuts the line in the middle of everything", async () => {
      const { port } = new URL(rig.url.replace("ws:", "http:"));
      const socket = connectTcp(Number(port), "127.0.0.1");
      await once(socket, "connect");
      socket.write("GET /v1/worker HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
      socket.destroy();
      const peer = await dial(rig, "/v1/worker");
      peer.ws.terminate();
      const greeted = await connect(rig, ann);
      greeted.ws.terminate();
      await expect.poll(() => worker()?.phase).toBe("suspect");
    });
  });

  describe("the control socket", () => {
    it("closes on a malformed message with the first wrong field, and nothing else ends", async () => {
      const other = await connect(rig, await rig.enrol("bob"));
      for (const [text, why] of [
        ["not json", /JSON/],
        ['{"kind":"heartbeat","msg":-1}', /msg/],
        ['{"kind":"heartbeat","msg":1,"more":1}', /more/],
        ['{"kind":"nonsense","msg":1}', /kind/],
        ['{"kind":"started","msg":1,"attempt":{"jobId":"x"},"fromSeq":0}', /attempt\.jobId/],
      ] as const) {
        const peer = await connect(rig, ann);
        peer.ws.send(text);
        expect(await peer.closed).toEqual({ code: CLOSE_CODES.malformed, reason: expect.stringMatching(why) });
      }
      const binary = await connect(rig, ann);
      binary.ws.send(Buffer.from("{}"));
      expect((await binary.closed).code).toBe(CLOSE_CODES.malformed);
      other.send({ kind: "heartbeat", msg: 5 });
      expect(await other.next("ack")).toMatchObject({ re: 5 });
    });

    it("closes on a frame beyond the bound", async () => {
      const peer = await connect(rig, ann);
      peer.ws.send(" ".repeat(CONTROL_FRAME_BYTES_MAX + 1));
      expect((await peer.closed).code).toBe(1009);
      await expect.poll(() => worker()?.phase).toBe("suspect");
    });

    it("acknowledges heartbeats, with and without attempts", async () => {
      const peer = await connect(rig, ann);
      const attempt = { jobId: "job-1", replica: 0, epoch: 1 };
      peer.send({ kind: "heartbeat", msg: 1 });
      peer.send({ kind: "heartbeat", msg: 2, attempts: [{ attempt, ranMs: 1, progress: null }] });
      expect(await peer.next("ack")).toMatchObject({ re: 1 });
      expect(await peer.next("ack")).toMatchObject({ re: 2 });
    });

    it("lets the newest connection of a worker replace the one before, which is not its end", async () => {
      const first = await connect(rig, ann);
      const second = await connect(rig, ann);
      expect(await first.closed).toMatchObject({ code: CLOSE_CODES.replaced });
      second.send({ kind: "heartbeat", msg: 9 });
      expect(await second.next("ack")).toMatchObject({ re: 9 });
      expect(worker()?.phase).toBe("online");
      expect(rig.gateway.gauges().worker_sockets).toBe(1);
    });

    it("keeps the order of what one worker says, and everything of a burst", async () => {
      const peer = await connect(rig, ann);
      const count = 3 * QUEUED_MESSAGES_MAX;
      for (let msg = 1; msg <= count; msg++)
        peer.send({ kind: "offer", msg, offer: { ...OFFER, cpus: 1 + (msg % 2) } });
      const seen: unknown[] = [];
      while (seen.length < count) seen.push((await peer.next("ack")).re);
      expect(seen).toEqual(Array.from({ length: count }, (_, n) => n + 1));
    });

    it("closes its sockets when a commit failed, and takes the workers back", async () => {
      const peer = await connect(rig, ann);
      rig.failCommits = 1;
      peer.send({ kind: "offer", msg: 1, offer: { ...OFFER, cpus: 1 } });
      expect((await peer.closed).code).toBe(CLOSE_CODES.tryLater);
      await connect(rig, ann);
      expect(worker()).toMatchObject({ phase: "online", offer: { cpus: 4 } });
    });

    it("ends a session whose message it cannot look into, and nothing else", async () => {
      const peer = await connect(rig, ann);
      const { store } = rig.writer;
      const tick = store.tick.bind(store);
      store.tick = () => {
        throw new Error("disk I/O error");
      };
      const attempt = { jobId: "job-1" as JobId, replica: 0, epoch: 1 as Epoch };
      const body = { attempt, n: 1, moment: "checkpoint" as const, ranMs: 0, prev: null };
      peer.send({ kind: "tick", msg: 1, ...body, signature: ann.sign(tickText(body)) });
      expect((await peer.closed).code).toBe(CLOSE_CODES.tryLater);
      store.tick = tick;
      await connect(rig, ann);
      expect(worker()).toMatchObject({ phase: "online" });
    });

    it("ends what a slow reader lets pile up", async () => {
      const peer = await connect(rig, ann);
      const sessionId = worker()!.sessionId!;
      peer.ws.pause();
      const large = "x".repeat(1_000_000);
      for (let n = 0; n < 30; n++) {
        rig.gateway.send(ann.workerId, sessionId, { kind: "refused", re: n, code: "test", message: large });
        rig.gateway.flush();
      }
      await expect.poll(() => rig.gateway.gauges().worker_sockets).toBe(0);
      peer.ws.resume();
      await peer.closed;
    });

    it("says goodbye when it stops", async () => {
      const peer = await connect(rig, ann);
      await rig.gateway.stop();
      await rig.gateway.stop();
      expect((await peer.closed).code).toBe(CLOSE_CODES.goingAway);
      const ws = new WebSocket(`${rig.url}/v1/worker`);
      const [error] = (await once(ws, "error")) as [Error];
      expect(error.message).toMatch(/503/);
    });
  });

  describe("with a job", () => {
    let control: Peer;
    let bulk: Peer;
    let jobId: JobId;
    const attempt = () => ({ jobId, replica: 0, epoch: 1 as Epoch });
    const job = () => rig.store.job(jobId)?.job;

    beforeEach(async () => {
      control = await connect(rig, ann);
      bulk = await connectBulk(rig, ann);
      jobId = await rig.submitJob();
      expect(await control.next("assign")).toMatchObject({ attempt: attempt() });
      control.send({ kind: "started", msg: 1, attempt: attempt(), fromSeq: 0 });
      await control.next("ack");
    });

    const put = async (cid: string, bytes: Buffer, id = jobId): Promise<Message> => {
      bulk.send({ kind: "put", req: 1, jobId: id, cid, stored: bytes.length });
      for (let at = 0; at < bytes.length; at += BULK_FRAME_BYTES_MAX) {
        bulk.ws.send(bytes.subarray(at, at + BULK_FRAME_BYTES_MAX));
      }
      return answer();
    };
    const answer = async (): Promise<Message> => {
      await expect.poll(() => bulk.inbox.length).toBeGreaterThan(0);
      return bulk.inbox.shift() as Message;
    };
    const uploadTree = async (tree: BuiltTree): Promise<void> => {
      for (const { cid, bytes } of tree.chunks) expect(await put(cid, bytes)).toEqual({ kind: "stored", req: 1 });
    };
    const checkpoint = (tree: BuiltTree, replaced: object = {}) => {
      const body = {
        kind: "checkpoint",
        msg: 2,
        attempt: attempt(),
        seq: 1,
        parentSeq: 0,
        tree: tree.ref,
        ranMs: 10,
        progress: 0.5,
      };
      const signature = ann.sign(checkpointText(body));
      control.send({ ...body, signature, ...replaced });
    };

    it("stores chunks that are what they say, tells which are missing, and gives them back", async () => {
      const bytes = Buffer.alloc(3 * BULK_FRAME_BYTES_MAX + 5, "chunk");
      const cid = cidOf(bytes);
      bulk.send({ kind: "have", req: 7, jobId, cids: [cid] });
      expect(await answer()).toEqual({ kind: "missing", req: 7, cids: [cid] });
      expect(await put(cid, bytes)).toEqual({ kind: "stored", req: 1 });
      bulk.send({ kind: "have", req: 8, jobId, cids: [cid] });
      expect(await answer()).toEqual({ kind: "missing", req: 8, cids: [] });
      bulk.send({ kind: "get", req: 9, jobId, cid });
      expect(await bulk.next("data")).toEqual({ kind: "data", req: 9, stored: bytes.length });
      const parts: Buffer[] = [];
      while (Buffer.concat(parts).length < bytes.length) parts.push(await bulk.nextBytes());
      expect(Buffer.concat(parts).equals(bytes)).toBe(true);
      expect(Math.max(...parts.map((part) => part.length))).toBeLessThanOrEqual(BULK_FRAME_BYTES_MAX);
    });

    it("stores everything of a sender that waits for nothing", async () => {
      const count = 40;
      const chunks = Array.from({ length: count }, (_, n) => Buffer.alloc(1024 * 1024, `chunk ${n} `));
      for (const [req, bytes] of chunks.entries()) {
        bulk.send({ kind: "put", req, jobId, cid: cidOf(bytes), stored: bytes.length });
        for (let at = 0; at < bytes.length; at += BULK_FRAME_BYTES_MAX) {
          bulk.ws.send(bytes.subarray(at, at + BULK_FRAME_BYTES_MAX));
        }
      }
      const stored = new Set<unknown>();
      while (stored.size < count) stored.add((await bulk.next("stored")).req);
      control.send({ kind: "heartbeat", msg: 60 });
      expect(await control.next("ack")).toMatchObject({ re: 60 });
    });

    it("refuses wrong bytes, unknown chunks, and jobs the worker does not hold, and goes on", async () => {
      const bytes = Buffer.from("bytes");
      const cid = cidOf(bytes);
      expect(await put(cidOf(Buffer.from("others")), bytes)).toMatchObject({ kind: "refused", code: "chunk_mismatch" });
      expect(await put(cid, bytes, "job-none" as JobId)).toMatchObject({ kind: "refused", code: "not_held" });
      bulk.send({ kind: "get", req: 2, jobId, cid });
      expect(await answer()).toMatchObject({ kind: "refused", req: 2, code: "chunk_unknown" });
      bulk.send({ kind: "have", req: 3, jobId: "job-none", cids: [cid] });
      expect(await answer()).toMatchObject({ kind: "refused", req: 3, code: "not_held" });
      expect(await put(cid, bytes)).toMatchObject({ kind: "stored" });
    });

    it("lets nobody be refused while it does not know who holds what: they come again", async () => {
      const cid = cidOf(Buffer.from("bytes"));
      const other = await connectBulk(rig, ann);
      const known = () => {
        try {
          return rig.writer.state() !== undefined;
        } catch {
          return false;
        }
      };
      rig.failCommits = Number.MAX_SAFE_INTEGER;
      control.send({ kind: "offer", msg: 9, offer: { ...OFFER, cpus: 1 } });
      await expect.poll(known).toBe(false);
      bulk.send({ kind: "get", req: 1, jobId, cid });
      other.send({ kind: "have", req: 1, jobId, cids: [cid] });
      for (const peer of [bulk, other]) {
        const answer = await Promise.race([peer.closed, peer.next("refused")]);
        expect(answer).toMatchObject({ code: CLOSE_CODES.tryLater });
      }
      rig.failCommits = 0;
    });

    it("refuses what its consumer has no room for, tells him why on the timeline, and the job goes on", async () => {
      await rig.stop();
      rig = await startRig({}, {}, 2_000);
      ann = await rig.enrol("ann");
      control = await connect(rig, ann);
      bulk = await connectBulk(rig, ann);
      jobId = await rig.submitJob();
      await control.next("assign");
      const [first, second] = [randomBytes(1_500), randomBytes(2_500)];
      expect(await put(cidOf(first), first)).toMatchObject({ kind: "stored" });
      for (let tries = 0; tries < 3; tries += 1) {
        const refused = await put(cidOf(second), second);
        expect(refused).toMatchObject({ kind: "refused", code: "storage_quota" });
        expect(refused["message"]).toContain("qubix checkpoints rm");
      }
      const told = () =>
        rig.store.events({ jobId, after: 0, limit: 100 }).filter(({ kind }) => kind === "storage_refused");
      await expect.poll(told).toMatchObject([{ data: { code: "storage_quota", newestSeq: 0 } }]);
      expect(job()?.phase).toBe("starting");
    });

    it("measures the line both ways, three times, and keeps nothing of it", async () => {
      const bytes = 2 * BULK_FRAME_BYTES_MAX + 5;
      const measureUp = async (req: number) => {
        bulk.send({ kind: "measure.up", req, bytes });
        for (let left = bytes; left > 0; left -= BULK_FRAME_BYTES_MAX) {
          bulk.ws.send(Buffer.alloc(Math.min(left, BULK_FRAME_BYTES_MAX)));
        }
        return answer();
      };
      for (const req of [1, 2, 3]) expect(await measureUp(req)).toEqual({ kind: "stored", req });
      expect(await measureUp(4)).toMatchObject({ kind: "refused", req: 4, code: "measured_too_often" });
      for (const req of [5, 6, 7]) {
        bulk.send({ kind: "measure.down", req, bytes });
        expect(await answer()).toEqual({ kind: "data", req, stored: bytes });
        for (let left = bytes; left > 0; ) left -= (await bulk.nextBytes()).length;
      }
      bulk.send({ kind: "measure.down", req: 8, bytes });
      expect(await answer()).toMatchObject({ kind: "refused", req: 8, code: "measured_too_often" });
      // Another socket of the same worker is the same worker; another worker is not.
      const again = await connectBulk(rig, ann);
      again.send({ kind: "measure.down", req: 1, bytes });
      expect(await again.next("refused")).toMatchObject({ code: "measured_too_often" });
      const other = await connectBulk(rig, await rig.enrol("carl"));
      other.send({ kind: "measure.down", req: 1, bytes });
      expect(await other.next("data")).toMatchObject({ stored: bytes });
    });

    it("closes on more bytes than the measure named", async () => {
      bulk.send({ kind: "measure.up", req: 1, bytes: 10 });
      bulk.ws.send(Buffer.alloc(11));
      expect(await bulk.closed).toMatchObject({ code: CLOSE_CODES.malformed });
    });

    it("does not give one worker what it does not hold", async () => {
      const bytes = Buffer.from("bytes");
      await put(cidOf(bytes), bytes);
      const other = await connectBulk(rig, await rig.enrol("bob"));
      other.send({ kind: "get", req: 1, jobId, cid: cidOf(bytes) });
      expect(await other.next("refused")).toMatchObject({ code: "not_held" });
    });

    it.each([
      ["bytes without a put", (peer: Peer) => peer.ws.send(Buffer.from("x"))],
      [
        "a text in the middle of a chunk",
        (peer: Peer) => {
          peer.send({ kind: "put", req: 1, jobId, cid: cidOf(Buffer.from("x")), stored: 10 });
          peer.send({ kind: "have", req: 2, jobId, cids: [] });
        },
      ],
      [
        "more bytes than were named",
        (peer: Peer) => {
          peer.send({ kind: "put", req: 1, jobId, cid: cidOf(Buffer.from("x")), stored: 1 });
          peer.ws.send(Buffer.from("xyz"));
        },
      ],
      [
        "too large a frame",
        (peer: Peer) => {
          peer.send({ kind: "put", req: 1, jobId, cid: cidOf(Buffer.from("x")), stored: BULK_FRAME_BYTES_MAX * 2 });
          peer.ws.send(Buffer.alloc(BULK_FRAME_BYTES_MAX + 1));
        },
      ],
      ["an unknown request", (peer: Peer) => peer.send({ kind: "delete", req: 1 })],
    ])("closes the bulk socket on %s; the control socket goes on", async (_, act) => {
      act(bulk);
      expect((await bulk.closed).code).toBe(CLOSE_CODES.malformed);
      control.send({ kind: "heartbeat", msg: 50 });
      expect(await control.next("ack")).toMatchObject({ re: 50 });
    });

    it("passes a checkpoint on when its signature is right and all of it is durable", async () => {
      const tree = buildTree({ "state.bin": "step 10" });
      await uploadTree(tree);
      checkpoint(tree);
      expect(await control.next("ack")).toMatchObject({ re: 2 });
      expect(job()?.checkpoints).toMatchObject([{ seq: 1, tree: tree.ref }]);
      checkpoint(tree);
      expect(await control.next("ack")).toMatchObject({ re: 2 });
    });

    it("refuses a checkpoint that another signed, that is not whole, or not as large as it says", async () => {
      const tree = buildTree({ a: "one", b: "two" });
      await put(tree.chunks.at(-1)!.cid, tree.chunks.at(-1)!.bytes);
      checkpoint(tree);
      expect(await control.next("refused")).toMatchObject({ re: 2, code: "chunks_missing" });
      await uploadTree(tree);
      checkpoint(tree, { signature: ann.sign("something else") });
      expect(await control.next("refused")).toMatchObject({ code: "signature_invalid" });
      checkpoint(tree, { tree: { ...tree.ref, bytes: 1 } });
      expect(await control.next("refused")).toMatchObject({ code: "tree_invalid" });
      expect(job()?.checkpoints).toEqual([]);
      checkpoint(tree);
      expect(await control.next("ack")).toMatchObject({ re: 2 });
    });

    it("takes the word that a container is over only where this worker signed it, for that very attempt", async () => {
      const text = stoppedText(attempt());
      const say = (msg: number, signature: string) =>
        control.send({ kind: "stopped", msg, attempt: attempt(), signature });
      say(2, ann.sign("something else"));
      expect(await control.next("refused")).toMatchObject({ re: 2, code: "signature_invalid" });
      say(3, ann.sign(stoppedText({ ...attempt(), epoch: 2 })));
      expect(await control.next("refused")).toMatchObject({ re: 3, code: "signature_invalid" });
      say(4, ann.sign(text));
      expect(await control.next("ack")).toMatchObject({ re: 4 });
    });

    it("keeps ticks that this worker signed, tells where the chain stands, and keeps two of one number as evidence", async () => {
      const tick = (n: number, ranMs: number, prev: string | null = null) => {
        const body = { attempt: attempt(), n, moment: "checkpoint" as const, ranMs, prev };
        return { body, hash: tickHash(body), signature: ann.sign(tickText(body)) };
      };
      let msg = 10;
      const say = ({ body, signature }: ReturnType<typeof tick>) =>
        control.send({ kind: "tick", msg: (msg += 1), ...body, signature });
      say({ ...tick(1, 0), signature: ann.sign("something else") });
      expect(await control.next("refused")).toMatchObject({ code: "signature_invalid", head: { n: 0, hash: null } });
      const [first, second] = [tick(2, 0), tick(3, 0, tick(2, 0).hash)];
      for (const one of [first, second, first]) {
        say(one);
        expect(await control.next("ack")).toMatchObject({ re: msg });
      }
      say(tick(2, 7));
      const head = { n: 3, hash: second.hash };
      expect(await control.next("refused")).toMatchObject({ re: msg, code: "tick_out_of_chain", head });
      const kept = rig.store.ticks({ jobId: attempt().jobId, after: 0, limit: 9 });
      expect(kept.map(({ n, ranMs, contradicts }) => [n, ranMs, contradicts])).toEqual([
        [2, 0, undefined],
        [3, 0, undefined],
        [2, 7, true],
      ]);
      const [slash] = rig.store.load().rows.cases;
      expect(slash).toMatchObject({ kind: "slash", offence: "contradiction", workerId: ann.workerId });
      if (slash?.kind !== "slash") throw new Error("nobody was accused");
      // Anybody can check it with the worker's public key.
      expect(contradictionFault(slash.publicKey, JSON.parse(slash.evidence))).toBeNull();
    });

    it("passes an end on after the checkpoint that was sent before it", async () => {
      const tree = buildTree({ a: "one" });
      await uploadTree(tree);
      checkpoint(tree);
      const outcome = { kind: "failed", code: "exit_code", exitCode: 1, message: "no" };
      control.send({ kind: "ended", msg: 3, attempt: attempt(), ranMs: 20, outcome });
      expect(await control.next("ack")).toMatchObject({ re: 2 });
      expect(await control.next("ack")).toMatchObject({ re: 3 });
      expect(job()?.checkpoints).toHaveLength(1);
    });

    it("takes a result with its outputs, and keeps them", async () => {
      const tree = buildTree({ "model.bin": "weights" });
      await uploadTree(tree);
      control.send({
        kind: "ended",
        msg: 4,
        attempt: attempt(),
        ranMs: 5,
        outcome: { kind: "succeeded", outputs: tree.ref },
      });
      expect(await control.next("ack")).toMatchObject({ re: 4 });
      expect(job()).toMatchObject({ phase: "succeeded", outputs: tree.ref });
      const { accountId } = job()!;
      const manifest = await rig.chunks.readManifest(accountId, tree.ref.manifestCid);
      const parts: Uint8Array[] = [];
      for await (const part of rig.chunks.openFile(accountId, manifest, "model.bin")) parts.push(part);
      expect(Buffer.concat(parts).toString()).toBe("weights");
    });

    it("counts a result whose outputs are not here as the worker's failure: the job goes on", async () => {
      const tree = buildTree({ "model.bin": "weights" });
      control.send({
        kind: "ended",
        msg: 4,
        attempt: attempt(),
        ranMs: 5,
        outcome: { kind: "succeeded", outputs: tree.ref },
      });
      expect(await control.next("ack")).toMatchObject({ re: 4 });
      expect(job()).toMatchObject({ outputs: null, failoversUsed: 1 });
      expect(job()?.phase).not.toBe("succeeded");
    });
  });
});
