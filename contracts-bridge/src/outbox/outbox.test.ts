import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import type { JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { createPublicClient, type Hex, http, parseTransaction, toHex } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createEvmDriver } from "../evm/driver.ts";
import { escrowAbi } from "../evm/artifact.ts";
import { compileEscrow } from "../evm/testing/compile.ts";
import { deployLab, idOf, type EvmLab } from "../evm/testing/lab.ts";
import { type EvmNode, startEvmNode } from "../evm/testing/node.ts";
import type { Intent, Prepared } from "../port/intents.ts";
import { createOutbox, type Outbox } from "./outbox.ts";
import { openOutbox, type OutboxStore } from "./store.ts";

/** `scripts/test --full` kills more often. */
const KILLS = Number(process.env["QUBIX_TEST_OUTBOX_KILLS"] ?? 10);
const JOBS = 40;
const BLOCK_MS = 80;
const FINALITY = 4;
/** Blocks whose states an ordinary node still has. */
const KEPT_STATES = 128;
const KEY: Hex = `0x${"5b".repeat(32)}`;
const signer = privateKeyToAccount(KEY).address;
const artifact = compileEscrow();
const PROGRAM = fileURLToPath(new URL("testing/pay-loop.ts", import.meta.url));

let node: EvmNode;
let lab: EvmLab;
let folder: string;
let before: string;
beforeAll(async () => {
  node = await startEvmNode();
  lab = await deployLab(node, artifact, signer);
  await node.rpc("hardhat_setBalance", signer, toHex(10n ** 20n));
  // The contract itself is final, as one that is in use would be.
  await node.rpc("hardhat_mine", toHex(FINALITY));
});
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "qubix-outbox-"));
  before = await node.rpc("evm_snapshot");
});
afterEach(async () => {
  await node.rpc("evm_revert", before);
  rmSync(folder, { recursive: true, force: true });
});
afterAll(async () => {
  await node?.stop();
});

const optionsOf = () => ({ url: node.url, chainId: node.chainId, escrow: lab.escrow, token: lab.token, key: KEY });

describe("the outbox on disk", () => {
  it("keeps what was added, once, and says no to another content under the same id", () => {
    const store = openOutbox(join(folder, "outbox.db"));
    const intent: Intent = { kind: "refund", jobId: "job-1" as JobId };
    expect(store.add("a", intent)).toBe(true);
    expect(store.add("a", intent)).toBe(false);
    expect(() => store.add("a", { kind: "refund", jobId: "job-2" as JobId })).toThrow(/another one/);
    const settle: Intent = { kind: "settle", jobId: "job-1" as JobId, shares: [{ to: "x", amount: 2n ** 70n }] };
    store.add("b", settle);
    store.keep("b", { raw: "0x01", hash: "0x02", place: 7, fee: 9n });
    store.close();
    const again = openOutbox(join(folder, "outbox.db"));
    expect(again.get("b")).toEqual({
      id: "b",
      intent: settle,
      phase: "signed",
      tries: [{ raw: "0x01", hash: "0x02", place: 7, fee: 9n }],
    });
    expect(again.open(10).map(({ id }) => id)).toEqual(["a", "b"]);
    expect(again.last()).toMatchObject({ place: 7 });
    again.close();
  });

  it("is one process's at a time", () => {
    const store = openOutbox(join(folder, "outbox.db"));
    expect(() => openOutbox(join(folder, "outbox.db"))).toThrow(/in use by another process/);
    store.close();
  });
});

