// A mirror job, its three providers, and the words of its replicas.
import type { WorkerId } from "@qubix/shared/domain";
import type { AttemptRecord } from "../model.ts";
import { Network, offerOf, refOf, type specOf, treeOf, USD } from "./kit.ts";

export const RIGHT = treeOf("right");
export const WRONG = treeOf("wrong");
const FAILED = { kind: "failed", code: "exit_code", exitCode: 3, message: "" } as const;

/** Three providers with a worker each; a job whose two replicas run at the first two, for 1.00 and 1.50 an hour. */
export function mirrored(input: Parameters<typeof specOf>[0] = {}) {
  const net = new Network();
  const consumer = net.account("consumer", 100n);
  const providers = [net.account("provider"), net.account("provider"), net.account("provider")];
  const workers = providers.map((provider, n) =>
    net.worker(provider, `worker${n}`, offerOf({ pricePerCpuHour: USD(1_000_000n + 500_000n * BigInt(n)) })),
  );
  const id = net.submit(consumer, { standby: "mirror", ...input });
  const of = (replica: number): AttemptRecord => {
    const found = net.attempts(id).findLast((attempt) => attempt.replica === replica);
    if (found === undefined) throw new Error(`no replica ${replica}`);
    return found;
  };
  const start = (replica: number) => {
    const attempt = of(replica);
    net.say(attempt.workerId, { kind: "started", attempt: refOf(attempt), fromSeq: attempt.fromSeq });
  };
  const save = (replica: number, seq: number, ranMs: number) => {
    const attempt = of(replica);
    const tree = treeOf(`save${"abc"[replica]}${"abcdef"[seq]}`);
    const body = { seq, parentSeq: seq - 1, tree, ranMs, progress: null, signature: "s" };
    return net.say(attempt.workerId, { kind: "checkpoint", attempt: refOf(attempt), ...body });
  };
  const succeed = (replica: number, ranMs: number, outputs = RIGHT) => {
    const attempt = of(replica);
    const outcome = { kind: "succeeded", outputs } as const;
    net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs, outcome });
  };
  const fail = (replica: number, ranMs: number, outcome = FAILED) => {
    const attempt = of(replica);
    net.say(attempt.workerId, { kind: "ended", attempt: refOf(attempt), ranMs, outcome });
  };
  const [first, second, third] = workers as [WorkerId, WorkerId, WorkerId];
  const earned = (n: number) => net.balance(`pending:${providers[n]?.accountId ?? ""}`);
  return { net, id, consumer, providers, first, second, third, of, start, save, succeed, fail, earned };
}

/** Both replicas run. */
export function running(input: Parameters<typeof specOf>[0] = {}) {
  const made = mirrored(input);
  made.start(0);
  made.start(1);
  return made;
}

export const running60 = (input: Parameters<typeof specOf>[0] = {}) => {
  const made = running(input);
  made.net.pass(60_000);
  return made;
};
