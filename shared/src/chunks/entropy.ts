// How much a piece would shrink, from a sample of it: the entropy of its bytes, taken apart by their place in numbers of 1, 2, 4 or 8 bytes.
import { PLANE_WIDTHS, type PlaneWidth } from "./planes.ts";

export interface Estimate {
  readonly width: PlaneWidth;
  /** Share of the size that is left, 0 to 1, without what repeats. */
  readonly share: number;
  /** The same of the bytes at each place in such a number. */
  readonly shares: readonly number[];
}

/** Sampled here and there: enough to tell bytes at random (8 bits) from others within 0.05 bits. */
const WINDOWS = 8;
const WINDOW_BYTES = 2048;
const PLACES = 8;
const SYMBOLS = 256;
/** A wider number must promise this much less: it costs time to take apart. */
const GAIN_MIN = 0.03;

/** Filled anew for each estimate. */
const placeCounts = new Uint32Array(PLACES * SYMBOLS);
const mergedCounts = new Float64Array(SYMBOLS);

/** The best width, and what is left by it. Of less than a window's bytes nothing is known: one byte wide, nothing gained. */
export function estimate(bytes: Uint8Array): Estimate {
  const counts = countPlaces(bytes);
  let best = estimateAs(1, counts);
  for (const width of PLANE_WIDTHS) {
    if (width === 1 || bytes.length < width) continue;
    const other = estimateAs(width, counts);
    if (other.share < best.share - GAIN_MIN) best = other;
  }
  return best;
}

function estimateAs(width: PlaneWidth, counts: Uint32Array): Estimate {
  const shares = Array.from({ length: width }, (_, place) => shareOf(counts, place, width));
  return { width, share: shares.reduce((sum, share) => sum + share, 0) / width, shares };
}

/** Of each place modulo 8, how often each byte is there. */
function countPlaces(bytes: Uint8Array): Uint32Array {
  const counts = placeCounts.fill(0);
  const stride = Math.max(WINDOW_BYTES, Math.floor(bytes.length / WINDOWS / PLACES) * PLACES);
  for (let start = 0; start < bytes.length; start += stride) {
    const end = Math.min(start + WINDOW_BYTES, bytes.length);
    for (let at = start; at < end; at += 1) {
      const slot = (at % PLACES) * SYMBOLS + (bytes[at] as number);
      counts[slot] = (counts[slot] as number) + 1;
    }
  }
  return counts;
}

/** The entropy of the bytes at one place in numbers of `width` bytes, in bytes a byte. */
function shareOf(counts: Uint32Array, place: number, width: PlaneWidth): number {
  const merged = mergedCounts.fill(0);
  let sum = 0;
  for (let from = place * SYMBOLS; from < counts.length; from += width * SYMBOLS) {
    for (let symbol = 0; symbol < SYMBOLS; symbol += 1) {
      const count = counts[from + symbol] as number;
      merged[symbol] = (merged[symbol] as number) + count;
      sum += count;
    }
  }
  let bits = 0;
  let seen = 0;
  for (const count of merged) {
    if (count === 0) continue;
    seen += 1;
    bits -= count * Math.log2(count / sum);
  }
  // A sample understates entropy by about (symbols - 1) / (2 n ln 2) bits each (Miller and Madow, 1955).
  bits += (seen - 1) / (2 * Math.LN2);
  return sum === 0 ? 1 : Math.min(1, bits / 8 / sum);
}