describe("on a chain", () => {
  let store: OutboxStore;
  let outbox: Outbox;
  let mining: NodeJS.Timeout;
  const ends: string[] = [];
  beforeEach(async () => {
    ends.length = 0;
    store = openOutbox(join(folder, "outbox.db"));
    const driver = createEvmDriver({ ...optionsOf(), finality: FINALITY, feeMax: 10n ** 12n });
    const logger = createLogger("test", "silent");
    outbox = createOutbox(
      {
        driver,
        store,
        logger,
        clock: { nowMs: () => performance.now() },
        finished: (id, _intent, phase) => void ends.push(`${id} ${phase}`),
      },
      { pollMs: 20, bumpMs: 1_000 },
    );
    outbox.start();
    mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
  });
  afterEach(async () => {
    clearInterval(mining);
    await outbox.stop();
    store.close();
  });

  it("intents come true in order, and what the contract refuses is told as refused", async () => {
    await deposits(3);
    outbox.add("one", settle(0, 600n));
    outbox.add("none left", settle(0, 601n));
    outbox.add("two", { kind: "refund", jobId: "job-1" as JobId });
    outbox.add("frozen", { kind: "dispute", jobId: "job-2" as JobId });
    await until(() => ends.length === 4);
    // Of one job in order; others overtake what waits for its own.
    expect(ends).toEqual(["one applied", "two applied", "frozen applied", "none left refused"]);
    outbox.add("paid", { kind: "payout", owner: lab.address.alice });
    await until(() => ends.length === 5);
    expect((await lab.view({ jobs: [], slashes: [] })).wallets.alice).toBe(1_000_600n);
  });

  it("stakes, slashes and what else the signer may do comes true by its total", async () => {
    outbox.add("stake", { kind: "stake", amount: 500n, total: 500n });
    outbox.add("slash", { kind: "slash", slashId: "fault", provider: signer, amount: 200n, evidence: idOf("proof") });
    outbox.add("leave", { kind: "unstake", amount: 300n, total: 300n });
    outbox.add("allow", { kind: "allow", total: 5n });
    outbox.add("deposit", { kind: "deposit", jobId: "job-9" as JobId, amount: 70n, deadlineMs: 4e12 });
    outbox.add("more", { kind: "topUp", jobId: "job-9" as JobId, amount: 30n, total: 100n, deadlineMs: 4e12 });
    await until(() => ends.length === 6);
    expect(ends.every((end) => end.endsWith(" applied"))).toBe(true);
    const driver = createEvmDriver({ ...optionsOf(), finality: 1, feeMax: 1n });
    expect(await driver.readStake(signer)).toEqual({ amount: 500n, locked: 200n, leaving: 300n });
    expect(await driver.readEscrow("job-9" as JobId)).toMatchObject({ status: "held", amount: 100n, deadlineMs: 4e12 });
  });

  it("what was true before anybody signed is not signed again", async () => {
    await deposits(1);
    outbox.add("first", settle(0, 600n));
    await until(() => ends.length === 1);
    outbox.add("the same under another name", settle(0, 600n));
    await until(() => ends.length === 2);
    expect(ends[1]).toMatch(/applied/);
    expect(store.get("the same under another name")?.tries).toEqual([]);
  });

  it("a block that is replaced takes its settlement back, and it is sent again", async () => {
    await deposits(1);
    clearInterval(mining);
    const fork = await node.rpc<string>("evm_snapshot");
    outbox.add("one", settle(0, 600n));
    await until(
      async () => (await node.rpc<string>("eth_blockNumber")) !== undefined && store.get("one")?.phase === "signed",
    );
    await node.rpc("evm_mine");
    await until(async () => (await settledEvents()).length === 1);
    await node.rpc("evm_revert", fork);
    expect(await settledEvents()).toEqual([]);
    mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
    await until(() => ends.length === 1);
    expect(await settledEvents()).toHaveLength(1);
  });

  it("a transaction that nobody here signed, in our place, halts everything until somebody looked", async () => {
    await deposits(2);
    outbox.add("one", settle(0, 1n));
    await until(() => ends.length === 1);
    await outbox.stop();
    const nonce = await node.rpc<string>("eth_getTransactionCount", signer, "latest");
    outbox.add("two", settle(1, 1n));
    await node.rpc("hardhat_impersonateAccount", signer);
    await node.rpc("eth_sendTransaction", { from: signer, to: lab.address.bob, value: "0x1", nonce });
    await until(async () => (await node.rpc("eth_getTransactionCount", signer, "latest")) !== nonce);
    outbox.start();
    await until(() => outbox.halted() !== null);
    expect(outbox.halted()).toMatch(/was not signed here has taken nonce/);
    expect(ends).toHaveLength(1);
    outbox.resume();
    await until(() => ends.length === 2);
    expect([ends[1], outbox.halted()]).toEqual(["two applied", null]);
  });

  it("a try whose place another one took is signed anew once somebody has looked, and happens once", async () => {
    await deposits(2);
    outbox.add("one", settle(0, 1n));
    await until(() => ends.length === 1);
    await outbox.stop();
    const nonce = Number(await node.rpc<string>("eth_getTransactionCount", signer, "latest"));
    // As after a crash between signing and sending.
    outbox.add("two", settle(1, 1n));
    const driver = createEvmDriver({ ...optionsOf(), finality: FINALITY, feeMax: 10n ** 12n });
    store.keep("two", (await driver.prepare(settle(1, 1n), store.last())) as Prepared);
    await node.rpc("hardhat_impersonateAccount", signer);
    await node.rpc("eth_sendTransaction", { from: signer, to: lab.address.bob, value: "0x1", nonce: toHex(nonce) });
    await until(async () => Number(await node.rpc("eth_getTransactionCount", signer, "latest")) > nonce);
    outbox.start();
    await until(() => outbox.halted() !== null);
    outbox.resume();
    await until(() => ends.length === 2);
    expect(ends[1]).toBe("two applied");
    expect(store.get("two")?.tries.map(({ place }) => place)).toEqual([nonce + 1]);
    expect(await settledEvents()).toHaveLength(2);
  });

  it("nothing is signed where the settings are wrong: it halts, and asks again when it is resumed", async () => {
    await deposits(1);
    await outbox.stop();
    let wrong: string | null = "the node is of another chain";
    const halts: string[] = [];
    const driver = createEvmDriver({ ...optionsOf(), finality: FINALITY, feeMax: 10n ** 12n });
    const ports = { driver, store, logger: createLogger("test", "silent"), clock: { nowMs: () => performance.now() } };
    const checking = createOutbox(
      {
        ...ports,
        finished: (id) => void ends.push(id),
        check: async () => wrong,
        onHalt: (reason) => void halts.push(reason),
      },
      { pollMs: 20 },
    );
    checking.add("one", settle(0, 1n));
    checking.start();
    await until(() => halts.length === 1);
    expect(store.get("one")?.tries).toEqual([]);
    wrong = null;
    checking.resume();
    await until(() => ends.length === 1);
    await checking.stop();
  });

  it("what is in a block keeps nothing up: more are signed than wait for one", async () => {
    clearInterval(mining);
    await node.rpc("evm_setAutomine", false);
    const jobs = 40;
    try {
      for (let n = 0; n < jobs; n += 1) {
        const jobId = `job-${n}` as JobId;
        outbox.add(`deposit ${n}`, { kind: "deposit", jobId, amount: 1n, deadlineMs: 4e12 });
      }
      await until(() => store.counts().signed === 16);
      await node.rpc("evm_mine");
      await until(() => store.counts().signed === 32);
      mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
      await until(() => ends.length === jobs);
    } finally {
      await node.rpc("evm_setAutomine", true);
    }
    expect(ends.every((end) => end.endsWith(" applied"))).toBe(true);
  });

  it("of one job nothing is signed before what comes before it is final", async () => {
    const jobId = "job-7" as JobId;
    outbox.add("deposit", { kind: "deposit", jobId, amount: 70n, deadlineMs: 4e12 });
    outbox.add("settle", { kind: "settle", jobId, shares: [{ to: lab.address.alice, amount: 70n }] });
    await until(() => store.get("deposit")?.phase === "signed");
    expect(store.get("settle")?.phase).toBe("queued");
    await until(() => ends.length === 2);
    expect(ends).toEqual(["deposit applied", "settle applied"]);
    expect(outbox.counts()).toEqual({ queued: 0, signed: 0, refused: 0 });
  });

  it("a withdrawal came true, whatever is credited behind it in the same block", async () => {
    await deposits(2);
    outbox.add("credit", settle(0, 600n));
    await until(() => ends.length === 1);
    clearInterval(mining);
    await node.rpc("evm_setAutomine", false);
    try {
      outbox.add("withdraw", { kind: "payout", owner: lab.address.alice });
      await until(() => store.get("withdraw")?.phase === "signed");
      outbox.add("more credit", settle(1, 30n));
      await until(() => store.get("more credit")?.phase === "signed");
      mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
      await until(() => ends.length === 3);
    } finally {
      await node.rpc("evm_setAutomine", true);
    }
    expect(ends.slice(1).toSorted()).toEqual(["more credit applied", "withdraw applied"]);
    const driver = createEvmDriver({ ...optionsOf(), finality: 1, feeMax: 1n });
    expect(await driver.readCredit(lab.address.alice)).toBe(30n);
    outbox.add("the rest", { kind: "payout", owner: lab.address.alice });
    outbox.add("nothing", { kind: "payout", owner: lab.address.bob });
    await until(() => ends.length === 5);
    expect(ends.slice(3)).toEqual(["the rest applied", "nothing applied"]);
  });

  it("what became final long ago is told by a node that has no old states any more", async () => {
    await deposits(1);
    outbox.add("one", settle(0, 600n));
    const isIncluded = async () => (await settledEvents()).length === 1;
    await until(async () => store.get("one")?.phase === "signed" && (await isIncluded()));
    await outbox.stop();
    await node.rpc("hardhat_mine", toHex(KEPT_STATES * 2));
    // Those were made all at once and have no states here: the newest ones have.
    for (let block = 0; block <= FINALITY; block += 1) await node.rpc("evm_mine");
    const pruned = await startPruned();
    try {
      const driver = createEvmDriver({ ...optionsOf(), url: pruned.url, finality: FINALITY, feeMax: 10n ** 12n });
      const tries = store.get("one")?.tries ?? [];
      expect(await driver.observe(settle(0, 600n), tries)).toEqual({ kind: "final", applied: true });
      expect(await driver.observe(settle(0, 601n), tries)).toEqual({ kind: "final", applied: false });
    } finally {
      pruned.stop();
    }
  });

  it("no more is paid above a block's own price than the node says it takes", async () => {
    await deposits(1);
    const price = 10n ** 10n;
    await node.rpc("hardhat_setNextBlockBaseFeePerGas", toHex(price));
    await node.rpc("evm_mine");
    const asked = BigInt(await node.rpc<string>("eth_maxPriorityFeePerGas"));
    outbox.add("one", settle(0, 1n));
    await until(() => ends.length === 1);
    const client = createPublicClient({ transport: http(node.url), cacheTime: 0 });
    const hash = store.get("one")?.tries.at(-1)?.hash as Hex;
    const { effectiveGasPrice, blockNumber } = await client.getTransactionReceipt({ hash });
    const { baseFeePerGas } = await client.getBlock({ blockNumber });
    expect(effectiveGasPrice - (baseFeePerGas ?? 0n)).toBeLessThanOrEqual(asked);
  });

  it("what offers too little is offered again for more, in the same place", async () => {
    await deposits(1);
    clearInterval(mining);
    await node.rpc("evm_setAutomine", false);
    try {
      outbox.add("one", settle(0, 1n));
      await until(() => (store.get("one")?.tries.length ?? 0) >= 2);
      const tries = store.get("one")?.tries ?? [];
      expect(new Set(tries.map(({ place }) => place)).size).toBe(1);
      expect((tries[1]?.fee ?? 0n) > (tries[0]?.fee ?? 0n)).toBe(true);
      // Nodes ask for a tenth more of both, or they keep the old one.
      const [tip = 0n, dearer = 0n] = tries.map(({ raw }) => parseTransaction(raw as Hex).maxPriorityFeePerGas);
      expect(dearer * 10n >= tip * 11n && tip > 0n).toBe(true);
      mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
      await until(() => ends.length === 1);
    } finally {
      await node.rpc("evm_setAutomine", true);
    }
    expect(await settledEvents()).toHaveLength(1);
  });
});

