// Records to the JSON of a row and back. JSON has no `bigint`: the fields that are amounts go as decimal strings, named here by hand because that is fast.
// A new `bigint` field that is not named here makes JSON.stringify throw: it cannot be lost silently.
import type { Money, RatePart } from "@qubix/shared/domain";
import type { JobSpec, WorkerOffer } from "@qubix/shared/protocol";
import type {
  AttemptRecord,
  EgressAccount,
  EgressTerms,
  JobCap,
  JobRecord,
  KeyedTable,
  MirrorState,
  Settlement,
  SettlementLine,
  StandbyRecord,
  Tables,
  VerificationRecord,
  WorkerRecord,
} from "../../core/model.ts";

/** As JSON has it: amounts are strings. */
type Raw<T> = { readonly [K in keyof T]: T[K] extends bigint ? string : T[K] };

/** Records without amounts. */
export function encodePlain(record: unknown): string {
  return JSON.stringify(record);
}

/** Of records that {@link encodePlain} wrote; the caller names their type. */
export function decodePlain(data: string): unknown {
  return JSON.parse(data);
}

/** Records with amounts anywhere, of tables that change seldom: slower than what is written by hand below, and no field can be forgotten. */
export function encodeRecord(record: unknown): string {
  return JSON.stringify(record, (_key, value: unknown) =>
    typeof value === "bigint" ? { units: value.toString() } : value,
  );
}

/** Of records that {@link encodeRecord} wrote; the caller names their type. */
export function decodeRecord(data: string): unknown {
  return JSON.parse(data, (_key, value: unknown) =>
    typeof value === "object" && value !== null && "units" in value ? BigInt(String(value.units)) : value,
  );
}

// ── Jobs: the specification apart ──

export function encodeSpec(spec: JobSpec): string {
  const { priceMaxPerHour, budgetMax, egressPriceMaxPerGiB } = spec;
  return JSON.stringify({
    ...spec,
    priceMaxPerHour: encodeMoney(priceMaxPerHour),
    budgetMax: budgetMax && encodeMoney(budgetMax),
    egressPriceMaxPerGiB: egressPriceMaxPerGiB && encodeMoney(egressPriceMaxPerGiB),
  });
}

const NOT_VERIFIED: JobSpec["verification"] = { mode: "none", replicas: 3 };

export function decodeSpec(data: string): JobSpec {
  // Rows of versions that verified nothing have no mode.
  const spec = JSON.parse(data) as Omit<JobSpec, "verification"> & Partial<Pick<JobSpec, "verification">>;
  const { priceMaxPerHour, budgetMax, egressPriceMaxPerGiB, verification = NOT_VERIFIED } = spec;
  return {
    ...spec,
    verification,
    priceMaxPerHour: decodeMoney(priceMaxPerHour),
    ...(budgetMax === undefined ? {} : { budgetMax: decodeMoney(budgetMax) }),
    ...(egressPriceMaxPerGiB === undefined ? {} : { egressPriceMaxPerGiB: decodeMoney(egressPriceMaxPerGiB) }),
  };
}

/** Without its specification. */
export function encodeJob(job: JobRecord): string {
  return JSON.stringify({
    ...job,
    spec: undefined,
    rateMax: job.rateMax.toString(),
    standbyRateMax: job.standbyRateMax.toString(),
    mirror: job.mirror && { ...job.mirror, rateMax: job.mirror.rateMax.map(String) },
    cap: job.cap && { ...job.cap, amount: job.cap.amount.toString() },
    settlement: encodeSettlement(job.settlement),
  });
}

export function decodeJob(data: string, spec: JobSpec): JobRecord {
  const { mirror, cap, ...raw } = JSON.parse(data) as Raw<Omit<JobRecord, "settlement" | "mirror" | "cap">> & {
    readonly cap?: Raw<JobCap>;
    readonly settlement: RawSettlement;
    readonly mirror?: Omit<MirrorState, "rateMax"> & { readonly rateMax: readonly [string, string, string] };
  };
  return {
    ...raw,
    ...(mirror === undefined ? {} : { mirror: { ...mirror, rateMax: decodeRates(mirror.rateMax) } }),
    ...(cap === undefined ? {} : { cap: { ...cap, amount: BigInt(cap.amount) } }),
    spec,
    // Rows of before these were known.
    imageTree: raw.imageTree ?? null,
    imageDigest: raw.imageDigest ?? null,
    fromCheckpoint: raw.fromCheckpoint ?? null,
    checkpointIntervalS: raw.checkpointIntervalS ?? null,
    // Rows of versions without a vault have none.
    vaultId: raw.vaultId ?? null,
    rateMax: BigInt(raw.rateMax),
    standbyRateMax: BigInt(raw.standbyRateMax),
    settlement: decodeSettlement(raw.settlement),
  };
}

