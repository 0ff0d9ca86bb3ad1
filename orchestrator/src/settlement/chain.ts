// One chain: what the core's rows ask of it goes to the outbox, what is final there comes back as an event, and what both sides say is compared from time to
// time. Nothing is kept here that the rows and the outbox do not have.
import { createOutbox, openOutbox } from "@qubix/contracts-bridge/outbox";
import type { ChainDriver, Intent, Payment, ReconcileReport } from "@qubix/contracts-bridge/port";
import type { JobId, TransferId } from "@qubix/shared/domain";
import type { Logger } from "@qubix/shared/runtime";
import { ADMIN_ACCOUNT, type CoreEvent, type CoreState, type Reply } from "../core/index.ts";
import {
  type ChainTerms,
  type Derived,
  expectationOf,
  intentOfPayout,
  intentsOfJob,
  nameOf,
  purposeOf,
} from "./intents.ts";

/** All that a token can say: transfers never use it up. */
const ALLOWED = 2n ** 256n - 1n;
/** What settled jobs leave with the operator is taken out for new deposits no more often: each time costs gas. */
const COLLECT_MS = 60_000;
const RECONCILE_MS = 600_000;
/** After a start, what was under way comes first. */
const RECONCILE_MS_FIRST = 60_000;
/** A stop does not wait longer for a node that does not answer: what it would have said is asked for again after the start. */
const STOP_MS_MAX = 3_000;
/** Payments are looked for less often than what is under way: nobody's job waits for a block's worth of time. */
const SCAN_POLLS = 5;
const POLL_MS = 1_000;
/** Blocks that are read at a time: nodes refuse much more. */
const SCAN_PLACES = 2_000;
const PAYMENTS_MARK = "payments";
/** More than these are counted, not listed. */
const DIFFERENCES_TOLD_MAX = 20;

export interface ChainPorts {
  readonly driver: ChainDriver;
  readonly terms: ChainTerms;
  /** Of the outbox. */
  readonly file: string;
  readonly submit: (event: CoreEvent) => Promise<Reply>;
  /** Committed state, read at once. */
  readonly state: () => CoreState;
  readonly logger: Logger;
  readonly clock: { readonly nowMs: () => number; readonly wallMs: () => number };
}

export interface ChainOptions {
  /** Between two looks at what is under way. */
  readonly pollMs?: number;
}

export interface ChainStatus {
  readonly driver: string;
  readonly currency: string;
  readonly enforced: "contract";
  readonly signer: string;
  readonly payeesMax: number;
  /** Why nothing goes on; `null` while it does. */
  readonly halted: string | null;
  /** Intents that are not final, and those that the chain ever refused. */
  readonly underWay: number;
  readonly refused: number;
  /** The newest comparison; `null` before the first. */
  readonly report: ReconcileReport | null;
}

export interface Chain {
  readonly driver: ChainDriver;
  readonly terms: ChainTerms;
  start(): void;
  stop(): Promise<void>;
  /** Something may be to be done for this job or payout. Never throws. */
  consider(id: string): void;
  /** …for any: after a start, and where memory was rebuilt. */
  considerAll(): void;
  status(): ChainStatus;
  reconcile(): Promise<ReconcileReport>;
  /** Goes on after a halt. */
  resume(): void;
}

