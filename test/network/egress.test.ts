// What a job sends is counted where it leaves its container, signed, and paid: real programs, a real Engine, real bytes to a listener that counts them as well.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { EventView, JobSpec, JobView, LogLine, Quote } from "@qubix/client/sdk";
import type { Receipt } from "@qubix/shared/protocol";
import { verifyReceipt } from "@qubix/shared/receipts";
import { verifySignature } from "@qubix/shared/signatures";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureTinyImage, TINY_IMAGE } from "../../worker/src/runner/testing.ts";
import { whyNoTestEngine } from "../lib/engine.ts";
import { createLab, INTERNET, type Lab, LAN, RESOLVERS } from "./lab.ts";

const reason = whyNoTestEngine();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const SECOND = 1000;
const UNTIL_TIMEOUT_MS = 60 * SECOND;
const MIB = 1024 * 1024;
/** Micro-units: 1,000 a MiB. */
const PRICE = 1_024_000n;
/** Of headers at most: 52 bytes with each 1,448; the kernel counts larger packets before it cuts them. */
const HEADERS_SHARE = 0.05;
/** Connections made and ended, and tries that met nobody. */
const BESIDE_BYTES = 64 * 1024;
const [FIRST_PORT, SECOND_PORT, LIMITED_PORT, GIVING_PORT] = [9001, 9002, 9003, 9004];

let lab: Lab;
const sinks: ChildProcess[] = [];

beforeAll(async () => {
  if (reason !== undefined) return;
  await ensureTinyImage();
  const sizes = ["--cpus", "2", "--memory-mib", "512", "--disk-mib", "2048", "--local-image", TINY_IMAGE];
  const prices = ["--price-per-cpu-hour", "0.10", "--price-per-egress-gib", "1.024"];
  const dns = RESOLVERS.flatMap((address) => ["--dns", address]);
  lab = await createLab([TINY_IMAGE], [...sizes, ...prices, ...dns]);
  await until("the worker offers egress", async () => (await quoteOf({})).offers.matching > 0);
}, 120 * SECOND);

afterAll(async () => {
  for (const sink of sinks) sink.kill("SIGKILL");
  await lab?.call("stop").catch(() => undefined);
  await lab?.stop();
}, 60 * SECOND);

/** On the internet, at that port: what each connection has brought, in bytes. It is given so many. */
async function sinkAt(port: number, gives = 0): Promise<readonly number[]> {
  const came: number[] = [];
  const script = fileURLToPath(new URL("sink.ts", import.meta.url));
  const args = [`--net=/run/netns/${lab.engine.namespace}-inet`, "--", process.execPath, script];
  const own = [INTERNET.address, String(port), String(gives)];
  const child = spawn("nsenter", [...args, ...own], { stdio: ["ignore", "pipe", "inherit"] });
  sinks.push(child);
  await new Promise<void>((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the listener ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { bytes } = JSON.parse(line) as { readonly bytes?: number };
      if (bytes === undefined) resolve();
      else if (bytes > 0) came.push(bytes);
    });
  });
  return came;
}

/** Until somebody is there to take it. */
const send = (mib: number, port: number) =>
  `until dd if=/dev/zero bs=65536 count=${mib * 16} 2>/dev/null | nc ${INTERNET.address} ${port}; do sleep 0.3; done`;

