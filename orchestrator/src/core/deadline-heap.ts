// Deadlines as a binary heap, earliest first. Each key has one deadline; scheduling it again moves it, and the older entry is skipped when it surfaces. What changed since
// the last `commit` can be rolled back, so that a step that throws loses no deadline.

export interface Deadline {
  readonly key: string;
  readonly atMs: number;
}

/** Entries that were moved or cleared may make up half of the heap, and this many more, before they are swept out. */
const STALE_ENTRIES_SLACK = 4_096;

export class DeadlineHeap {
  #entries: Deadline[] = [];
  readonly #current = new Map<string, number>();
  /** Of the keys that changed since the last commit: what they had then. */
  readonly #before = new Map<string, number | undefined>();

  get size(): number {
    return this.#current.size;
  }

  atMs(key: string): number | undefined {
    return this.#current.get(key);
  }

  /** Sets the key's deadline, whatever it was. */
  set(key: string, atMs: number): void {
    if (this.#current.get(key) === atMs) return;
    this.#remember(key);
    this.#current.set(key, atMs);
    this.#push({ key, atMs });
  }

  /** Sets the key's deadline unless it has an earlier one. */
  setNoLater(key: string, atMs: number): void {
    const current = this.#current.get(key);
    if (current === undefined || atMs < current) this.set(key, atMs);
  }

  clear(key: string): void {
    if (!this.#current.has(key)) return;
    this.#remember(key);
    this.#current.delete(key);
  }

  /** What was set, cleared and popped stays so. */
  commit(): void {
    if (this.#before.size > 0) this.#before.clear();
  }

  /** Every key has the deadline that it had at the last commit. */
  rollBack(): void {
    for (const [key, atMs] of this.#before) {
      if (atMs === undefined) this.#current.delete(key);
      else if (this.#current.get(key) !== atMs) {
        this.#current.set(key, atMs);
        this.#push({ key, atMs });
      }
    }
    this.#before.clear();
  }

  /** By key, as they stand. */
  all(): ReadonlyMap<string, number> {
    return this.#current;
  }

  /** The earliest time; `null` for none. */
  nextMs(): number | null {
    this.#dropStale();
    return this.#entries[0]?.atMs ?? null;
  }

  /** Takes out the earliest deadline that is due. */
  pop(nowMs: number): Deadline | undefined {
    this.#dropStale();
    const first = this.#entries[0];
    if (first === undefined || first.atMs > nowMs) return undefined;
    this.#removeFirst();
    this.#remember(first.key);
    this.#current.delete(first.key);
    return first;
  }

  #remember(key: string): void {
    if (!this.#before.has(key)) this.#before.set(key, this.#current.get(key));
  }

  #dropStale(): void {
    for (let first = this.#entries[0]; first !== undefined; first = this.#entries[0]) {
      if (this.#current.get(first.key) === first.atMs) return;
      this.#removeFirst();
    }
  }

  #push(entry: Deadline): void {
    if (this.#entries.length > 2 * this.#current.size + STALE_ENTRIES_SLACK) this.#sweep();
    const entries = this.#entries;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = entries[up] as Deadline;
      if (before(parent, entry)) break;
      entries[at] = parent;
      at = up;
    }
    entries[at] = entry;
  }

  #sweep(): void {
    const live = [...this.#current].map(([key, atMs]) => ({ key, atMs }));
    // A sorted array is a heap.
    this.#entries = live.toSorted((a, b) => (a.atMs === b.atMs ? (a.key < b.key ? -1 : 1) : a.atMs - b.atMs));
  }

  #removeFirst(): void {
    const entries = this.#entries;
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= entries.length) break;
      if (down + 1 < entries.length && before(entries[down + 1] as Deadline, entries[down] as Deadline)) down += 1;
      const child = entries[down] as Deadline;
      if (before(last, child)) break;
      entries[at] = child;
      at = down;
    }
    entries[at] = last;
  }
}

/** Ties are broken by key, so that a run replays identically. */
function before(a: Deadline, b: Deadline): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.key <= b.key);
}
