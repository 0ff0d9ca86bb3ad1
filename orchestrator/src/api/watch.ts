// Who waits for what the writer commits: requests for a job's end, log followers for new lines, event sockets for events.
// Woken in the same turn as the commit, so that nobody polls.
import type { JobId } from "@qubix/shared/domain";
import { QubixError } from "@qubix/shared/runtime";
import type { Writer } from "../app/writer-port.ts";
import type { StoredEvent } from "../store/port.ts";
import { LOG_FOLLOWERS_MAX, WAITERS_MAX } from "./limits.ts";

/** Event kinds with which a job ends. */
const END_KINDS: ReadonlySet<string> = new Set(["completed", "failed", "cancelled"]);

export interface Watch {
  start(): void;
  /** Wakes everybody for the last time. */
  stop(): void;
  /** Resolves when the job ends, `timeoutMs` passed, `signal` fires or the server stops. The caller looks what it was. */
  ended(jobId: JobId, timeoutMs: number, signal: AbortSignal): Promise<void>;
  /** Calls back whenever the job has new log lines or has ended. Returns how to stop. Throws `overloaded` when there are too many. */
  followLogs(jobId: JobId, wake: () => void): () => void;
  onEvents(listener: (events: readonly StoredEvent[]) => void): () => void;
  /** True from {@link Watch.stop} on. */
  stopped(): boolean;
}

export function createWatch(writer: Pick<Writer, "onEvents" | "onLogs">): Watch {
  const waiters = new Map<JobId, Set<() => void>>();
  const followers = new Map<JobId, Set<() => void>>();
  const listeners = new Set<(events: readonly StoredEvent[]) => void>();
  const counts = { waiters: 0, followers: 0 };
  let detach: readonly (() => void)[] = [];
  let stopped = false;

  const handleEvents = (events: readonly StoredEvent[]) => {
    for (const event of events) {
      if (event.jobId === null || event.channel !== "jobs" || !END_KINDS.has(event.kind)) continue;
      wakeAll(waiters.get(event.jobId));
      wakeAll(followers.get(event.jobId));
    }
    for (const listener of listeners) listener(events);
  };

  return {
    start() {
      if (detach.length > 0) return;
      detach = [
        writer.onEvents(handleEvents),
        writer.onLogs((jobIds) => {
          for (const jobId of jobIds) wakeAll(followers.get(jobId));
        }),
      ];
    },
    stop() {
      stopped = true;
      for (const remove of detach) remove();
      detach = [];
      for (const set of [...waiters.values(), ...followers.values()]) wakeAll(set);
    },
    stopped: () => stopped,
    ended(jobId, timeoutMs, signal) {
      if (stopped || signal.aborted) return Promise.resolve();
      if (counts.waiters >= WAITERS_MAX) return Promise.reject(tooMany("requests wait for jobs"));
      return new Promise((resolve) => {
        counts.waiters += 1;
        const finish = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", finish);
          if (removeFrom(waiters, jobId, finish)) counts.waiters -= 1;
          resolve();
        };
        const timer = setTimeout(finish, timeoutMs);
        signal.addEventListener("abort", finish, { once: true });
        addTo(waiters, jobId, finish);
      });
    },
    followLogs(jobId, wake) {
      if (counts.followers >= LOG_FOLLOWERS_MAX) throw tooMany("logs are followed");
      counts.followers += 1;
      addTo(followers, jobId, wake);
      return () => {
        if (removeFrom(followers, jobId, wake)) counts.followers -= 1;
      };
    },
    onEvents(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function tooMany(what: string): QubixError {
  return new QubixError("overloaded", `Too many ${what} at this moment. Try again in a few seconds.`, {
    category: "platform",
    status: 503,
    retryable: true,
  });
}

/** Whoever wakes may take himself out: a Set bears that while it is gone through. */
function wakeAll(set: ReadonlySet<() => void> | undefined): void {
  if (set === undefined) return;
  for (const wake of set) wake();
}

function addTo(map: Map<JobId, Set<() => void>>, jobId: JobId, wake: () => void): void {
  const set = map.get(jobId);
  if (set === undefined) map.set(jobId, new Set([wake]));
  else set.add(wake);
}

function removeFrom(map: Map<JobId, Set<() => void>>, jobId: JobId, wake: () => void): boolean {
  const set = map.get(jobId);
  if (set === undefined || !set.delete(wake)) return false;
  if (set.size === 0) map.delete(jobId);
  return true;
}