describe.skipIf(reason !== undefined)("what a job sends", { timeout: 150 * SECOND }, () => {
  it("is counted through the death of its agent, signed, and paid to the byte that was counted", async () => {
    const first = await sinkAt(FIRST_PORT);
    const id = await submit(`${send(8, FIRST_PORT)}; echo half; ${send(12, SECOND_PORT)}; echo done`, {});
    await until("half is sent", async () => (await logOf(id)).includes("half"));
    await lab.call("killWorker");
    await lab.call("startWorker");
    const second = await sinkAt(SECOND_PORT);
    const job = await ended(id);
    expect(job).toMatchObject({ phase: "succeeded", settlement: { hold: { amount: String(50_000n + 2n * PRICE) } } });
    expect([first, second]).toEqual([[8 * MIB], [12 * MIB]]);

    const receipt = await receiptOf(id);
    expect(verifyReceipt(receipt, verifySignature)).toMatchObject({ verified: true, problems: [] });
    const paid = receipt.attempts.reduce((sum, { egress }) => sum + (egress?.bytes ?? 0), 0);
    expect(paid).toBeGreaterThanOrEqual(20 * MIB);
    expect(paid).toBeLessThanOrEqual(20 * MIB * (1 + HEADERS_SHARE) + BESIDE_BYTES);
    const signed = receipt.attempts.flatMap(({ ticks }) => ticks).at(-1)?.usage?.["egressBytes"];
    expect(signed).toBe(paid);
    const cost = (PRICE * BigInt(paid)) / (1n << 30n);
    const charges = receipt.attempts.reduce((sum, { egress }) => sum + BigInt(egress?.charge ?? 0), 0n);
    expect(charges).toBe(cost);
    const shown = job.settlement.parts?.find(({ part }) => part === "egress")?.amount.amount;
    expect(shown).toBe(String(cost));
    const timeCost = job.attempts
      .flatMap(({ parts }) => parts ?? [])
      .reduce((sum, { charge }) => sum + BigInt(charge.amount), 0n);
    expect(job.settlement.gross?.amount).toBe(String(cost + timeCost));
  });

  it("is paid no further than the job pays for, which its timeline says; nothing is counted of what comes in", async () => {
    const sink = await sinkAt(LIMITED_PORT);
    const id = await submit(send(6, LIMITED_PORT), { egressGiBMax: 4 / 1024 });
    const job = await ended(id);
    expect([job.phase, sink]).toEqual(["succeeded", [6 * MIB]]);
    expect(job.attempts).toMatchObject([{ egress: { bytes: 4 * MIB, charge: { amount: "4000" } } }]);
    const events = await lab.call<readonly EventView[]>("jobs.eventsAll", id);
    expect(events.map(({ kind }) => kind)).toContain("egress_limit_reached");
    // Of what comes only the acknowledgements go out.
    await sinkAt(GIVING_PORT, 8 * MIB);
    const fetch = `nc ${INTERNET.address} ${GIVING_PORT} </dev/null | wc -c; nslookup ${INTERNET.name} >/dev/null; true`;
    const fetching = await submit(fetch, {});
    const bytes = (await ended(fetching)).attempts[0]?.egress?.bytes ?? 0;
    expect(await logOf(fetching)).toContain(String(8 * MIB));
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan(8 * MIB * HEADERS_SHARE + BESIDE_BYTES);
  });

  it("has a price only for those who pay for it: others are told why they find no place", async () => {
    const silent = await quoteOf({ egressGiBMax: undefined, egressPriceMaxPerGiB: undefined });
    expect(silent.offers).toMatchObject({ total: 1, matching: 0 });
    expect(silent.filters.find(({ removed }) => removed > 0)).toMatchObject({ filter: "egress price" });
    expect(await quoteOf({})).toMatchObject({
      egress: { pricePerGiB: { amount: String(PRICE) }, costMax: { amount: String(PRICE) } },
    });
    const alone = await ended(
      await submit(`nc -w 1 ${LAN.address} 8080 </dev/null; echo over`, {
        network: "none",
        egressGiBMax: undefined,
        egressPriceMaxPerGiB: undefined,
      }),
    );
    expect(alone.attempts[0]).not.toHaveProperty("egress");
  });
});

function jobSpec(script: string, over: { readonly [K in keyof JobSpec]?: JobSpec[K] | undefined }): JobSpec {
  const spec = {
    image: TINY_IMAGE,
    command: ["/bin/sh", "-c", script],
    network: "egress",
    failover: "speculative",
    egressGiBMax: 1,
    egressPriceMaxPerGiB: { amount: String(2n * PRICE), currency: "USD" },
    resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 },
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 300,
    stopGraceS: 1,
    ...over,
  };
  return Object.fromEntries(Object.entries(spec).filter(([, value]) => value !== undefined)) as unknown as JobSpec;
}

const quoteOf = (over: Parameters<typeof jobSpec>[1]) => lab.call<Quote>("quotes.create", jobSpec("true", over));
const jobOf = (id: string) => lab.call<JobView>("jobs.get", id);
const receiptOf = (id: string) => lab.call<Receipt>("jobs.receipt", id);

async function submit(script: string, over: Parameters<typeof jobSpec>[1]): Promise<string> {
  return (await lab.call<JobView>("jobs.create", jobSpec(script, over))).id;
}

async function ended(id: string): Promise<JobView> {
  await until("the job ends", async () => (await jobOf(id)).endedAt !== null);
  return jobOf(id);
}

async function logOf(id: string): Promise<string> {
  return (await lab.call<readonly LogLine[]>("jobs.logs", id)).map(({ text }) => text).join("");
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + UNTIL_TIMEOUT_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