function decodeRates([first, second, third]: readonly [string, string, string]): MirrorState["rateMax"] {
  return [BigInt(first), BigInt(second), BigInt(third)];
}

type RawSettlement = Omit<Settlement, "hold" | "gross" | "lines"> & {
  readonly hold: string;
  readonly gross: string | null;
  readonly lines: readonly Raw<SettlementLine>[];
};

function encodeSettlement(settlement: Settlement): unknown {
  return {
    ...settlement,
    hold: settlement.hold.toString(),
    gross: settlement.gross === null ? null : settlement.gross.toString(),
    lines: settlement.lines.map((line) => ({ ...line, amount: line.amount.toString() })),
  };
}

function decodeSettlement(raw: RawSettlement): Settlement {
  return {
    ...raw,
    hold: BigInt(raw.hold),
    gross: raw.gross === null ? null : BigInt(raw.gross),
    lines: raw.lines.map((line) => ({ ...line, amount: BigInt(line.amount) })),
  };
}

// ── Attempts, standbys ──

export function encodeAttempt(record: AttemptRecord): string {
  return JSON.stringify({
    ...record,
    ratePerHour: record.ratePerHour.toString(),
    parts: encodeParts(record.parts),
    egress: encodeEgress(record.egress),
  });
}

export function decodeAttempt(data: string): AttemptRecord {
  const { parts, egress, ...raw } = JSON.parse(data) as Raw<Omit<AttemptRecord, "parts" | "egress">> & {
    readonly parts?: readonly Raw<RatePart>[];
    readonly egress?: Raw<EgressAccount>;
  };
  return { ...raw, ratePerHour: BigInt(raw.ratePerHour), ...decodeParts(parts), ...decodeEgress(egress) };
}

export function encodeStandby(record: StandbyRecord): string {
  return JSON.stringify({
    ...record,
    ratePerHour: record.ratePerHour.toString(),
    fullRatePerHour: record.fullRatePerHour.toString(),
    parts: encodeParts(record.parts),
    egress: encodeEgress(record.egress),
  });
}

export function decodeStandby(data: string): StandbyRecord {
  const { parts, egress, ...raw } = JSON.parse(data) as Raw<Omit<StandbyRecord, "parts" | "egress">> & {
    readonly parts?: readonly Raw<RatePart>[];
    readonly egress?: Raw<EgressTerms>;
  };
  const [ratePerHour, fullRatePerHour] = [BigInt(raw.ratePerHour), BigInt(raw.fullRatePerHour)];
  return { ...raw, ratePerHour, fullRatePerHour, ...decodeParts(parts), ...decodeEgress(egress) };
}

function encodeEgress(egress: EgressTerms | undefined): Raw<EgressTerms> | undefined {
  return egress && { ...egress, pricePerGiB: egress.pricePerGiB.toString() };
}

function decodeEgress<T extends EgressTerms>(egress: Raw<T> | undefined): { readonly egress?: T } {
  return egress === undefined ? {} : { egress: { ...egress, pricePerGiB: BigInt(egress.pricePerGiB) } as unknown as T };
}

function encodeParts(parts: readonly RatePart[] | undefined): readonly Raw<RatePart>[] | undefined {
  return parts?.map(({ name, ratePerHour }) => ({ name, ratePerHour: ratePerHour.toString() }));
}

function decodeParts(parts: readonly Raw<RatePart>[] | undefined): { readonly parts?: readonly RatePart[] } {
  if (parts === undefined) return {};
  return { parts: parts.map(({ name, ratePerHour }) => ({ name, ratePerHour: BigInt(ratePerHour) })) };
}

// ── Verifications: what the consumer wrote is kept as text, so that nothing in it is taken for an amount ──

export function encodeVerification(record: VerificationRecord): string {
  return encodeRecord({ ...record, plan: { ...record.plan, spec: encodeSpec(record.plan.spec) } });
}

