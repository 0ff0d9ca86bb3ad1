// Payouts and chains over the API. The chain's driver is the real one; nothing here needs its node, which is not there.
import { createEvmDriver } from "@qubix/contracts-bridge/evm";
import { privateKeyToAccount } from "viem/accounts";
import { afterEach, describe, expect, test } from "vitest";
import { jobSpec, startTestApi, type TestAccount, type TestApi } from "./testing/test-api.ts";

const DEAD = "0x000000000000000000000000000000000000dEaD";
/** The address of key 1. */
const OWN = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf";
const CONTRACT = "0x1111111111111111111111111111111111111111";
const PRICE = { amount: 3_600_000_000n, currency: "USD" };
/** Two milliseconds at that price, without the fee. */
const EARNED = 1_900n;

const driver = createEvmDriver({
  url: "http://127.0.0.1:1",
  chainId: 1,
  escrow: CONTRACT,
  token: "0x2222222222222222222222222222222222222222",
  key: `0x${"1".padStart(64, "0")}`,
  finality: 1,
  feeMax: 1n,
});
const terms = { driver: "evm", currency: "TST", unitsPerMicro: 10n ** 12n, feeTo: null };

let api: TestApi;
afterEach(() => api?.stop());

async function begin(): Promise<{ readonly provider: TestAccount; readonly consumer: TestAccount }> {
  api = await startTestApi({ chain: { driver, terms }, disputeWindowMs: 0 });
  return { provider: await api.account("provider"), consumer: await api.account("consumer", 4_000_000_000n) };
}

/** A provider who has earned something. */
async function earned() {
  const accounts = await begin();
  const worker = await api.worker(accounts.provider, "w", { pricePerCpuHour: PRICE });
  const priceMaxPerHour = { amount: PRICE.amount.toString(), currency: "USD" };
  expect((await accounts.consumer.call("POST /v1/jobs", jobSpec({ priceMaxPerHour }))).status).toBe(201);
  const attempt = await worker.nextAssign();
  await worker.start(attempt);
  await new Promise((go) => setTimeout(go, 5));
  await worker.end(attempt, null);
  return accounts;
}

const money = (amount: bigint, currency = "USD") => ({ amount: amount.toString(), currency });

describe("payouts by hand", () => {
  test("are set aside, completed once with a reference, or rejected", async () => {
    const { provider } = await earned();
    const ask = (amount: bigint) => provider.call("POST /v1/payouts", { amount: money(amount), destination: "IBAN 1" });
    const made = await ask(900n);
    expect(made.body).toMatchObject({ phase: "requested", by: "hand", driver: "ledger", destination: "IBAN 1" });
    const id = String(made.body["id"]);
    expect((await ask(EARNED)).body).toMatchObject({ status: 402, code: "insufficient_funds" });
    const complete = (reference: string) => api.admin(`POST /v1/payouts/${id}/complete`, { reference });
    expect((await complete("wire 7")).body).toMatchObject({ phase: "completed", reference: "wire 7" });
    expect((await complete("wire 7")).status).toBe(200);
    expect((await complete("wire 8")).body).toMatchObject({ status: 409, code: "payout_ended" });
    expect((await api.admin(`POST /v1/payouts/${id}/reject`, { reason: "no" })).body).toMatchObject({
      code: "payout_ended",
    });
    const second = String((await ask(EARNED - 900n)).body["id"]);
    expect((await api.admin(`POST /v1/payouts/${second}/reject`, { reason: "closed" })).body).toMatchObject({
      phase: "rejected",
      reference: "closed",
    });
    const listed = (await provider.call("GET /v1/payouts?limit=1")).body;
    expect(listed).toMatchObject({ items: [{ id: second }], nextCursor: second });
    expect((await provider.call(`GET /v1/payouts?cursor=${second}`)).body).toMatchObject({ items: [{ id }] });
    expect((await api.admin("GET /v1/payouts")).body.items).toHaveLength(2);
    const { balances } = (await provider.call("GET /v1/wallet")).body as { balances: { earned: string }[] };
    expect(balances).toMatchObject([{ settledBy: { driver: "ledger", enforced: "custodial" } }]);
    expect(api.writer.store.balances([`provider:${provider.id}`])).toMatchObject([{ amount: EARNED - 900n }]);
    const [sum] = [...api.writer.store.audit().values()];
    expect(sum).toEqual({ postings: 0n, balances: 0n, mismatches: 0 });
  });

  test("the same request again is the same payout, also once it has ended", async () => {
    const { provider } = await earned();
    const ask = () =>
      provider.call("POST /v1/payouts", { amount: money(1n) }, { headers: { "idempotency-key": "once" } });
    const { body } = await ask();
    expect((await ask()).body["id"]).toBe(body["id"]);
    await api.admin(`POST /v1/payouts/${String(body["id"])}/complete`, { reference: "r" });
    expect((await ask()).body).toMatchObject({ id: body["id"], phase: "completed" });
  });

  test.each([
    ["an unknown one", "POST /v1/payouts/pay-0/complete", { reference: "r" }, "payout_not_found"],
    ["an unknown chain", "POST /v1/chains/moon/resume", undefined, "chain_not_found"],
    ["a job that was not refused", "POST /v1/chains/evm/release", { jobId: "job-1" }, "chain_not_refused"],
    ["a node that is away", "POST /v1/chains/evm/reconcile", undefined, "chain_unreachable"],
  ])("%s: %s", async (_name, route, body, code) => {
    await begin();
    expect((await api.admin(route, body)).body).toMatchObject({ code });
  });

  test("bounded for each provider, and not for others", async () => {
    const { provider, consumer } = await earned();
    const ask = () => provider.call("POST /v1/payouts", { amount: money(1n) });
    for (let n = 0; n < 20; n += 1) expect((await ask()).status).toBe(201);
    expect((await ask()).body).toMatchObject({ code: "payout_under_way" });
    expect((await consumer.call("POST /v1/payouts", { amount: money(1n) })).status).toBe(403);
    expect((await consumer.call("GET /v1/payouts")).status).toBe(403);
    expect((await provider.call("POST /v1/payouts/pay-0/complete", { reference: "r" })).status).toBe(403);
  });
});

