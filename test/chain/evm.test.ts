// The whole orchestrator is killed with -9 again and again while jobs are held and paid by the contract on a real EVM node, whose blocks are replaced, too.
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import {
  createPublicClient,
  encodeFunctionData,
  erc20Abi,
  getAddress,
  type Hex,
  http,
  keccak256,
  parseAbi,
  toHex,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createEvmDriver, escrowAbi } from "../../contracts-bridge/src/evm/index.ts";
import { compileEscrow } from "../../contracts-bridge/src/evm/testing/compile.ts";
import { deployLab, type EvmLab } from "../../contracts-bridge/src/evm/testing/lab.ts";
import { type EvmNode, startEvmNode } from "../../contracts-bridge/src/evm/testing/node.ts";
import { FUNDS } from "../../contracts-bridge/src/testing/scenarios.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { type ChainLab, startChainLab } from "./lab.ts";

const KILLS = Number(process.env["QUBIX_TEST_CHAIN_KILLS"] ?? 20);
const JOBS_PER_LIFE = 2;
const LIFE_MS_MAX = 1_000;
const FINALITY = 4;
const FEES = { maxFeePerGas: 10n ** 10n, maxPriorityFeePerGas: 10n ** 9n };
const BLOCK_MS = 80;
const UNITS_PER_MICRO = 10n ** 12n;
const DEPLOY = "contracts-bridge/scripts/deploy-evm.ts";
const KEY: Hex = `0x${"5c".repeat(32)}`;
const MINTED = 10n ** 30n;
const TOKEN = 10n ** 18n;
/** A consumer's own account. */
const PAYER_KEY: Hex = `0x${"7a".repeat(32)}`;
const payer = privateKeyToAccount(PAYER_KEY);
const signer = privateKeyToAccount(KEY).address;
const tokenAbi = parseAbi(["function mint(address[] to, uint256 amount)"]);

let node: EvmNode;
let chain: EvmLab;
let lab: ChainLab;
/** In the spelling with a checksum. */
let alice: Hex;
let mining: NodeJS.Timeout | undefined;
beforeAll(async () => {
  node = await startEvmNode();
  chain = await deployLab(node, compileEscrow(), signer);
  alice = getAddress(chain.address.alice);
  for (const rich of [signer, payer.address]) await node.rpc("hardhat_setBalance", rich, toHex(10n ** 20n));
  const data = encodeFunctionData({ abi: tokenAbi, functionName: "mint", args: [[signer, payer.address], MINTED] });
  await node.rpc("eth_sendTransaction", { from: chain.address.operator, to: chain.token, data });
  await node.rpc("hardhat_mine", toHex(FINALITY));
  await node.rpc("evm_setAutomine", false);
  mining = setInterval(() => void node.rpc("evm_mine").catch(() => {}), BLOCK_MS);
  lab = await startChainLab({
    currency: "TST",
    driver: "evm",
    address: alice,
    files: { key: KEY },
    settings: (file) => ({
      "evm-rpc-url": node.url,
      "evm-chain-id": `${node.chainId}`,
      "evm-contract": chain.escrow,
      "evm-token": chain.token,
      "evm-key-file": file("key"),
      "evm-currency": "TST",
      "evm-confirmations": `${FINALITY}`,
    }),
  });
}, 120_000);
afterAll(async () => {
  await lab?.stop();
  clearInterval(mining);
  await node?.stop();
});

