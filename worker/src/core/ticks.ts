// Metering ticks: at each durable moment of a container the worker states, signed and chained, how long it has run and what it has sent. A tick is
// journaled before it is sent, goes before the message that it stands beside, and is said again until it is answered; the same number is never used for
// two of them.
import { type Tick, type TickHead, type TickMoment, TICKS_WAITING_MAX } from "@qubix/shared/protocol";
import { tickHash } from "@qubix/shared/receipts";
import type { Slot, TickChain } from "./model.ts";
import { tellTicks } from "./reports.ts";
import { type Draft, liveOf, sameAttempt, update } from "./state.ts";

const EMPTY: TickChain = { head: { n: 0, hash: null }, ranMs: 0, waiting: [] };

/**
 * Adds a tick to the slot's chain, where the orchestrator asked for them; the caller sends it. `sentBytes`: what the container had sent when it had run for
 * `ranMs`; null where that is not known.
 */
export function addTick(
  draft: Draft,
  slot: Slot,
  moment: TickMoment,
  ranMs: number,
  sentBytes = liveOf(draft.state, slot).sentBytes,
): Slot {
  const { attempt, run, ticks = EMPTY } = slot;
  if (run.ticks !== true || attempt === null) return slot;
  // What never ran has no account.
  if (ranMs === 0 && ticks.head.n === 0) return slot;
  // A later one tells of the same time.
  if (moment === "checkpoint" && ticks.waiting.length >= TICKS_WAITING_MAX) return slot;
  const told = withSent(ticks, run.network === "egress" ? sentBytes : null);
  const tick = tickAfter(told, ticks.head, { attempt, moment, ranMs });
  return update(draft, slot, { ticks: grown(told, tick, [...ticks.waiting, tick]) });
}

/** What the container sent never falls either, whatever this life of the agent has heard of it. */
function withSent(ticks: TickChain, sentBytes: number | null): TickChain {
  return sentBytes === null ? ticks : { ...ticks, egressBytes: Math.max(ticks.egressBytes ?? 0, sentBytes) };
}

/** The orchestrator has answered a tick. One that does not follow what it has is made anew from there, so that the account goes on. */
export function noteTickAnswered(draft: Draft, answered: Tick, head: TickHead | undefined): void {
  for (const slot of draft.state.slots.values()) {
    const { ticks } = slot;
    const tick = ticks?.waiting.find(({ n, attempt }) => n === answered.n && sameAttempt(attempt, answered.attempt));
    if (ticks === undefined || tick === undefined) continue;
    // From the same place it would be refused again.
    if (head !== undefined && head.hash !== tick.prev) return resume(draft, slot, ticks, head);
    update(draft, slot, { ticks: { ...ticks, waiting: ticks.waiting.filter((each) => each !== tick) } });
    return;
  }
}

function resume(draft: Draft, slot: Slot, ticks: TickChain, head: TickHead): void {
  const { attempt } = slot;
  const newest = ticks.waiting.at(-1);
  if (attempt === null || newest === undefined || slot.phase === "removing") return;
  const tick = tickAfter(ticks, head, { attempt, moment: newest.moment, ranMs: ticks.ranMs });
  tellTicks(draft, update(draft, slot, { ticks: grown(ticks, tick, [tick]) }));
}

function tickAfter(
  ticks: TickChain,
  head: TickHead,
  { attempt, moment, ranMs }: Pick<Tick, "attempt" | "moment" | "ranMs">,
): Tick {
  const n = Math.max(ticks.head.n, head.n) + 1;
  const usage = ticks.egressBytes === undefined ? {} : { usage: { egressBytes: ticks.egressBytes } };
  return { attempt, n, moment, ranMs: Math.max(ticks.ranMs, ranMs), prev: head.hash, ...usage };
}

function grown(ticks: TickChain, tick: Tick, waiting: readonly Tick[]): TickChain {
  return { ...ticks, head: { n: tick.n, hash: tickHash(tick) }, ranMs: tick.ranMs, waiting };
}