export function decodeVerification(data: string): VerificationRecord {
  type Stored = Omit<VerificationRecord, "plan"> & {
    readonly plan: Omit<VerificationRecord["plan"], "spec"> & { readonly spec: string };
  };
  const stored = decodeRecord(data) as Stored;
  return { ...stored, plan: { ...stored.plan, spec: decodeSpec(stored.plan.spec) } };
}

// ── Workers ──

export function encodeWorker(worker: WorkerRecord): string {
  return JSON.stringify({
    ...worker,
    offer: worker.offer && encodeOffer(worker.offer),
    earned: worker.earned.map(encodeMoney),
  });
}

export function decodeWorker(data: string): WorkerRecord {
  // Rows of versions that did not count earnings, or knew no proofs, have none.
  type Later = "earned" | "proofs" | "proofFailures";
  const raw = JSON.parse(data) as Omit<WorkerRecord, Later> & Partial<Pick<WorkerRecord, Later>>;
  const { earned = [], proofs = [], proofFailures = [] } = raw;
  return { ...raw, offer: raw.offer && decodeOffer(raw.offer), earned: earned.map(decodeMoney), proofs, proofFailures };
}

function encodeOffer(offer: WorkerOffer): unknown {
  return {
    ...offer,
    pricePerCpuHour: encodeMoney(offer.pricePerCpuHour),
    ...eachPrice(offer, encodeMoney),
  };
}

function decodeOffer(raw: WorkerOffer): WorkerOffer {
  return {
    ...raw,
    pricePerCpuHour: decodeMoney(raw.pricePerCpuHour),
    ...eachPrice(raw, decodeMoney),
  };
}

const PRICES = [
  "pricePerGpuHour",
  "pricePerGpuJobCpuHour",
  "pricePerMemoryGiBHour",
  "pricePerDiskGiBHour",
  "pricePerEgressGiB",
] as const;

/** Those that an offer may leave out. */
function eachPrice<T>(
  offer: WorkerOffer,
  change: (price: Money) => T,
): { readonly [K in (typeof PRICES)[number]]?: T } {
  return Object.fromEntries(
    PRICES.flatMap((name) => {
      const price = offer[name];
      return price === undefined ? [] : [[name, change(price)]];
    }),
  );
}

function encodeMoney(money: { readonly amount: bigint; readonly currency: string }): unknown {
  return { amount: money.amount.toString(), currency: money.currency };
}

/** Takes what JSON made of money: its amount is a string there. */
function decodeMoney(raw: { readonly amount: bigint | string; readonly currency: string }) {
  return { amount: BigInt(raw.amount), currency: raw.currency };
}

// ── Tables of rows that stand by themselves ──

interface KeyedCodec<T> {
  /** The table's name in SQL. */
  readonly sql: string;
  readonly encode: (record: T) => string;
  readonly decode: (data: string) => T;
  /** Of the rows that are loaded at a start; all where it is missing. */
  readonly loaded?: string;
}

const plain = <T>(sql: string): KeyedCodec<T> => ({
  sql,
  encode: encodePlain,
  decode: (data) => decodePlain(data) as T,
});

/** Of records with one amount, written often. */
const withAmount = <T extends { readonly amount: bigint }>(sql: string): KeyedCodec<T> => ({
  sql,
  encode: (record) => JSON.stringify({ ...record, amount: record.amount.toString() }),
  decode: (data) => {
    const raw = JSON.parse(data) as Raw<T>;
    return { ...raw, amount: BigInt(raw.amount) } as unknown as T;
  },
});

/** Of records with amounts anywhere. */
const withAmounts = <T>(sql: string): KeyedCodec<T> => ({
  sql,
  encode: encodeRecord,
  decode: (data) => decodeRecord(data) as T,
});

export const KEYED_CODECS: { readonly [T in KeyedTable]: KeyedCodec<Tables[T]> } = {
  accounts: plain("accounts"),
  apiKeys: plain("api_keys"),
  enrolments: plain("enrolments"),
  workers: { sql: "workers", encode: encodeWorker, decode: decodeWorker },
  uploads: plain("uploads"),
  idempotency: plain("idempotency"),
  reservations: withAmount("reservations"),
  releases: withAmount("releases"),
  payoutAddresses: plain("payout_addresses"),
  depositAddresses: plain("deposit_addresses"),
  chainPays: withAmounts("chain_pays"),
  payouts: { ...withAmounts("payouts"), loaded: "data ->> '$.phase' = 'requested'" },
  budgets: withAmounts("budgets"),
  spending: withAmounts("spending"),
};
