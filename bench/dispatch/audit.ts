// After the crash: every job of the store is looked at. Nothing accepted is lost; hold, postings and timeline of each job are what they must be, once.
import type { StoredEvent, StoredTransfer, Store } from "@qubix/orchestrator/store";
import type { TransferId } from "@qubix/shared/domain";
import type { Report } from "../harness/report.ts";

const PAGE = 5000;
/** What each timeline must have, once and in this order; other lines may stand between. */
const TIMELINE = ["queued", "matched", "started", "completed", "settled"] as const;

/** Reads the whole store and reports the checks. `accepted` are the ids that clients were given, `hold` is what each job must have locked. */
export function auditJobs(store: Store, accepted: readonly string[], hold: bigint, report: Report): void {
  const events = eventsByJob(store);
  const transfers = transfersByJob(store);
  const ids = new Set([...events.keys(), ...transfers.keys(), ...accepted]);
  const wrong = { lost: 0, unfinished: 0, hold: 0, postings: 0, timeline: 0 };
  let example = "";
  for (const id of ids) {
    const stored = store.job(id as never);
    const found = {
      lost: stored === undefined,
      unfinished: stored?.job.phase !== "succeeded" || stored.job.settlement.phase !== "settled",
      hold: stored !== undefined && !holdIsExact(stored.job.settlement, hold),
      postings: !postingsAreExact(transfers.get(id) ?? [], id, hold),
      timeline: !timelineIsWhole(events.get(id) ?? []),
    };
    for (const kind of Object.keys(wrong) as (keyof typeof wrong)[]) {
      if (!found[kind]) continue;
      wrong[kind]++;
      example ||= `${kind}: ${id} ${(events.get(id) ?? []).map((event) => event.kind).join(" ")}`;
    }
  }
  const of = `${ids.size} jobs`;
  report.check(
    `none of ${accepted.length} accepted jobs lost`,
    wrong.lost === 0,
    `${wrong.lost} lost, ${of} in the store`,
  );
  report.check("every job succeeded and is settled", wrong.unfinished === 0, `${wrong.unfinished} of ${of} are not`);
  report.check("hold = shares + fee + refund for every job", wrong.hold === 0, `${wrong.hold} of ${of} are not`);
  report.check(
    "one hold and one settlement posted for every job",
    wrong.postings === 0,
    `${wrong.postings} of ${of} wrong`,
  );
  report.check(
    `every timeline is ${TIMELINE.join(" ")}, once each`,
    wrong.timeline === 0,
    `${wrong.timeline} of ${of} are not`,
  );
  for (const [currency, sums] of store.audit()) {
    const zero = sums.postings === 0n && sums.balances === 0n;
    report.check(`books sum to zero in ${currency}`, zero, `postings ${sums.postings}, balances ${sums.balances}`);
  }
  if (example !== "") report.progress(`first that is wrong: ${example}`);
}

function holdIsExact(
  settlement: { readonly hold: bigint; readonly lines: readonly { readonly amount: bigint }[] },
  hold: bigint,
): boolean {
  return settlement.hold === hold && settlement.lines.reduce((sum, line) => sum + line.amount, 0n) === hold;
}

function postingsAreExact(transfers: readonly StoredTransfer[], jobId: string, hold: bigint): boolean {
  const escrow = `escrow:${jobId}`;
  const moved = (kind: string) => {
    const ofKind = transfers.filter((transfer) => transfer.kind === kind);
    return ofKind.length === 1
      ? sumOf(ofKind[0]?.postings.filter((posting) => posting.account === escrow) ?? [])
      : undefined;
  };
  const balanced = transfers.every((transfer) => sumOf(transfer.postings) === 0n);
  return balanced && transfers.length === 2 && moved("hold") === hold && moved("settlement") === -hold;
}

function sumOf(postings: readonly { readonly amount: bigint }[]): bigint {
  return postings.reduce((sum, posting) => sum + posting.amount, 0n);
}

function timelineIsWhole(events: readonly StoredEvent[]): boolean {
  const kinds = events.map((event) => event.kind);
  const places = TIMELINE.map((kind) => kinds.indexOf(kind));
  const once = ["queued", "completed", "settled"].every((kind) => kinds.indexOf(kind) === kinds.lastIndexOf(kind));
  return once && places.every((place, n) => place > (n === 0 ? -1 : (places[n - 1] ?? -1)));
}

function eventsByJob(store: Store): Map<string, StoredEvent[]> {
  const byJob = new Map<string, StoredEvent[]>();
  let after = 0;
  for (;;) {
    const page = store.events({ after, limit: PAGE, channels: ["jobs"] });
    for (const event of page) if (event.jobId !== null) append(byJob, event.jobId, event);
    const last = page.at(-1);
    if (last === undefined) return byJob;
    after = last.seq;
  }
}

function transfersByJob(store: Store): Map<string, StoredTransfer[]> {
  const byJob = new Map<string, StoredTransfer[]>();
  let before: TransferId | undefined;
  for (;;) {
    const page = store.transfers({ limit: PAGE, ...(before === undefined ? {} : { before }) });
    for (const transfer of page) if (transfer.jobId !== null) append(byJob, transfer.jobId, transfer);
    const last = page.at(-1);
    if (last === undefined) return byJob;
    before = last.id;
  }
}

function append<T>(map: Map<string, T[]>, key: string, value: T): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
