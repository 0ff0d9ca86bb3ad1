// The newest entries of a map that would grow for ever: at least so many are kept, and at most twice as many. Older ones are dropped many at a time, which costs
// nothing for each: to find its oldest entry, a Map walks over the places of all that were taken out before.

export class RecentMap<Key, Value> {
  readonly #keptMin: number;
  #newer = new Map<Key, Value>();
  #older = new Map<Key, Value>();

  constructor(keptMin: number) {
    this.#keptMin = keptMin;
  }

  get size(): number {
    return this.#newer.size + this.#older.size;
  }

  get(key: Key): Value | undefined {
    return this.#newer.get(key) ?? this.#older.get(key);
  }

  /** The key is a new one. */
  add(key: Key, value: Value): void {
    if (this.#newer.size >= this.#keptMin) {
      this.#older = this.#newer;
      this.#newer = new Map();
    }
    this.#newer.set(key, value);
  }

  delete(key: Key): void {
    if (!this.#newer.delete(key)) this.#older.delete(key);
  }
}
