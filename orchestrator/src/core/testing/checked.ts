// Providers with a worker each, a consumer whose jobs are checked, and the words of those who run them.
import type { JobId, WorkerId } from "@qubix/shared/domain";
import type { CoreConfig } from "../config.ts";
import type { JobRecord, VerificationRecord } from "../model.ts";
import { replace } from "../tables.ts";
import { Network, offerOf, refOf, type specOf, treeOf, USD } from "./kit.ts";

export const RIGHT = treeOf("right");
export const WRONG = treeOf("wrong");
export const THIRD = treeOf("third");
export const IMAGE_DIGEST = `sha256:${"a".repeat(64)}`;
export const HOUR_MS = 3_600_000;
/** Nobody needs to send heartbeats. */
const PATIENT = { suspectMs: 1e9, lostMs: 1e9 };
export const SPOT = { verification: { mode: "spot-check" as const } };
export const MAJORITY = { verification: { mode: "majority" as const } };

function nth<T>(all: readonly T[], n: number): T {
  const found = all[n];
  if (found === undefined) throw new Error(`there are ${all.length}`);
  return found;
}

/** `count` providers with a worker each, dearer one after the other: a job comes to the first, its checks to the next ones. The second's word counts. */
export function checkedNetwork({
  count = 4,
  confirmed = 1,
  ...config
}: Partial<CoreConfig> & { readonly count?: number; readonly confirmed?: number | null } = {}) {
  // Every job of a worker without a history is checked.
  const net = new Network({
    checkShare: 0.4,
    silenceIdle: PATIENT,
    silenceBusy: PATIENT,
    silenceHot: PATIENT,
    ...config,
  });
  const consumer = net.account("consumer", 1_000n);
  const providers = Array.from({ length: count }, () => net.account("provider"));
  const workers = providers.map((provider, n) =>
    net.worker(
      provider,
      `worker${n}`,
      offerOf({ pricePerCpuHour: USD(1_000_000n + 100_000n * BigInt(n)), features: ["image-digest"] }),
    ),
  );
  /** Others came to so many of its results before. */
  const confirm = (n: number, inARow: number) => {
    const record = net.state.rows.workers.get(nth(workers, n));
    if (record !== undefined) replace(net.state, "workers", record.id, { ...record, checks: { inARow, wrong: 0 } });
  };
  if (confirmed !== null && count > confirmed) confirm(confirmed, 3);
  const worker = (n: number): WorkerId => nth(workers, n);
  const provider = (n: number) => nth(providers, n);
  const start = (id: JobId) => {
    const attempt = net.attempt(id);
    const said = { fromSeq: attempt.fromSeq, imageDigest: IMAGE_DIGEST };
    net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), ...said });
    return attempt;
  };
  const save = (id: JobId, seq: number, ranMs: number) => {
    const attempt = net.attempt(id);
    const body = {
      seq,
      parentSeq: seq - 1,
      tree: treeOf(`save${"abcdef"[seq]}`),
      ranMs,
      progress: null,
      signature: "s",
    };
    net.say(attempt.workerId, { kind: "checkpoint", attempt: refOf(attempt), ...body });
  };
  /** Runs for an hour, as the core's clock has it. */
  const finish = (id: JobId, outputs = RIGHT, ms = HOUR_MS) => {
    net.beating.clear();
    const attempt = start(id);
    net.pass(ms);
    const outcome = { kind: "succeeded", outputs } as const;
    net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: ms, outcome });
    return attempt.workerId;
  };
  const fail = (id: JobId) => {
    const attempt = start(id);
    const outcome = { kind: "failed", code: "exit_code", exitCode: 1, message: "" } as const;
    net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs: 1_000, outcome });
  };
  const submit = (input: Partial<Parameters<typeof specOf>[0]> = {}) =>
    net.submit(consumer, {
      durationMaxS: 2 * 3_600,
      priceMaxPerHour: { amount: "9000000", currency: "USD" },
      ...SPOT,
      ...input,
    });
  const verification = (id: JobId): VerificationRecord | undefined =>
    net.kept.all("verifications").find((one) => one.id === id);
  const checks = (id: JobId): JobRecord[] =>
    net.kept
      .all("jobs")
      .filter(({ check }) => check?.of === id)
      .toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const check = (id: JobId, run = 1): JobRecord => {
    const found = checks(id).find((one) => one.check?.run === run);
    if (found === undefined) throw new Error(`no run ${run} of ${id}`);
    return found;
  };
  const history = (workerId: WorkerId) => net.state.rows.workers.get(workerId)?.checks;
  const accused = () =>
    net.kept.events.flatMap(({ kind, workerId, data }) =>
      kind === "accused" ? [{ workerId, kind: data["kind"] }] : [],
    );
  const payable = (n: number) => net.balance(`provider:${providers[n]?.accountId}`);
  const earned = (n: number) => net.balance(`pending:${providers[n]?.accountId}`) + payable(n);
  const spendable = () => net.balance(`customer:${consumer.accountId}`);
  return {
    net,
    consumer,
    providers,
    workers,
    worker,
    provider,
    confirm,
    start,
    save,
    finish,
    fail,
    submit,
    verification,
    checks,
    check,
    history,
    accused,
    earned,
    payable,
    spendable,
  };
}
