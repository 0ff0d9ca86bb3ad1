// Settles jobs on a chain until it is killed, as an orchestrator would: through the outbox, or (to show what that is for) without one.
// usage: pay-loop.ts outbox|none FOLDER JOBS   with the chain in QUBIX_TEST_CHAIN (JSON: EvmOptions, amounts as strings, and payee)
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { JobId } from "@qubix/shared/domain";
import { createLogger } from "@qubix/shared/runtime";
import type { Address, Hex } from "viem";
import { createEvmDriver } from "../../evm/driver.ts";
import type { Intent, Prepared } from "../../port/intents.ts";
import { createOutbox } from "../outbox.ts";
import { openOutbox } from "../store.ts";

const EACH_MS = 60;
const [mode = "", folder = "", jobs = "0"] = process.argv.slice(2);
const chain = JSON.parse(process.env["QUBIX_TEST_CHAIN"] ?? "{}") as {
  readonly url: string;
  readonly chainId: number;
  readonly escrow: Address;
  readonly token: Address;
  readonly key: Hex;
  readonly payee: Address;
};
const driver = createEvmDriver({ ...chain, finality: 4, feeMax: 10n ** 12n });
const books = new DatabaseSync(join(folder, "books.db"));
books.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000");
books.exec("CREATE TABLE IF NOT EXISTS postings (job TEXT NOT NULL, phase TEXT NOT NULL) STRICT");
const post = books.prepare("INSERT INTO postings VALUES (?, ?)");
const postOnce = books.prepare(
  "INSERT INTO postings SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM postings WHERE job = ?1)",
);
const posted = books.prepare("SELECT 1 FROM postings WHERE job = ?");

const settlement = (n: number): { readonly id: string; readonly intent: Intent } => ({
  id: `job-${n}`,
  intent: { kind: "settle", jobId: `job-${n}` as JobId, shares: [{ to: chain.payee, amount: BigInt(n + 1) }] },
});

console.log("go");
if (mode === "outbox") throughOutbox();
else await withoutOutbox();

function throughOutbox(): void {
  const store = openOutbox(join(folder, "outbox.db"));
  const outbox = createOutbox(
    {
      driver,
      store,
      logger: createLogger("pay-loop", "silent"),
      clock: { nowMs: () => performance.now() },
      finished: (id, _intent, phase) => void postOnce.run(id, phase),
    },
    { pollMs: 20, bumpMs: 2_000 },
  );
  let next = 0;
  const timer = setInterval(() => {
    const { id, intent } = settlement(next);
    outbox.add(id, intent);
    next += 1;
    if (next >= Number(jobs)) clearInterval(timer);
  }, EACH_MS);
  outbox.start();
}

/** Signs anew whatever is not posted, waits for what becomes of it, and posts that. */
async function withoutOutbox(): Promise<void> {
  for (let n = 0; n < Number(jobs); n += 1) {
    const { id, intent } = settlement(n);
    if (posted.get(id) !== undefined) continue;
    const prepared = (await driver.prepare(intent, null)) as Prepared;
    await driver.submit(prepared);
    let seen = await driver.observe(intent, [prepared]);
    while (seen.kind !== "final") {
      await new Promise((go) => setTimeout(go, EACH_MS));
      seen = await driver.observe(intent, [prepared]);
    }
    // Included is settled, it thinks.
    post.run(id, "applied");
  }
}