describe("killed again and again between outbox, broadcast and posting, with a replaced block among it", () => {
  it("settles each job once on the chain, and posts it once", async () => {
    const { settlements, postings } = await killed("outbox", KILLS);
    const expected = Array.from({ length: JOBS }, (_, n) => `job-${n}`);
    expect(postings.map(({ job, phase }) => `${job} ${phase}`).toSorted()).toEqual(
      expected.map((job) => `${job} applied`).toSorted(),
    );
    expect(settlements.toSorted()).toEqual(expected.map((job) => idOf(job)).toSorted());
  }, 600_000);

  it("does not without the outbox: the same loop loses or doubles something", async () => {
    const { settlements, postings } = await killed("none", 6);
    expect(postings.length === JOBS && settlements.length === JOBS).toBe(false);
  }, 300_000);
});

/** The node, but for the states of blocks that are further back than it keeps them. */
async function startPruned(): Promise<{ readonly url: string; stop(): void }> {
  const answer = async (text: string): Promise<unknown> => {
    const { id, method, params = [] } = JSON.parse(text) as { id: number; method: string; params?: unknown[] };
    const latest = Number(await node.rpc<string>("eth_blockNumber"));
    if (method === "eth_call" && latest - Number(params[1] ?? latest) > KEPT_STATES)
      return { jsonrpc: "2.0", id, error: { code: -32_000, message: "missing trie node" } };
    return { jsonrpc: "2.0", id, result: await node.rpc(method, ...params) };
  };
  const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part: Buffer) => (text += part.toString()));
    request.on("end", () => void answer(text).then((found) => response.end(JSON.stringify(found))));
  });
  await new Promise<void>((go) => server.listen(0, "127.0.0.1", go));
  const { port } = server.address() as { port: number };
  return { url: `http://127.0.0.1:${port}`, stop: () => void server.close() };
}

