// Deadlines in a heap, earliest first. Each key has one deadline; scheduling it again moves it, and the older entry is skipped when it surfaces. What changed since
// the last `commit` can be rolled back, so that a step that throws loses no deadline.
import { Heap } from "./heap.ts";

export interface Deadline {
  readonly key: string;
  readonly atMs: number;
}

/** Entries that were moved or cleared may make up half of the heap, and this many more, before they are swept out. */
const STALE_ENTRIES_SLACK = 4_096;

export class DeadlineHeap {
  readonly #entries = new Heap<Deadline>(before);
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
    return this.#entries.first?.atMs ?? null;
  }

  /** Takes out the earliest deadline that is due. */
  pop(nowMs: number): Deadline | undefined {
    this.#dropStale();
    const { first } = this.#entries;
    if (first === undefined || first.atMs > nowMs) return undefined;
    this.#entries.removeFirst();
    this.#remember(first.key);
    this.#current.delete(first.key);
    return first;
  }

  #remember(key: string): void {
    if (!this.#before.has(key)) this.#before.set(key, this.#current.get(key));
  }

  #dropStale(): void {
    const entries = this.#entries;
    for (let first = entries.first; first !== undefined; first = entries.first) {
      if (this.#current.get(first.key) === first.atMs) return;
      entries.removeFirst();
    }
  }

  #push(entry: Deadline): void {
    if (this.#entries.size > 2 * this.#current.size + STALE_ENTRIES_SLACK) this.#sweep();
    this.#entries.push(entry);
  }

  #sweep(): void {
    this.#entries.reset([...this.#current].map(([key, atMs]) => ({ key, atMs })));
  }
}

/** Ties are broken by key, so that a run replays identically. */
function before(a: Deadline, b: Deadline): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.key < b.key);
}
