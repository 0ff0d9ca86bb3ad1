// The virtual world: a clock that only events move, chance from one seed, a trace whose hash tells whether two runs were the same.
import { drawFaults, FAULT_KINDS, type FaultKind, type FaultOptions, type FaultRates } from "./faults.ts";
import { createRng, mixText, type Rng } from "./random.ts";
import { drawScale, type Scale } from "./scale.ts";

/** An invariant of the product does not hold. The run stops, and the seed is named. */
export class BrokenInvariant extends Error {
  constructor(message: string) {
    super(message);
    this.name = "BrokenInvariant";
  }
}

export interface World {
  readonly seed: number;
  readonly rng: Rng;
  readonly scale: Scale;
  readonly faults: FaultOptions;
  /** How often each kind of fault was injected. */
  readonly struck: Readonly<Record<FaultKind, number>>;
  /** Milliseconds since the world began; also the orchestrator's clock, which runs on while it is down. */
  nowMs(): number;
  /** Once true, nothing goes wrong any more. */
  calm: boolean;
  /** Whether this fault happens now; `part`: with this share of its probability. */
  strikes(kind: keyof FaultRates, part?: number): boolean;
  /** A fault of this kind was injected. */
  countFault(kind: FaultKind): void;
  /** Runs `action` after `delayMs`. Equal times run in the order in which they were asked for. */
  after(delayMs: number, action: () => void): void;
  /** Adds a line to the trace. */
  note(text: string): void;
  traceHash(): string;
  /** Runs until `isDone` or `untilMs`; true when it was done. */
  run(untilMs: number, isDone: () => boolean): boolean;
}

interface Due {
  readonly atMs: number;
  readonly order: number;
  readonly action: () => void;
}

/** Creates the world of a seed. `print` gets every line of the trace. */
export function createWorld(seed: number, print?: (line: string) => void): World {
  const rng = createRng(seed);
  const scale = drawScale(seed, rng);
  const faults = drawFaults(seed, rng, scale);
  const struck = Object.fromEntries(FAULT_KINDS.map((kind) => [kind, 0])) as Record<FaultKind, number>;
  const heap: Due[] = [];
  let nowMs = 0;
  let order = 0;
  let hash = seed | 0;
  return {
    seed,
    rng,
    scale,
    faults,
    struck,
    calm: true,
    nowMs: () => nowMs,
    strikes(kind, part = 1) {
      if (this.calm || !rng.chance(faults[kind] * part)) return false;
      struck[kind] += 1;
      return true;
    },
    countFault(kind) {
      struck[kind] += 1;
    },
    after(delayMs, action) {
      push(heap, { atMs: nowMs + Math.max(0, Math.round(delayMs)), order: order++, action });
    },
    note(text) {
      hash = mixText(hash ^ nowMs, text);
      print?.(`${String(nowMs).padStart(7)} ${text}`);
    },
    traceHash: () => (hash >>> 0).toString(16).padStart(8, "0"),
    run(untilMs, isDone) {
      while (!isDone()) {
        const due = heap[0];
        if (due === undefined || due.atMs > untilMs) return false;
        pop(heap);
        nowMs = due.atMs;
        due.action();
      }
      return true;
    },
  };
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

function push(heap: Due[], due: Due): void {
  let at = heap.length;
  heap.push(due);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(due, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = due;
}

function pop(heap: Due[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    const left = heap[at * 2 + 1];
    if (left === undefined) break;
    const right = heap[at * 2 + 2];
    const isRight = right !== undefined && isBefore(right, left);
    const below = isRight ? right : left;
    if (!isBefore(below, last)) break;
    heap[at] = below;
    at = at * 2 + (isRight ? 2 : 1);
  }
  heap[at] = last;
}