describe("from where on a chain a consumer's tokens come", () => {
  const key = privateKeyToAccount(`0x${"2".padStart(64, "0")}`);
  const put = async (account: TestAccount, address = key.address, sign = key.address) => {
    const { items } = (await account.call("GET /v1/deposit-addresses")).body as { items: { text: string }[] };
    const message = (items[0]?.text ?? "").replace(/what \S+ sends/, `what ${sign} sends`);
    return account.call("PUT /v1/deposit-addresses/evm", { address, signature: await key.signMessage({ message }) });
  };

  test("is shown by a signature of that account, which serves nobody else", async () => {
    const { provider, consumer } = await begin();
    expect((await put(consumer, DEAD)).body).toMatchObject({ status: 403, code: "signature_invalid" });
    expect((await put(consumer)).body).toMatchObject({ address: key.address, sendTo: OWN, currency: "TST" });
    expect((await put(consumer)).status).toBe(200);
    const other = await api.account("consumer");
    expect((await put(other)).body).toMatchObject({ status: 409, code: "address_taken" });
    const stolen = await key.signMessage({ message: "anything else" });
    const body = { address: key.address, signature: stolen };
    expect((await other.call("PUT /v1/deposit-addresses/evm", body)).body).toMatchObject({ code: "signature_invalid" });
    expect((await other.call("PUT /v1/deposit-addresses/moon", body)).body).toMatchObject({ code: "chain_not_found" });
    expect((await provider.call("PUT /v1/deposit-addresses/evm", body)).status).toBe(403);
  });
});

describe("where a provider is paid on a chain", () => {
  test("an address is checked, kept in the chain's spelling, and told", async () => {
    const { provider } = await begin();
    const put = (address: string, name = "evm") => provider.call(`PUT /v1/payout-addresses/${name}`, { address });
    for (const wrong of ["0x12", DEAD.replace("D", "d"), OWN, CONTRACT, `0x${"0".repeat(40)}`]) {
      expect((await put(wrong)).body).toMatchObject({ status: 422, code: "address_invalid" });
    }
    expect((await put(DEAD, "moon")).body).toMatchObject({ status: 404, code: "chain_not_found" });
    expect((await put(DEAD.toLowerCase())).body).toMatchObject({ driver: "evm", address: DEAD });
    expect((await provider.call("GET /v1/payout-addresses")).body).toMatchObject({ items: [{ address: DEAD }] });
  });

  test("work that is paid there comes only with one, and a quote says why", async () => {
    const { provider, consumer } = await begin();
    const price = { amount: 60_000n, currency: "TST" };
    await api.worker(provider, "w", { pricePerCpuHour: price });
    const spec = jobSpec({ priceMaxPerHour: money(100_000n, "TST") });
    const quote = async () => (await consumer.call("POST /v1/quotes", { spec })).body;
    const removed = (filters: unknown) =>
      (filters as { filter: string; removed: number }[]).find(({ filter }) => filter === "payout address")?.removed;
    const before = await quote();
    expect(before).toMatchObject({
      offers: { matching: 0 },
      settledBy: { driver: "evm", enforced: "contract" },
    });
    expect(removed(before["filters"])).toBe(1);
    await provider.call("PUT /v1/payout-addresses/evm", { address: DEAD });
    const after = await quote();
    expect(after).toMatchObject({ offers: { matching: 1 } });
    expect(removed(after["filters"])).toBe(0);
    expect((await consumer.call("GET /v1/offers")).body.items).toMatchObject([
      { settledBy: { driver: "evm", enforced: "contract" } },
    ]);
  });

  test("a withdrawal needs a currency of a chain, and an address there", async () => {
    const { provider } = await begin();
    const withdraw = (currency: string) => provider.call("POST /v1/payouts", { withdraw: currency });
    expect((await withdraw("USD")).body).toMatchObject({ errors: [{ path: "withdraw" }] });
    expect((await withdraw("TST")).body).toMatchObject({ status: 409, code: "payout_address_missing" });
    await provider.call("PUT /v1/payout-addresses/evm", { address: DEAD });
    expect((await withdraw("TST")).body).toMatchObject({ status: 503, code: "chain_unreachable" });
    const both = await provider.call("POST /v1/payouts", { withdraw: "TST", amount: money(1n) });
    expect(both.body).toMatchObject({ status: 422, code: "invalid_request" });
    expect((await provider.call("POST /v1/payouts", {})).body).toMatchObject({ status: 422 });
  });

  test("admins see the chain, and nobody else", async () => {
    const { provider } = await begin();
    expect((await api.admin("GET /v1/chains")).body).toMatchObject({
      items: [{ driver: "evm", enforced: "contract", currency: "TST", signer: OWN, halted: null, report: null }],
    });
    expect((await provider.call("GET /v1/chains")).status).toBe(403);
    expect((await api.admin("POST /v1/chains/evm/resume")).status).toBe(200);
  });
});
