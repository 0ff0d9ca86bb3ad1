// What a job sends over its network, where that has a price of its own: bytes, counted from the container's beginning, at a price a GiB.

const BYTES_PER_GIB = 1n << 30n;
const BITS_PER_BYTE = 8;
const MS_PER_S = 1_000;

/** Whole bytes of a number of GiB. */
export function egressBytesOf(gib: number): number {
  return Math.floor(gib * Number(BYTES_PER_GIB));
}

/** What `bytes` cost at `pricePerGiB` micro-units: floor(price × bytes / 2^30). Cumulative, so that billing windows do not change the total. */
export function egressChargeFor(pricePerGiB: bigint, bytes: number): bigint {
  if (pricePerGiB < 0n || bytes < 0 || !Number.isSafeInteger(bytes)) {
    throw new RangeError(`charge needs a price and whole bytes of at least 0, got ${pricePerGiB} and ${bytes}`);
  }
  return (pricePerGiB * BigInt(bytes)) / BYTES_PER_GIB;
}

/** What the bytes from `fromBytes` to `toBytes` of one container add to what it cost before; windows add up to {@link egressChargeFor} of the whole. */
export function egressChargeBetween(pricePerGiB: bigint, fromBytes: number, toBytes: number): bigint {
  if (fromBytes > toBytes) throw new RangeError(`a window ends after it begins, got ${fromBytes} to ${toBytes}`);
  return egressChargeFor(pricePerGiB, toBytes) - egressChargeFor(pricePerGiB, fromBytes);
}

/** The most whole bytes that cost no more than `amount`. Without a price, or beyond all numbers, the largest whole number. */
export function egressBytesWithin(pricePerGiB: bigint, amount: bigint): number {
  if (pricePerGiB < 0n || amount < 0n) {
    throw new RangeError(`bytes for an amount need a price and an amount of at least 0, got ${pricePerGiB}, ${amount}`);
  }
  if (pricePerGiB === 0n) return Number.MAX_SAFE_INTEGER;
  const bytes = ((amount + 1n) * BYTES_PER_GIB - 1n) / pricePerGiB;
  return bytes > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(bytes);
}

/** What is locked for egress: ceil(priceMaxPerGiB × bytes / 2^30) micro-units. */
export function egressHoldFor(priceMaxPerGiB: bigint, bytesMax: number): bigint {
  return (priceMaxPerGiB * BigInt(bytesMax) + BYTES_PER_GIB - 1n) / BYTES_PER_GIB;
}

/** What a line of so many megabits (10⁶) a second carries in `ms` milliseconds, in whole bytes. */
export function bytesOverLine(mbps: number, ms: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.floor((mbps * 1e6 * ms) / (BITS_PER_BYTE * MS_PER_S)));
}
