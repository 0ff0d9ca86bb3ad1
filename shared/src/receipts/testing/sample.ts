// A receipt for tests, with real signatures: a job that failed over once, came back under a later epoch, had a standby, and was settled.
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { egressChargeBetween, egressHoldFor } from "../../domain/egress.ts";
import { chargeBetween, chargeFor, feeOf, holdFor, splitByLargestRemainder } from "../../domain/money.ts";
import type { Receipt, ReceiptAttempt, ReceiptTick } from "../../protocol/receipts.ts";
import { type TickStatement, tickText } from "../../protocol/ticks.ts";
import { receiptDigest } from "../digest.ts";
import { tickHash } from "../hash.ts";

export const JOB = "job-0000001-k3f9";
const RATE = 1_234_567n;
const STANDBY_RATE = 308_641n;
const PRICE_MAX = 2_000_000n;
const DURATION_S = 600;

interface Signer {
  readonly publicKey: string;
  readonly key: KeyObject;
}

export function createSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  return { publicKey: publicKey.export({ format: "jwk" }).x ?? "", key: privateKey };
}

/** Signs each line, in one chain. */
export function signChain(
  { key }: Signer,
  lines: readonly {
    readonly epoch: number;
    readonly n: number;
    readonly ranMs: number;
    readonly moment?: string;
    readonly usage?: ReceiptTick["usage"];
  }[],
): readonly ReceiptTick[] {
  let prev: string | null = null;
  return lines.map(({ epoch, n, ranMs, moment = "checkpoint", usage: told }) => {
    const usage = told === undefined ? {} : { usage: told };
    const statement: TickStatement = { attempt: { jobId: JOB, replica: 0, epoch }, n, moment, ranMs, prev, ...usage };
    const signature = sign(null, Buffer.from(tickText(statement)), key).toString("base64url");
    const tick = { n, epoch, moment: moment as ReceiptTick["moment"], ranMs, prev, ...usage, signature };
    prev = tickHash(statement);
    return tick;
  });
}

export function sealed(receipt: Omit<Receipt, "digest"> & { readonly digest?: string }): Receipt {
  return { ...receipt, digest: receiptDigest(receipt) } as Receipt;
}

/** The same, whose container of epochs 1 and 3 is paid for what it sent. */
export function egressReceipt(): Receipt {
  return sampleReceipt(EGRESS);
}

const EGRESS = {
  pricePerGiB: 51_234n,
  priceMaxPerGiB: 60_000n,
  bytesMax: 2 ** 31,
  first: 700_000_001,
  second: 1_000_000_007,
};

/** Epoch 1 on the first worker, lost; epoch 2 on the second, taken back; epoch 3 goes on with the container of epoch 1. */
export function sampleReceipt(egress?: typeof EGRESS): Receipt {
  const used = (bytes: number) => (egress === undefined ? {} : { usage: { egressBytes: bytes } });
  const total = EGRESS.first + EGRESS.second;
  const sent = (baseBytes: number, bytes: number) =>
    egress === undefined
      ? {}
      : {
          egress: {
            pricePerGiB: egress.pricePerGiB.toString(),
            baseBytes,
            bytes,
            charge: egressChargeBetween(egress.pricePerGiB, baseBytes, baseBytes + bytes).toString(),
          },
        };
  const first = createSigner();
  const second = createSigner();
  const [one, two, three] = [
    signChain(first, [
      { epoch: 1, n: 1, ranMs: 30_017, ...used(EGRESS.first) },
      { epoch: 3, n: 2, ranMs: 61_403, ...used(total - 5) },
      // A number that was used and lost.
      { epoch: 3, n: 4, ranMs: 77_777, moment: "exit", ...used(total) },
    ]),
    signChain(second, [{ epoch: 2, n: 1, ranMs: 4_001 }]),
    signChain(second, []),
  ];
  const attempts: ReceiptAttempt[] = [
    attempt({
      epoch: 1,
      signer: first,
      workerId: "wrk-1",
      ticks: one.slice(0, 1),
      creditedMs: 30_017,
      phase: "lost",
      ...sent(0, EGRESS.first),
    }),
    attempt({ epoch: 2, signer: second, workerId: "wrk-2", ticks: two, creditedMs: 0, phase: "fenced" }),
    attempt({
      epoch: 3,
      signer: first,
      workerId: "wrk-1",
      ticks: one.slice(1),
      creditedMs: 47_760,
      adoptedEpoch: 1,
      baseRanMs: 30_017,
      ...sent(EGRESS.first, EGRESS.second),
    }),
    attempt({ epoch: 4, signer: second, workerId: "wrk-2", ticks: three, creditedMs: 0, phase: "lost" }),
  ];
  const standby = {
    id: `${JOB}/s1`,
    workerId: "wrk-2",
    providerId: "acc-two",
    phase: "released",
    ratePerHour: STANDBY_RATE.toString(),
    creditedMs: 51_111,
    charge: chargeFor(STANDBY_RATE, 51_111).toString(),
  };
  return settle(attempts, [standby], egress);
}

