// What a chain is asked for and what comes back of it, over a chain in memory that does at once what it is sent. Real ones: test/chain.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChainDriver, EscrowState, Intent } from "@qubix/contracts-bridge/port";
import type { JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Actor, CoreEvent, Reply } from "../core/index.ts";
import { ADMIN, Network, offerOf, refOf } from "../core/testing/kit.ts";
import { type Chain, createChain } from "./chain.ts";

const SPEC = { priceMaxPerHour: { amount: "3600000", currency: "TST" }, durationMaxS: 3600 } as const;
const TERMS = { driver: "evm", currency: "TST", unitsPerMicro: 1n, feeTo: null };
const POLL_MS = 5;

let dir: string;
let net: Network;
let consumer: Actor;
let memory: ReturnType<typeof createMemoryChain>;
let chain: Chain;
/** Before an event is stepped; throws for a commit that failed. */
let beforeStep: (event: CoreEvent) => void;
/** …and after it: the process died before it knew. */
let afterStep: (event: CoreEvent) => void;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "qubix-chain-"));
  net = new Network({ chains: { TST: { driver: "evm", payeesMax: 8, feeApart: false } }, disputeWindowMs: 0 });
  consumer = net.account("consumer");
  net.deposit(consumer, 100_000_000n, "TST");
  memory = createMemoryChain();
  beforeStep = () => {};
  afterStep = () => {};
});
afterEach(async () => {
  await chain.stop();
  rmSync(dir, { recursive: true, force: true });
});

function begin(): void {
  chain = createChain(
    {
      driver: memory.driver,
      terms: TERMS,
      file: join(dir, "outbox.db"),
      submit: async (event): Promise<Reply> => {
        beforeStep(event);
        const reply = net.do(event);
        afterStep(event);
        return reply;
      },
      state: () => net.state,
      logger: createLogger("test", "silent"),
      clock: { nowMs: () => performance.now(), wallMs: () => Date.now() },
    },
    { pollMs: POLL_MS },
  );
  chain.start();
}

const cancelled = (): JobId => {
  const id = net.submit(consumer, SPEC);
  net.do({ kind: "job.cancel", actor: consumer, jobId: id });
  return id;
};
const done = () => expect.poll(() => net.state.rows.chainPays.size, { timeout: 10_000 }).toBe(0);

test("what was committed before a crash, and never carried out, is asked for at the next start", async () => {
  const id = cancelled();
  begin();
  await done();
  expect(memory.sent.map(({ kind }) => kind)).toEqual(["allow", "deposit", "refund"]);
  expect(net.timeline(id)).toContain("deposited");
  await chain.stop();
  begin();
  expect(chain.status()).toMatchObject({ underWay: 0, halted: null });
  expect(memory.sent).toHaveLength(3);
});

test("what is final is told again until it is posted, and posted once", async () => {
  const failures = new Map<string, number>();
  const once = (when: string) => (event: CoreEvent) => {
    if (event.kind !== "chain.final") return;
    const key = `${when} ${event.what}`;
    failures.set(key, (failures.get(key) ?? 0) + 1);
    if (failures.get(key) === 1) throw new Error("commit_failed");
  };
  beforeStep = once("before");
  afterStep = once("after");
  const id = cancelled();
  begin();
  await done();
  // The second was posted and not known to be; the third finds nothing to do.
  await expect.poll(() => failures.get("before pay"), { timeout: 10_000 }).toBe(3);
  expect(net.timeline(id).filter((kind) => kind === "paid")).toHaveLength(1);
  expect(memory.sent.filter(({ kind }) => kind === "refund")).toHaveLength(1);
});

test("where the deposit was refused nothing is given back; an admin has both tried again", async () => {
  memory.refuses = true;
  begin();
  const lost = net.submit(consumer, SPEC);
  chain.consider(lost);
  await expect.poll(() => net.job(lost).chain?.deposit, { timeout: 10_000 }).toBe("refused");
  expect(memory.sent.map(({ kind }) => kind)).toEqual(["allow", "deposit"]);
  expect(chain.status()).toMatchObject({ refused: 2 });
  memory.refuses = false;
  chain.resume();
  net.do({ kind: "chain.retry", actor: ADMIN, driver: "evm" });
  chain.consider(lost);
  await expect
    .poll(() => net.job(lost).chain, { timeout: 10_000 })
    .toEqual({ driver: "evm", deposit: "final", tries: 2 });
  expect(memory.sent.slice(2).map(({ kind }) => kind)).toEqual(["allow", "deposit"]);
  memory.refuses = true;
  const other = net.submit(consumer, SPEC);
  chain.consider(other);
  await expect.poll(() => net.job(other).chain?.deposit, { timeout: 10_000 }).toBe("refused");
  net.do({ kind: "job.cancel", actor: consumer, jobId: other });
  chain.consider(other);
  await done();
  expect(memory.sent.filter(({ kind }) => kind === "refund")).toEqual([]);
});