it(`killed ${KILLS} times with blocks replaced among it: each job is deposited, settled and posted once, and both sides agree`, async () => {
  const jobs: string[] = [];
  await register();
  const sent: bigint[] = [];
  for (let life = 0; life < KILLS; life += 1) {
    for (let n = 0; n < JOBS_PER_LIFE; n += 1) jobs.push(await lab.submit(`job-${life}-${n}`));
    if (life % 6 === 1) sent.push(await sendTokens(BigInt(life) * TOKEN + 1n));
    await sleep(Math.random() * LIFE_MS_MAX);
    if (life % 5 === 2) await replaceBlocks();
    await lab.kill();
    await lab.restart();
  }
  // One more that earns nobody anything: its hold is given back.
  const unwanted = await lab.consumer.jobs.create({
    image: "docker.io/library/busybox:1",
    priceMaxPerHour: { amount: "1", currency: "TST" },
    durationMaxS: 3_600,
  });
  await lab.consumer.jobs.cancel(unwanted.id);
  const all = [...jobs, unwanted.id];
  await expect
    .poll(async () => (await lab.admin.chains.reconcile("evm")).jobs, { timeout: 90_000, interval: 500 })
    .toBe(0);

  const deposited = await eventsOf("Deposited");
  const settled = await eventsOf("Settled");
  const refunded = await eventsOf("Refunded");
  const ids = all.map((id) => keccak256(toHex(id))).toSorted();
  expect(deposited.map(({ jobId }) => jobId).toSorted()).toEqual(ids);
  expect([...settled, ...refunded].map(({ jobId }) => jobId).toSorted()).toEqual(ids);
  expect(settled.length).toBeGreaterThan(KILLS);

  const posted = lab.rows(
    `SELECT job_id AS job, sum(amount) AS amount, count(*) AS n FROM transfers JOIN postings ON transfer_seq = seq
     WHERE kind = 'payout' AND account = 'external:evm' GROUP BY job_id`,
  );
  expect(posted.every(({ n }) => n === 1)).toBe(true);
  const onChain = settled.map(({ jobId, amounts }) => `${jobId} ${amounts.reduce((sum, one) => sum + one, 0n)}`);
  const inBooks = posted.map(
    ({ job, amount }) => `${keccak256(toHex(String(job)))} ${BigInt(Number(amount)) * UNITS_PER_MICRO}`,
  );
  expect(inBooks.toSorted()).toEqual(onChain.toSorted());

  const paid = posted.reduce((sum, { amount }) => sum + BigInt(Number(amount)), 0n);
  expect(await creditOf(alice)).toBe(paid * UNITS_PER_MICRO);
  const left = lab.rows(
    "SELECT account FROM balances WHERE amount <> 0 AND (account LIKE 'escrow:%' OR account LIKE 'reserved:%' OR account LIKE 'pending:%')",
  );
  expect(left).toEqual([]);
  expect(lab.rows("SELECT sum(amount) AS sum FROM balances")).toEqual([{ sum: 0 }]);
  const report = await lab.admin.chains.reconcile("evm");
  expect(report).toMatchObject({ jobs: 0, differences: [] });
  expect(report.sum.there).toBe(
    (MINTED + FUNDS + sent.reduce((sum, units) => sum + units, 0n) - paid * UNITS_PER_MICRO).toString(),
  );

  // What is less than a micro-unit of a payment stays with the operator.
  const whole = sent.reduce((sum, units) => sum + units / UNITS_PER_MICRO, 0n);
  const credits = () =>
    lab.rows(
      `SELECT memo, amount FROM transfers JOIN postings ON transfer_seq = seq
       WHERE kind = 'deposit' AND memo LIKE 'evm %' AND amount > 0`,
    );
  await expect.poll(() => credits().length, { timeout: 20_000 }).toBe(sent.length);
  expect(credits().reduce((sum, { amount }) => sum + BigInt(Number(amount)), 0n)).toBe(whole);
  expect(new Set(credits().map(({ memo }) => memo)).size).toBe(sent.length);

  const payout = await lab.provider.payouts.withdraw("TST");
  expect(payout).toMatchObject({ by: "contract", amount: { amount: `${paid}` }, destination: alice });
  await expect
    .poll(async () => (await lab.provider.payouts.list()).items[0]?.phase, { timeout: 30_000 })
    .toBe("completed");
  expect(await creditOf(alice)).toBe(0n);
}, 240_000);

it("a key that signs elsewhere halts the chain and is told; it goes on when an admin says so, and the job is paid", async () => {
  const account = privateKeyToAccount(KEY);
  const client = reader();
  const nonce = await client.getTransactionCount({ address: signer });
  const transaction = { type: "eip1559", chainId: node.chainId, to: signer, nonce, gas: 21_000n, ...FEES } as const;
  await node.rpc("eth_sendRawTransaction", await account.signTransaction(transaction));
  await expect.poll(() => client.getTransactionCount({ address: signer }), { timeout: 10_000 }).toBe(nonce + 1);
  const job = await lab.submit("after a foreign transaction");
  const status = async () => (await lab.admin.chains.list()).items[0];
  await expect.poll(async () => (await status())?.halted, { timeout: 20_000 }).toMatch(/was not signed here/);
  const told = lab.rows("SELECT kind FROM events WHERE channel = 'system' AND kind LIKE 'chain_%'");
  expect(told.map(({ kind }) => kind)).toEqual(["chain_halted"]);
  await lab.admin.chains.resume("evm");
  await expect
    .poll(async () => (await lab.consumer.jobs.events(job)).items.map(({ kind }) => kind), { timeout: 30_000 })
    .toContain("paid");
  expect(await status()).toMatchObject({ halted: null, underWay: 0 });
}, 90_000);