function attempt(of: {
  readonly epoch: number;
  readonly signer: Signer;
  readonly workerId: string;
  readonly ticks: readonly ReceiptTick[];
  readonly creditedMs: number;
  readonly phase?: string;
  readonly adoptedEpoch?: number;
  readonly baseRanMs?: number;
  readonly egress?: NonNullable<ReceiptAttempt["egress"]>;
}): ReceiptAttempt {
  const { egress } = of;
  const { epoch, signer, workerId, ticks, creditedMs, phase = "ended", adoptedEpoch = 0, baseRanMs = 0 } = of;
  return {
    id: `${JOB}/0/${epoch}`,
    replica: 0,
    epoch,
    workerId,
    providerId: workerId === "wrk-1" ? "acc-one" : "acc-two",
    publicKey: signer.publicKey,
    phase,
    ratePerHour: RATE.toString(),
    adoptedEpoch,
    baseRanMs,
    creditedMs,
    charge: (chargeBetween(RATE, baseRanMs, baseRanMs + creditedMs) + BigInt(egress?.charge ?? 0)).toString(),
    ...(egress === undefined ? {} : { egress }),
    ticks: [...ticks],
    ticksLeftOut: 0,
  };
}

function settle(
  attempts: readonly ReceiptAttempt[],
  standbys: Receipt["standbys"],
  egress: typeof EGRESS | undefined,
): Receipt {
  const payees = [...attempts, ...standbys].filter(({ creditedMs }) => creditedMs > 0);
  const gross = payees.reduce((sum, { charge }) => sum + BigInt(charge), 0n);
  const hold =
    holdFor(PRICE_MAX, DURATION_S) +
    (egress === undefined ? 0n : egressHoldFor(egress.priceMaxPerGiB, egress.bytesMax));
  const fee = feeOf(gross);
  const shares = splitByLargestRemainder(
    gross - fee,
    payees.map(({ id, charge }) => ({ id, weight: BigInt(charge) })),
  );
  const lines = payees.map(({ id, providerId, workerId, creditedMs }) => ({
    account: `provider:${providerId}`,
    role: id.includes("/s") ? ("standby" as const) : ("primary" as const),
    amount: (shares.get(id) ?? 0n).toString(),
    ms: creditedMs,
    workerId,
  }));
  const postings = new Map<string, bigint>([[`escrow:${JOB}`, -hold]]);
  const rest = [
    { account: "fee", role: "fee" as const, amount: fee.toString() },
    { account: "customer:acc-consumer", role: "refund" as const, amount: (hold - gross).toString() },
  ];
  for (const { account, amount } of [...lines, ...rest]) {
    const to = account.replace("provider:", "pending:");
    postings.set(to, (postings.get(to) ?? 0n) + BigInt(amount));
  }
  const time = "2026-11-27T22:00:00.000Z";
  return sealed({
    version: 1,
    orchestratorId: "orc-test",
    jobId: JOB,
    view: "consumer",
    phase: "succeeded",
    final: true,
    currency: "USD",
    createdAt: time,
    startedAt: time,
    endedAt: time,
    feeBasisPoints: 500,
    heldShort: false,
    agreed: {
      accountId: "acc-consumer",
      priceMaxPerHour: PRICE_MAX.toString(),
      durationMaxS: DURATION_S,
      hold: hold.toString(),
      ...(egress === undefined
        ? {}
        : { egress: { bytesMax: egress.bytesMax, priceMaxPerGiB: egress.priceMaxPerGiB.toString() } }),
      mirror: false,
    },
    attempts: [...attempts],
    standbys,
    totals: { gross: gross.toString(), fee: fee.toString(), refund: (hold - gross).toString() },
    lines: [...lines, ...rest],
    transfers: [
      {
        id: `${JOB}/hold`,
        kind: "hold",
        time,
        postings: [
          { account: "customer:acc-consumer", amount: (-hold).toString() },
          { account: `escrow:${JOB}`, amount: hold.toString() },
        ],
      },
      {
        id: `${JOB}/end`,
        kind: "settlement",
        time,
        postings: [...postings].map(([account, amount]) => ({ account, amount: amount.toString() })),
      },
    ],
  });
}
