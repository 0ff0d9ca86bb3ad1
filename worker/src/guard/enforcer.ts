// Holds each container from the end of its lease on, and lets it go when the lease is renewed. One actor for both, so that a pause and its undoing cannot cross.
//
// A container runs free until its lease is over. Then it is paused by the Engine; where that does not answer in time it is frozen by the kernel, and killed where
// even that fails. A held container is looked at now and then: what somebody else resumed is held again. One whose lease ends before it was started is removed,
// so that a start that is still on its way finds nothing.
import type { Answer, GuardEngine } from "./engine-calls.ts";
import type { Hold, LeaseEntry, WardStatus } from "./files.ts";
import { cgroupOf, freeze, isFrozen, killAll, thaw } from "./freezer.ts";

/** What was done, durably. */
export interface GuardRecord {
  readonly what: Hold | "resumed" | "let_go" | "not_held";
  readonly slotId: string;
  readonly containerId: string;
  /** Of the boot-time clock. */
  readonly atMs: number;
  readonly untilMs: number;
  readonly tookMs: number;
}

export interface EnforcerPorts {
  /** Boot-time clock. */
  nowMs(): number;
  readonly engine: GuardEngine;
  record(entry: GuardRecord): void;
}

export interface Enforcer {
  /** Begins what is due now and returns at once. Containers that are not listed are let alone. */
  tick(entries: readonly LeaseEntry[]): void;
  status(): Readonly<Record<string, WardStatus>>;
  /** Nothing of what was listed last can run any more. */
  isIdle(): boolean;
}

/** How often a held container is looked at, and one that runs free. */
const HELD_LOOK_MS = 500;
const FREE_LOOK_MS = 2_000;

interface Ward {
  entry: LeaseEntry;
  hold: Hold | null;
  sinceMs: number;
  heldMs: number;
  /** Of its first process, once seen. */
  pid: number;
  acting: boolean;
  looking: boolean;
  lookedAtMs: number;
  /** Rises with each change of `hold`: what was seen before one says nothing. */
  changes: number;
  /** A pause was asked for, and may be carried out late. */
  asked: boolean;
}

const OVER: ReadonlySet<Hold | null> = new Set<Hold | null>(["gone", "removed", "killed"]);

