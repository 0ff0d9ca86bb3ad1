// The whole orchestrator on a simulated Qubic: the compiled contract, ticks that pass, transactions that get lost, an archive that lags; killed with -9 on the way.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { JobId } from "@qubix/shared/domain";
import { FUNCTION, idOf, readEscrowOutput } from "../../contracts-bridge/src/qubic/contract.ts";
import { identityOf } from "../../contracts-bridge/src/qubic/index.ts";
import { keyPairOf } from "../../contracts-bridge/src/qubic/sign.ts";
import { type Built, buildContracts, contractSource } from "../../contracts-bridge/src/qubic/testing/build.ts";
import { type QubicLab, startLab } from "../../contracts-bridge/src/qubic/testing/lab.ts";
import { type QubicNetwork, startQubicNetwork } from "../../contracts-bridge/src/qubic/testing/network.ts";
import { FUNDS } from "../../contracts-bridge/src/testing/scenarios.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { type ChainLab, startChainLab } from "./lab.ts";

const KILLS = 5;
const TICK_MS = 25;
const INDEX = 27;
const SEED = "qubixoperator".padEnd(55, "y");
const FUNDED = 10n ** 15n;
const operator = keyPairOf(SEED).publicKey;
const alice = identityOf(idOf("alice"));

let built: Built;
let contract: QubicLab;
let network: QubicNetwork;
let lab: ChainLab;
beforeAll(async () => {
  built = await buildContracts([contractSource()]);
  contract = await startLab(built.program, 0, operator);
  await contract.raw(`fund ${hex(operator)} ${FUNDED}`);
  network = await startQubicNetwork(contract, INDEX, TICK_MS);
  lab = await startChainLab({
    currency: "MQU",
    driver: "qubic",
    address: alice,
    files: { seed: SEED },
    settings: (file) => ({
      "qubic-rpc-url": network.url,
      "qubic-contract-index": `${INDEX}`,
      "qubic-seed-file": file("seed"),
      "qubic-currency": "MQU",
      "qubic-tick-ms": `${TICK_MS}`,
    }),
  });
}, 300_000);
afterAll(async () => {
  await lab?.stop();
  await network?.stop();
  await contract?.stop();
  built?.remove();
});

it("jobs are held and paid by the contract, each once, and both sides agree", async () => {
  const jobs: string[] = [];
  for (let life = 0; life < KILLS; life += 1) {
    if (life % 2 === 1) network.lose(2);
    for (let n = 0; n < 2; n += 1) jobs.push(await lab.submit(`job-${life}-${n}`));
    await sleep(Math.random() * 1_000);
    await lab.kill();
    await lab.restart();
  }
  await expect
    .poll(async () => (await lab.admin.chains.reconcile("qubic")).jobs, { timeout: 60_000, interval: 500 })
    .toBe(0);
  const posted = new Map(
    lab
      .rows(
        `SELECT job_id AS job, sum(amount) AS amount FROM transfers JOIN postings ON transfer_seq = seq
         WHERE kind = 'payout' AND account = 'external:qubic' GROUP BY job_id HAVING count(*) = 1`,
      )
      .map(({ job, amount }) => [String(job), BigInt(Number(amount))]),
  );
  let paid = 0n;
  for (const id of jobs) {
    const escrow = await escrowOf(id as JobId);
    expect(escrow?.paid ?? 0n).toBe(posted.get(id) ?? 0n);
    expect(escrow?.status).toBe(posted.has(id) ? "settled" : "refunded");
    paid += escrow?.paid ?? 0n;
  }
  expect(paid).toBeGreaterThan(0n);
  const balance = async (key: Uint8Array) => BigInt(String((await contract.raw(`balance ${hex(key)}`))["balance"]));
  expect(await balance(idOf("alice"))).toBe(FUNDS + paid);
  expect(await balance(operator)).toBe(FUNDS + FUNDED - paid);
  expect(lab.rows("SELECT sum(amount) AS sum FROM balances")).toEqual([{ sum: 0 }]);
  expect(await lab.admin.chains.reconcile("qubic")).toMatchObject({ jobs: 0, differences: [] });
  expect((await lab.consumer.wallet.get()).balances).toMatchObject([
    { currency: "MQU", held: "0", settledBy: { driver: "qubic", enforced: "contract" } },
  ]);
}, 120_000);

async function escrowOf(id: JobId) {
  const { output } = await contract.raw(`ask ${FUNCTION.escrow} ${hex(idOf(id))}`);
  return readEscrowOutput(Uint8Array.from(Buffer.from(String(output), "hex")));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