interface Books {
  readonly settlements: readonly Hex[];
  readonly postings: readonly { readonly job: string; readonly phase: string }[];
}

async function killed(mode: "outbox" | "none", kills: number): Promise<Books> {
  await deposits(JOBS);
  await node.rpc("evm_setAutomine", false);
  const mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
  try {
    for (let kill = 0; kill < kills; kill += 1) {
      const child = startLoop(mode);
      await said(child, "go");
      await new Promise((go) => setTimeout(go, Math.random() * 1_000));
      if (kill % 5 === 2) await replaceBlocks();
      child.kill("SIGKILL");
      await new Promise((go) => child.once("exit", go));
    }
    if (mode === "outbox") {
      const child = startLoop(mode);
      await until(() => postingsOf().length >= JOBS, 120_000);
      child.kill("SIGKILL");
      await new Promise((go) => child.once("exit", go));
    }
    return { settlements: await settledEvents(), postings: postingsOf() };
  } finally {
    clearInterval(mining);
    await node.rpc("evm_setAutomine", true);
  }
}

/** Blocks that were mined, but are not final, are replaced by others without what was in them. */
async function replaceBlocks(): Promise<void> {
  const fork = await node.rpc<string>("evm_snapshot");
  for (let block = 0; block < FINALITY - 2; block += 1) await node.rpc("evm_mine");
  await node.rpc("evm_revert", fork);
}