it("the deploying script makes a contract that the driver takes, and no other", async () => {
  const file = join(lab.dir, "deployer");
  writeFileSync(file, PAYER_KEY, { mode: 0o600 });
  const roles = ["admin", "operator", "arbiter", "slash-pool"].flatMap((role) => [`--${role}`, signer]);
  const run = (token: string) =>
    promisify(execFile)(
      process.execPath,
      ["--conditions=qubix-source", DEPLOY, "--rpc-url", node.url, "--key-file", file, "--token", token, ...roles],
      { cwd: fileURLToPath(new URL("../..", import.meta.url)) },
    );
  await expect(run(`${chain.token.slice(0, -1)}Z`)).rejects.toThrow(/--token is no address/);
  const { contract } = JSON.parse((await run(chain.token)).stdout) as { contract: Hex };
  const options = { url: node.url, chainId: node.chainId, escrow: contract, token: chain.token, key: KEY };
  const checked = (over: object) =>
    createEvmDriver({ ...options, finality: 1, feeMax: 1n, tokenDecimals: 18, ...over }).check();
  expect(await checked({})).toBeNull();
  expect(await checked({ chainId: 1 })).toMatch(/of chain 31337/);
  expect(await checked({ escrow: alice })).toMatch(/no contract/);
  expect(await checked({ token: alice })).toMatch(/The contract's token is/);
  expect(await checked({ tokenDecimals: 6 })).toMatch(/has 18 decimals/);
  expect(await checked({ key: `0x${"7b".repeat(32)}` })).toMatch(/not the contract's operator/);
}, 60_000);

it("what is missing outside is found, and told to admins once", async () => {
  expect((await lab.admin.chains.reconcile("evm")).differences).toEqual([]);
  const [own] = (await lab.consumer.wallet.get()).balances;
  expect(own?.settledBy).toEqual({ driver: "evm", enforced: "contract" });
  // The operator's tokens are spent elsewhere.
  await node.rpc("hardhat_impersonateAccount", signer);
  const args = [chain.address.bob, MINTED - 10n ** 24n] as const;
  const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args });
  await node.rpc("eth_sendTransaction", { from: signer, to: chain.token, data });
  const missing = { jobId: null, what: "less is there than is owed" };
  await expect
    .poll(async () => (await lab.admin.chains.reconcile("evm")).differences, { timeout: 20_000 })
    .toMatchObject([missing]);
  await lab.admin.chains.reconcile("evm");
  const told = lab.rows("SELECT data FROM events WHERE kind = 'chain_differences'");
  expect(told.map(({ data }) => JSON.parse(String(data)) as object)).toMatchObject([
    { driver: "evm", count: 1, differences: [missing] },
  ]);
  const metrics = await (await fetch(`${lab.admin.url}/metrics`)).text();
  expect(metrics).toContain("qubix_chain_evm_differences 1");
}, 60_000);

/** Asks the node anew each time. */
function reader() {
  return createPublicClient({ transport: http(node.url), cacheTime: 0 });
}

/** Shows that the account is the consumer's. */
async function register(): Promise<void> {
  const [own] = (await lab.consumer.wallet.addresses()).items;
  expect(own).toMatchObject({ driver: "evm", currency: "TST", sendTo: signer, address: null });
  const message = (own?.text ?? "").replace("ADDRESS", payer.address);
  const forged = await privateKeyToAccount(KEY).signMessage({ message });
  await expect(lab.consumer.wallet.setAddress("evm", payer.address, forged)).rejects.toMatchObject({
    code: "signature_invalid",
  });
  const signature = await payer.signMessage({ message });
  expect(await lab.consumer.wallet.setAddress("evm", payer.address, signature)).toMatchObject({
    address: payer.address,
  });
}

/** From the consumer's account to the operator; returns how much. */
async function sendTokens(amount: bigint): Promise<bigint> {
  const client = reader();
  const nonce = await client.getTransactionCount({ address: payer.address, blockTag: "pending" });
  const data = encodeFunctionData({ abi: erc20Abi, functionName: "transfer", args: [signer, amount] });
  const transaction = { type: "eip1559", chainId: node.chainId, to: chain.token, data, nonce, gas: 100_000n } as const;
  await node.rpc("eth_sendRawTransaction", await payer.signTransaction({ ...transaction, ...FEES }));
  return amount;
}

/** Blocks that were mined, but are not final, are replaced by others without what was in them. */
async function replaceBlocks(): Promise<void> {
  const fork = await node.rpc<string>("evm_snapshot");
  for (let block = 0; block < FINALITY - 2; block += 1) await node.rpc("evm_mine");
  await node.rpc("evm_revert", fork);
}

interface EscrowEvent {
  readonly jobId: Hex;
  readonly amounts: readonly bigint[];
}

async function eventsOf(eventName: "Deposited" | "Settled" | "Refunded"): Promise<readonly EscrowEvent[]> {
  const client = reader();
  const events = await client.getContractEvents({ abi: escrowAbi, address: chain.escrow, eventName, fromBlock: 0n });
  return events.map(({ args }) => args as unknown as EscrowEvent);
}

async function creditOf(owner: Hex): Promise<bigint> {
  const client = reader();
  return client.readContract({ abi: escrowAbi, address: chain.escrow, functionName: "payable_", args: [owner] });
}
