// Wall times for people, of moments on the orchestrator's clock. Each start left an event that bears both; a moment is read from the last start before it.
// Within one life of the orchestrator differences are exact, whatever the wall clock was set to meanwhile.
import type { Store } from "../store/port.ts";

const PAGE_EVENTS = 500;
/** The newest starts that are remembered; moments before them are read from the oldest of these. */
const ANCHORS_MAX = 10_000;

interface Anchor {
  readonly clockMs: number;
  readonly wallMs: number;
}

/** Returns the function from a time on the clock to RFC 3339. To be made when the clock stands at its first value of this life. */
export function createWallTimes(
  store: Pick<Store, "events">,
  now: { readonly clockMs: number; readonly wallMs: number },
): (clockMs: number) => string {
  const anchors = [...readStarts(store), now].slice(-ANCHORS_MAX);
  const newest = anchors.at(-1) ?? now;
  return (clockMs) => {
    const anchor =
      clockMs >= newest.clockMs ? newest : (anchors.findLast((each) => each.clockMs <= clockMs) ?? anchors[0] ?? now);
    return new Date(anchor.wallMs + (clockMs - anchor.clockMs)).toISOString();
  };
}

function readStarts(store: Pick<Store, "events">): readonly Anchor[] {
  const anchors: Anchor[] = [];
  let after = 0;
  for (;;) {
    const events = store.events({ after, limit: PAGE_EVENTS, channels: ["system"] });
    for (const event of events) {
      anchors.push({ clockMs: event.atMs, wallMs: event.wallMs });
      after = event.seq;
    }
    if (events.length < PAGE_EVENTS) return anchors;
  }
}
