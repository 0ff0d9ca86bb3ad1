// What a shell needs from its surroundings, so that tests can give it theirs.

/** Milliseconds that never go backwards; its zero is arbitrary. */
export interface MonotonicClock {
  nowMs(): number;
}

/** Bytes nobody can guess. */
export interface RandomSource {
  bytes(count: number): Uint8Array;
}
