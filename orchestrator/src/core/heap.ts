// A binary heap: whatever comes first is at hand, the rest is in no particular order.

export class Heap<Entry> {
  #entries: Entry[];
  readonly #precedes: (a: Entry, b: Entry) => boolean;

  /** `precedes`: a strict order, so that a run replays identically. */
  constructor(precedes: (a: Entry, b: Entry) => boolean, entries: Iterable<Entry> = []) {
    this.#precedes = precedes;
    this.#entries = [];
    this.reset(entries);
  }

  get size(): number {
    return this.#entries.length;
  }

  get first(): Entry | undefined {
    return this.#entries[0];
  }

  /** In no particular order. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  push(entry: Entry): void {
    const entries = this.#entries;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = entries[up] as Entry;
      if (!this.#precedes(entry, parent)) break;
      entries[at] = parent;
      at = up;
    }
    entries[at] = entry;
  }

  removeFirst(): void {
    const last = this.#entries.pop();
    if (last !== undefined && this.#entries.length > 0) this.#sink(0, last);
  }

  /** Holds these from now on, and nothing else. */
  reset(entries: Iterable<Entry>): void {
    this.#entries = [...entries];
    for (let at = (this.#entries.length >> 1) - 1; at >= 0; at -= 1) this.#sink(at, this.#entries[at] as Entry);
  }

  /** Puts the entry at this place, or below it. */
  #sink(from: number, entry: Entry): void {
    const entries = this.#entries;
    let at = from;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= entries.length) break;
      if (down + 1 < entries.length && this.#precedes(entries[down + 1] as Entry, entries[down] as Entry)) down += 1;
      const child = entries[down] as Entry;
      if (!this.#precedes(child, entry)) break;
      entries[at] = child;
      at = down;
    }
    entries[at] = entry;
  }
}
