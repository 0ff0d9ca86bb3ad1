import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createOutbox, type Outbox } from "../outbox/outbox.ts";
import { openOutbox, type OutboxStore } from "../outbox/store.ts";
import type { ChainDriver, Intent } from "../port/intents.ts";
import { idOf } from "./contract.ts";
import { createQubicDriver } from "./driver.ts";
import { identityOf } from "./identity.ts";
import { createQubicRpc } from "./rpc.ts";
import { keyPairOf } from "./sign.ts";
import { type Built, buildContracts, contractSource } from "./testing/build.ts";
import { type QubicLab, startLab } from "./testing/lab.ts";
import { type QubicNetwork, startQubicNetwork } from "./testing/network.ts";

const TICK_MS = 20;
const INDEX = 27;
const SEED = "qubixoperator".padEnd(55, "x");
const me = keyPairOf(SEED).publicKey;
const alice = identityOf(idOf("alice"));
const DEADLINE_MS = Date.now() + 3_600_000;

let built: Built;
let folder: string;
let lab: QubicLab;
let network: QubicNetwork;
let driver: ChainDriver;
let store: OutboxStore;
let outbox: Outbox;
const ends: string[] = [];
beforeAll(async () => {
  built = await buildContracts([contractSource()]);
}, 300_000);
afterAll(() => built?.remove());
beforeEach(async () => {
  ends.length = 0;
  folder = mkdtempSync(join(tmpdir(), "qubix-qubic-"));
  lab = await startLab(built.program, 0, me);
  network = await startQubicNetwork(lab, INDEX, TICK_MS);
  const rpc = createQubicRpc(network.url);
  const clock = { wallMs: () => Date.now() };
  driver = createQubicDriver({ rpc, contractIndex: INDEX, seed: SEED, clock, tickMs: TICK_MS });
  begin();
});
afterEach(async () => {
  await end();
  await network.stop();
  await lab.stop();
  rmSync(folder, { recursive: true, force: true });
});

function begin(): void {
  store = openOutbox(join(folder, "outbox.db"));
  const logger = createLogger("test", "silent");
  const finished = (id: string, _intent: Intent, phase: string) => void ends.push(`${id} ${phase}`);
  outbox = createOutbox({ driver, store, logger, clock: { nowMs: () => performance.now() }, finished }, { pollMs: 10 });
  outbox.start();
}

async function end(): Promise<void> {
  await outbox.stop();
  store.close();
}

const deposit: Intent = { kind: "deposit", jobId: "job" as JobId, amount: 1_000n, deadlineMs: DEADLINE_MS };
const settle = (amount: bigint): Intent => ({ kind: "settle", jobId: "job" as JobId, shares: [{ to: alice, amount }] });

describe("through the outbox, on a simulated network", () => {
  it("intents come true, and the contract's state says what was refused", async () => {
    outbox.add("deposit", deposit);
    await until(() => ends.length === 1);
    expect(await driver.readEscrow("job" as JobId)).toMatchObject({
      status: "held",
      amount: 1_000n,
      payer: identityOf(me),
    });
    outbox.add("too much", settle(1_001n));
    await until(() => ends.length === 2);
    outbox.add("settle", settle(600n));
    await until(() => ends.length === 3);
    expect(ends).toEqual(["deposit applied", "too much refused", "settle applied"]);
    const { wallets } = await lab.view({ jobs: [], slashes: [] });
    expect(wallets.alice).toBe(1_000_600n);
  });

  it("stakes and slashes come true by their totals; what needs no call is true already", async () => {
    outbox.add("stake", { kind: "stake", amount: 500n, total: 500n });
    await until(() => ends.length === 1);
    outbox.add("slash", {
      kind: "slash",
      slashId: "f",
      provider: identityOf(me),
      amount: 200n,
      evidence: "ab".repeat(32),
    });
    outbox.add("leave", { kind: "unstake", amount: 300n, total: 300n });
    outbox.add("allow", { kind: "allow", total: 5n });
    outbox.add("payout", { kind: "payout", owner: alice });
    await until(() => ends.length === 5);
    expect(ends.every((one) => one.endsWith(" applied"))).toBe(true);
    expect(await driver.readStake(identityOf(me))).toEqual({ amount: 500n, locked: 200n, leaving: 300n });
  });

  it("a lost transaction is signed anew once its tick has passed, and takes effect once", async () => {
    // So many that all sendings of the first one are lost.
    network.lose(1_000);
    outbox.add("deposit", deposit);
    await until(() => store.get("deposit")?.phase === "signed");
    const first = store.get("deposit")?.tries[0]?.hash;
    await until(() => store.get("deposit")?.tries[0]?.hash !== first);
    network.lose(0);
    await until(() => ends.length === 1);
    expect(network.included()).toHaveLength(1);
    expect(network.included()).not.toContain(first);
  });

  it("what was signed before a crash is sent again as it was, not signed anew", async () => {
    network.lose(1);
    outbox.add("deposit", deposit);
    await until(() => store.get("deposit")?.phase === "signed");
    const first = store.get("deposit")?.tries[0]?.hash;
    await end();
    begin();
    await until(() => ends.length === 1);
    expect(network.included()).toEqual([first]);
  });
});

it("an RPC that answers otherwise than documented is told by name", async () => {
  const rpc = createQubicRpc("http://127.0.0.1:1");
  await expect(rpc.tick()).rejects.toMatchObject({ code: "qubic_unreachable", retryable: true });
});

async function until(reached: () => boolean): Promise<void> {
  const deadline = performance.now() + 25_000;
  while (!reached()) {
    if (performance.now() > deadline) throw new Error(`waited too long; so far: ${ends.join(", ")}`);
    await new Promise((go) => setTimeout(go, 10));
  }
}