/** Opens the outbox. Throws where another process has it. */
export function createChain(ports: ChainPorts, { pollMs = POLL_MS }: ChainOptions = {}): Chain {
  const { driver, terms, submit, state, logger, clock } = ports;
  const store = openOutbox(ports.file);
  const life = { isOpen: true, collectDue: true, told: "", mayRead: false, isScanning: false };
  let newest: ReconcileReport | null = null;
  const timers: NodeJS.Timeout[] = [];
  const outbox = createOutbox(
    {
      driver,
      store,
      logger,
      clock,
      finished,
      check: () => driver.check(),
      onHalt: (reason) => void tell("chain_halted", { reason }),
    },
    { pollMs },
  );

  async function tell(
    note: Extract<CoreEvent, { kind: "chain.note" }>["note"],
    data: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    try {
      await submit({ kind: "chain.note", note, data: { driver: terms.driver, ...data } });
    } catch (error) {
      logger.warn({ event: "chain_untold", note, err: error }, "admins could not be told");
    }
  }

  /** What became of an intent is posted before the outbox forgets it. */
  async function finished(name: string, intent: Intent, phase: "applied" | "refused"): Promise<void> {
    const purpose = purposeOf(name);
    const applied = phase === "applied";
    if (purpose.kind === "payout") await submit({ kind: "payout.final", payoutId: purpose.payoutId, applied });
    if (purpose.kind !== "pay" && purpose.kind !== "deposit") return;
    const { kind: what, jobId, tries } = purpose;
    await submit({ kind: "chain.final", jobId, what, tries, applied });
    if (!applied) consider(jobId);
    if (intent.kind === "settle" || intent.kind === "refund") life.collectDue = true;
  }

  function add({ purpose, intent }: Derived): void {
    const name = nameOf(purpose);
    // Its deadline would be another one now: what was asked for first holds.
    if (!outbox.has(name)) outbox.add(name, intent);
  }

  /** Once, and again where the chain refused it: without it every deposit is refused. */
  function allow(): void {
    let tries = 1;
    while (store.get(nameOf({ kind: "allow", tries }))?.phase === "refused") tries += 1;
    add({ purpose: { kind: "allow", tries }, intent: { kind: "allow", total: ALLOWED } });
  }

  function consider(id: string): void {
    if (!life.isOpen) return;
    try {
      const payout = intentOfPayout(state().rows.payouts.get(id), terms);
      if (payout !== undefined) return add(payout);
      for (const derived of intentsOfJob(state(), id as JobId, terms, clock.wallMs())) add(derived);
      endWithoutDeposit(id as JobId);
    } catch (error) {
      logger.error(
        { event: "chain_skipped", id, err: error },
        "what the chain is to do is derived again at the next start",
      );
    }
  }

  /** Where nothing was deposited there is nothing to give back, and nothing to pay from. */
  function endWithoutDeposit(jobId: JobId): void {
    const pay = state().rows.chainPays.get(jobId);
    if (pay?.phase !== "paying" || pay.chain.driver !== terms.driver) return;
    if (pay.chain.deposit !== "refused" && pay.hold > 0n) return;
    const applied = pay.payees.length === 0 && pay.fee === 0n;
    submit({ kind: "chain.final", jobId, what: "pay", tries: pay.tries, applied }).catch((error: unknown) =>
      logger.warn({ event: "chain_untold", jobId, err: error }, "it is told at the next start"),
    );
  }

  function considerAll(): void {
    if (!life.isOpen) return;
    const { jobs, chainPays, payouts } = state().rows;
    for (const { id, chain } of jobs.values()) if (chain?.driver === terms.driver) consider(id);
    for (const { id } of chainPays.values()) consider(id);
    for (const { id, by } of payouts.values()) if (by === "contract") consider(id);
  }

  async function collect(): Promise<void> {
    if (!life.collectDue || outbox.halted() !== null) return;
    const owner = driver.signer();
    const owed = await driver.readCredit(owner);
    life.collectDue = false;
    if (owed > 0n) add({ purpose: { kind: "collect", atMs: clock.wallMs() }, intent: { kind: "payout", owner } });
  }

  async function reconcile(): Promise<ReconcileReport> {
    const report = await driver.reconcile(expectationOf(state(), terms));
    newest = report;
    const { differences } = report;
    const text = JSON.stringify(differences.map(({ jobId, what }) => [jobId, what]));
    if (differences.length > 0 && text !== life.told) {
      const count = differences.length;
      logger.error({ event: "chain_differences", driver: terms.driver, count }, "ledger and chain differ");
      const told = differences.slice(0, DIFFERENCES_TOLD_MAX);
      await tell("chain_differences", { count, differences: told });
    }
    life.told = text;
    return report;
  }

  /** Credits what consumers sent to the operator, each payment once: its name is the transfer's, which the store takes once. */
  async function scan(): Promise<void> {
    const { payments } = driver;
    if (payments === null || life.isScanning || outbox.halted() !== null) return;
    life.isScanning = true;
    try {
      life.mayRead ||= (await driver.check()) === null;
      if (!life.mayRead) return;
      const place = await payments.place();
      // What was sent before the chain was set up here is nobody's.
      const after = store.mark(PAYMENTS_MARK) ?? place;
      const upTo = Math.min(place, after + SCAN_PLACES);
      const found = upTo > after ? await payments.between(after, upTo) : [];
      for (const payment of found) await credit(payment);
      if (life.isOpen) store.setMark(PAYMENTS_MARK, Math.max(after, upTo));
    } finally {
      life.isScanning = false;
    }
  }

  async function credit({ id: name, from, amount: units }: Payment): Promise<void> {
    const accountId = state().rows.depositAddresses.get(`${terms.driver} ${from}`)?.accountId;
    const amount = units / terms.unitsPerMicro;
    if (accountId === undefined || amount === 0n) {
      logger.info(
        { event: "chain_payment_ignored", driver: terms.driver, from, name },
        "nobody's, or less than can be counted",
      );
      return;
    }
    const reference = `${terms.driver} ${name}`;
    const actor = { accountId: ADMIN_ACCOUNT, role: "admin" } as const;
    const id = `${terms.driver}:${name}` as TransferId;
    const { currency } = terms;
    const reply = await submit({ kind: "deposit", actor, accountId, amount, currency, reference, id });
    if (reply.kind !== "refused") return;
    await tell("chain_deposit_refused", { accountId, amount: amount.toString(), reference, why: reply.refusal.code });
  }

  function guarded(what: string, work: () => Promise<unknown>): () => void {
    return () =>
      void work().catch((error: unknown) => logger.warn({ event: `${what}_failed`, err: error }, "it is tried again"));
  }

  return {
    driver,
    terms,
    start() {
      if (timers.length > 0 || !life.isOpen) return;
      allow();
      considerAll();
      outbox.start();
      timers.push(setTimeout(guarded("chain_reconcile", reconcile), RECONCILE_MS_FIRST));
      timers.push(setInterval(guarded("chain_reconcile", reconcile), RECONCILE_MS));
      timers.push(setInterval(guarded("chain_collect", collect), COLLECT_MS));
      timers.push(setInterval(guarded("chain_scan", scan), pollMs * SCAN_POLLS));
    },
    async stop() {
      if (!life.isOpen) return;
      life.isOpen = false;
      for (const timer of timers.splice(0)) clearInterval(timer);
      let late: NodeJS.Timeout | undefined;
      const patience = new Promise<void>((resolve) => {
        late = setTimeout(resolve, STOP_MS_MAX);
      });
      await Promise.race([outbox.stop(), patience]);
      clearTimeout(late);
      store.close();
    },
    consider,
    considerAll,
    status() {
      const { queued, signed, refused } = outbox.counts();
      const { enforced, payeesMax } = driver.caps();
      return {
        driver: terms.driver,
        currency: terms.currency,
        enforced,
        signer: driver.signer(),
        payeesMax,
        halted: outbox.halted(),
        underWay: queued + signed,
        refused,
        report: newest,
      };
    },
    reconcile,
    resume() {
      const reason = outbox.halted();
      allow();
      outbox.resume();
      if (reason !== null) void tell("chain_resumed", { reason });
    },
  };
}