/** `before`: what an earlier guard said of the same containers. */
export function createEnforcer(ports: EnforcerPorts, before: Readonly<Record<string, WardStatus>> = {}): Enforcer {
  const { engine } = ports;
  const nowMs = () => ports.nowMs();
  const wards = new Map<string, Ward>();

  function wardOf(entry: LeaseEntry): Ward {
    let ward = wards.get(entry.containerId);
    if (ward === undefined) {
      const { hold, sinceMs, heldMs } = before[entry.containerId] ?? { hold: null, sinceMs: 0, heldMs: 0 };
      const asked = hold !== null;
      const still = { acting: false, looking: false, lookedAtMs: -Infinity, changes: 0 };
      ward = { entry, hold, sinceMs, heldMs, pid: 0, asked, ...still };
      wards.set(entry.containerId, ward);
    }
    ward.entry = entry;
    return ward;
  }

  function tend(ward: Ward): void {
    if (OVER.has(ward.hold) || ward.acting) return;
    const isExpired = nowMs() >= ward.entry.untilMs;
    if (isExpired === (ward.hold === null)) {
      ward.acting = true;
      void (isExpired ? hold(ward) : letGo(ward)).finally(() => {
        ward.acting = false;
      });
      return;
    }
    // A look may have to wait for the Engine; the end of a lease does not wait for a look.
    if (ward.looking || nowMs() - ward.lookedAtMs < (isExpired ? HELD_LOOK_MS : FREE_LOOK_MS)) return;
    ward.looking = true;
    void look(ward).finally(() => {
      ward.looking = false;
    });
  }

  function note(ward: Ward, what: GuardRecord["what"], begunMs: number): void {
    const { slotId, containerId, untilMs } = ward.entry;
    const atMs = nowMs();
    ports.record({ what, slotId, containerId, atMs, untilMs, tookMs: atMs - begunMs });
  }

  function held(ward: Ward, how: Hold, begunMs: number): void {
    if (ward.hold === null) ward.sinceMs = nowMs();
    ward.hold = how;
    ward.changes += 1;
    ward.lookedAtMs = nowMs();
    note(ward, how, begunMs);
  }

  function free(ward: Ward, why: "resumed" | "let_go", begunMs: number): void {
    ward.heldMs += Math.max(0, nowMs() - ward.sinceMs);
    ward.hold = null;
    ward.changes += 1;
    note(ward, why, begunMs);
  }

  async function hold(ward: Ward): Promise<void> {
    const { containerId } = ward.entry;
    const begunMs = nowMs();
    ward.asked = true;
    const answer: Answer = await engine.pause(containerId);
    if (answer === "done") return held(ward, "paused", begunMs);
    if (answer === "missing") return held(ward, "gone", begunMs);
    const seen = answer === "conflict" ? await engine.look(containerId) : undefined;
    ward.pid = seen?.pid || ward.pid;
    switch (seen?.state) {
      case "paused":
        return held(ward, "paused", begunMs);
      case "missing":
      case "over":
        return held(ward, "gone", begunMs);
      case "created":
        // What removes it answers only when no start is under way any more; one that was is looked for next time.
        if ((await engine.remove(containerId)) === "done") held(ward, "removed", begunMs);
        return;
      case "running":
      case undefined:
        return force(ward, begunMs);
    }
  }

  /** Without the Engine. */
  async function force(ward: Ward, begunMs: number): Promise<void> {
    const cgroup = cgroupOf(ward.entry.containerId, ward.pid);
    if (cgroup !== undefined && (await freeze(cgroup))) return held(ward, "frozen", begunMs);
    if (cgroup !== undefined && killAll(cgroup)) return held(ward, "killed", begunMs);
    note(ward, "not_held", begunMs);
  }

  async function letGo(ward: Ward): Promise<void> {
    const { containerId } = ward.entry;
    const begunMs = nowMs();
    const answer = await engine.unpause(containerId);
    if (answer === "missing") return held(ward, "gone", begunMs);
    if (answer !== "done") {
      // It may be frozen without the Engine's knowledge; that is thawed only where the Engine does not count it as paused (it answers 500 to that).
      if ((await engine.look(containerId))?.state !== "running") return;
      const cgroup = cgroupOf(containerId, ward.pid);
      if (cgroup !== undefined && isFrozen(cgroup)) thaw(cgroup);
    }
    free(ward, "let_go", begunMs);
  }

  async function look(ward: Ward): Promise<void> {
    const begunMs = nowMs();
    ward.lookedAtMs = begunMs;
    const { changes } = ward;
    const seen = await engine.look(ward.entry.containerId);
    if (seen === undefined) return;
    ward.pid = seen.pid || ward.pid;
    if (ward.acting || ward.changes !== changes) return;
    if (seen.state === "missing" || seen.state === "over") return held(ward, "gone", begunMs);
    if (ward.hold === "paused" && seen.state === "running") return free(ward, "resumed", begunMs);
    const cgroup = ward.hold === "frozen" ? cgroupOf(ward.entry.containerId, ward.pid) : undefined;
    if (cgroup !== undefined && !isFrozen(cgroup)) return free(ward, "resumed", begunMs);
    // A pause that the Engine carried out after its time: taken back by the next look at the lease.
    if (ward.hold === null && ward.asked && seen.state === "paused") held(ward, "paused", begunMs);
  }

  return {
    tick(entries) {
      const listed = new Set(entries.map(({ containerId }) => containerId));
      for (const id of wards.keys()) if (!listed.has(id)) wards.delete(id);
      for (const entry of entries) tend(wardOf(entry));
    },
    status: () =>
      Object.fromEntries([...wards].map(([id, { hold, sinceMs, heldMs }]) => [id, { hold, sinceMs, heldMs }])),
    isIdle: () => [...wards.values()].every(({ hold: how }) => OVER.has(how)),
  };
}
