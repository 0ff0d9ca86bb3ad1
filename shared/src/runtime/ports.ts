// What a shell needs from its surroundings, so that tests can give it theirs.

/** Milliseconds that never go backwards; its zero is arbitrary. */
export interface MonotonicClock {
  nowMs(): number;
}

/** Wall time, for people to read. Leases and money never use it. */
export interface WallClock {
  now(): Date;
}

/** Bytes nobody can guess. */
export interface RandomSource {
  bytes(count: number): Uint8Array;
}