function startLoop(mode: string): ChildProcess {
  const chain = JSON.stringify({ ...optionsOf(), payee: lab.address.alice });
  const args = ["--conditions=qubix-source", PROGRAM, mode, folder, String(JOBS)];
  return spawn(process.execPath, args, {
    env: { ...process.env, QUBIX_TEST_CHAIN: chain },
    stdio: ["ignore", "pipe", "inherit"],
  });
}

function said(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.on("data", (text: Buffer) => text.toString().includes(word) && resolve());
    child.once("exit", () => reject(new Error("the loop ended by itself")));
  });
}

function postingsOf(): Books["postings"] {
  const books = new DatabaseSync(join(folder, "books.db"), { readOnly: true });
  try {
    return books.prepare("SELECT job, phase FROM postings").all() as unknown as Books["postings"];
  } finally {
    books.close();
  }
}

async function settledEvents(): Promise<readonly Hex[]> {
  const client = createPublicClient({ transport: http(node.url), cacheTime: 0 });
  const events = await client.getContractEvents({
    abi: escrowAbi,
    address: lab.escrow,
    eventName: "Settled",
    fromBlock: 0n,
  });
  return events.map(({ args }) => args.jobId as Hex);
}

/** Jobs 0 to n, of 1,000 each. */
async function deposits(n: number): Promise<void> {
  const blocks = Number(await node.rpc<string>("eth_blockNumber"));
  for (let job = 0; job < n; job += 1) {
    const act = { kind: "deposit", job: `job-${job}`, amount: 1_000n, deadlineS: 4e9 } as const;
    await lab.act({ by: "payer", act }, blocks * 10 + job * 100 + 1_000);
  }
}

function settle(job: number, amount: bigint): Intent {
  return { kind: "settle", jobId: `job-${job}` as JobId, shares: [{ to: lab.address.alice, amount }] };
}

async function until(reached: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await reached())) {
    if (performance.now() > deadline) throw new Error("waited too long");
    await new Promise((go) => setTimeout(go, 20));
  }
}
