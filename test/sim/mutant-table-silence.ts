// Mutants of leases, exclusive jobs, and of what silence means.
import { CORE, WORKER, type Mutant } from "./mutant.ts";

export const SILENCE_MUTANTS: readonly Mutant[] = [
  {
    name: "the successor of an exclusive attempt starts at once",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: "if (wait !== null) return waitForLease(state, going, gone, wait);",
        replace: "",
      },
    ],
  },
  {
    name: "an exclusive attempt that is back goes on beside its successor",
    patches: [
      {
        file: `${CORE}/failover.ts`,
        find: `  if (isExclusive(job) && successors.length > 0) return false;
`,
        replace: "",
      },
    ],
  },
  {
    name: "the margin of a lease is not waited for",
    patches: [
      {
        file: `${CORE}/lease-wait.ts`,
        find: "+ exclusiveLeaseMs + exclusiveMarginMs;",
        replace: "+ exclusiveLeaseMs + 0 * exclusiveMarginMs;",
      },
    ],
  },
  {
    name: "a worker counts a lease from the answer",
    isSlow: true,
    patches: [
      {
        file: `${WORKER}/exclusive.ts`,
        find: "const untilMs = sentAtMs + EXCLUSIVE_LEASE_MS;",
        replace: "const untilMs = Math.max(sentAtMs, draft.nowMs) + EXCLUSIVE_LEASE_MS;",
      },
    ],
  },
  {
    name: "a worker starts a container without a lease, and its guard lets it run",
    patches: [
      {
        file: `${WORKER}/exclusive.ts`,
        find: "if (!isExclusive(slot)) return true;",
        replace: "if (!isExclusive(slot) || slot.phase !== undefined) return true;",
      },
      {
        file: "test/sim/exclusive.ts",
        find: "const mayRun = (slotId: SlotId) => world.nowMs() < (leases.get(slotId) ?? 0);",
        replace: "const mayRun = (slotId: SlotId) => world.nowMs() < (leases.get(slotId) ?? Number.POSITIVE_INFINITY);",
      },
    ],
  },
  {
    name: "a worker says that a container is over before it is",
    patches: [
      {
        file: `${WORKER}/reports.ts`,
        find: "if (attempt !== null && over === true) send(",
        replace: "if (attempt !== null && over !== false) send(",
      },
      {
        file: `${WORKER}/reports.ts`,
        find: `if (slot.phase === "collecting" || slot.phase === "ended") tellStopped(draft, slot);`,
        replace: `if (slot.run.failover === "exclusive") tellStopped(draft, slot);`,
      },
    ],
  },
  {
    name: "a worker says of a container that its engine could not start that it is over",
    patches: [
      {
        file: `${WORKER}/attempts.ts`,
        find: `before.phase === "preparing" || before.phase === "ready" ? noteOver(draft, before) : before;`,
        replace: "noteOver(draft, before);",
      },
    ],
  },
  {
    name: "who is silent together with many is given up",
    patches: [
      {
        file: `${CORE}/workers.ts`,
        find: "if (!holdBack(state, machine)) expire(state, machine);",
        replace: `holdBack(state, machine);
  expire(state, machine);`,
      },
    ],
  },
  {
    name: "a mass silence is held for three times as long",
    patches: [
      {
        file: `${CORE}/mass-silence.ts`,
        find: "const untilMs = beganAtMs + state.config.massSilenceHoldMs;",
        replace: "const untilMs = beganAtMs + 3 * state.config.massSilenceHoldMs;",
      },
    ],
  },
  {
    name: "what was held is held again",
    patches: [
      {
        file: `${CORE}/mass-silence.ts`,
        find: `  mass.doneUntilMs = state.nowMs;
`,
        replace: "",
      },
    ],
  },
  {
    name: "our own stall counts as the workers' silence",
    patches: [
      // Either of the two suffices where stalls are as short as here.
      {
        file: `${CORE}/workers.ts`,
        find: "if (isUnread && !machine.excused) {",
        replace: "if (isUnread && machine.excused) {",
      },
      {
        file: `${CORE}/silence.ts`,
        find: "return Math.min(config.lagForgivenMsMax, volatile.lagMs - machine.heardLagMs);",
        replace: "return Math.min(0, config.lagForgivenMsMax, volatile.lagMs - machine.heardLagMs);",
      },
    ],
  },
];