test("where the deposit was refused the network's fee is not counted as sent to its account, though it is all that is to be paid", async () => {
  net = new Network({ chains: { TST: { driver: "evm", payeesMax: 0, feeApart: true } }, disputeWindowMs: 0 });
  consumer = net.account("consumer");
  net.deposit(consumer, 100_000_000n, "TST");
  const provider = net.account("provider");
  net.do({ kind: "payout.address", actor: provider, driver: "evm", address: "0xprovider" });
  net.worker(provider, "w", { ...offerOf(), pricePerCpuHour: { amount: 1_000_000n, currency: "TST" } });
  memory.refuses = true;
  begin();
  const id = net.submit(consumer, SPEC);
  const { workerId } = net.attempt(id);
  const attempt = refOf(net.attempt(id));
  net.say(workerId, { kind: "started", attempt, fromSeq: 0 });
  net.pass(1_800_000);
  net.say(workerId, { kind: "exited", attempt, ranMs: 1_800_000 });
  net.say(workerId, { kind: "ended", attempt, ranMs: 1_800_000, outcome: { kind: "succeeded", outputs: null } });
  expect(net.state.rows.chainPays.get(id)).toMatchObject({ phase: "paying", payees: [], fee: 25_000n });
  chain.consider(id);
  const phase = () => net.state.rows.chainPays.get(id)?.phase;
  await expect.poll(phase, { timeout: 10_000 }).not.toBe("paying");
  expect([phase(), net.balance(`reserved:${id}`), net.balance("external:evm")]).toEqual([
    "refused",
    25_000n,
    -100_000_000n,
  ]);
  net.do({ kind: "chain.release", actor: ADMIN, jobId: id });
  expect([phase(), net.balance("fee")]).toEqual([undefined, 25_000n]);
});

/** Applies each transaction once, unless it refuses all; final at once. */
function createMemoryChain() {
  const escrows = new Map<JobId, EscrowState>();
  const outcomes = new Map<string, boolean>();
  const sent: Intent[] = [];
  const byHash = new Map<string, Intent>();
  const memory = { refuses: false, sent, driver: undefined as unknown as ChainDriver };
  const apply = (intent: Intent): boolean => {
    if (memory.refuses) return false;
    if (intent.kind === "deposit") {
      const { jobId, amount, deadlineMs } = intent;
      escrows.set(jobId, { status: "held", payer: "me", amount, paid: 0n, deadlineMs });
    }
    if (intent.kind === "refund") {
      const escrow = escrows.get(intent.jobId);
      if (escrow === undefined) return false;
      escrows.set(intent.jobId, { ...escrow, status: "refunded" });
    }
    return true;
  };
  memory.driver = {
    caps: () => ({ name: "evm", enforced: "contract", payeesMax: 8 }),
    signer: () => "me",
    account: (text) => text,
    check: async () => null,
    prepare: async (intent, last) => {
      const place = (last?.place ?? 0) + 1;
      byHash.set(`h${place}`, intent);
      return { raw: "", hash: `h${place}`, place, fee: 0n };
    },
    bump: async () => null,
    submit: async ({ hash }) => {
      const intent = byHash.get(hash);
      if (intent === undefined || outcomes.has(hash)) return;
      sent.push(intent);
      outcomes.set(hash, apply(intent));
    },
    observe: async (_intent, tries) => {
      const applied = outcomes.get(tries.at(-1)?.hash ?? "");
      return applied === undefined ? { kind: "pending", isKnown: false } : { kind: "final", applied };
    },
    readEscrow: async (jobId) => escrows.get(jobId) ?? null,
    readStake: async () => ({ amount: 0n, locked: 0n, leaving: 0n }),
    readCredit: async () => 0n,
    payments: null,
    reconcile: async ({ owed }) => ({ place: 1, jobs: 0, underWay: 0, differences: [], sum: { owed, there: owed } }),
  };
  return memory;
}
