// IPv4 ranges: those that no job may reach, and arithmetic on them. Pure. Job networks have no IPv6 at all.

export interface Range {
  readonly base: number;
  readonly length: number;
}

/**
 * What is not the public internet (IANA special-purpose registry, RFC 6890 and its successors), and what a cloud serves its machines
 * at a public address. Some say why.
 */
export const FORBIDDEN_RANGES: readonly string[] = [
  "0.0.0.0/8", // this network: Linux takes 0.0.0.0 for the machine itself
  "10.0.0.0/8",
  "100.64.0.0/10", // carriers' NAT, Tailscale, Alibaba's metadata (100.100.100.200)
  "127.0.0.0/8",
  "169.254.0.0/16", // link-local, metadata of most clouds (169.254.169.254)
  "172.16.0.0/12", // and Docker's own bridges
  "192.0.0.0/24", // protocol assignments, Oracle's metadata
  "192.0.2.0/24",
  "192.88.99.0/24", // 6to4 relays
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "168.63.129.16/32", // Azure's wire server
  "224.0.0.0/4", // multicast
  "240.0.0.0/4", // reserved, and broadcast
];

/** Shorter than this a directly connected network is a default route in disguise, as virtual private networks make them. */
const CONNECTED_LENGTH_MIN = 8;

/** All that is forbidden on this machine: the ranges above, and the networks it is itself part of where they lie elsewhere. In a fixed order. */
export function forbiddenOn(connected: readonly string[]): readonly string[] {
  const fixed = FORBIDDEN_RANGES.map(parsed);
  const more = new Set<string>();
  for (const text of connected) {
    const range = parseRange(text);
    if (range === undefined || range.length < CONNECTED_LENGTH_MIN) continue;
    if (!fixed.some((wide) => contains(wide, range))) more.add(rangeText(range));
  }
  return [...FORBIDDEN_RANGES, ...[...more].toSorted()];
}

/** `a.b.c.d` or `a.b.c.d/n`, its host part cut off; undefined for anything else. */
export function parseRange(text: string): Range | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?:\/(\d{1,2}))?$/.exec(text);
  if (match === null) return undefined;
  const bytes = match.slice(1, 5).map(Number);
  const length = match[5] === undefined ? 32 : Number(match[5]);
  if (length > 32 || bytes.some((byte) => byte > 255)) return undefined;
  const address = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const size = 2 ** (32 - length);
  return { base: address - (address % size), length };
}

export function rangeText({ base, length }: Range): string {
  const bytes = [24, 16, 8, 0].map((shift) => Math.floor(base / 2 ** shift) % 256);
  return `${bytes.join(".")}/${length}`;
}

export function contains(wide: Range, narrow: Range): boolean {
  return wide.length <= narrow.length && overlaps(wide, narrow);
}

export function overlaps(one: Range, other: Range): boolean {
  const size = 2 ** (32 - Math.min(one.length, other.length));
  return Math.floor(one.base / size) === Math.floor(other.base / size);
}

/** A plain IPv4 address of the public internet: nothing that a job is kept from. */
export function isPublicAddress(text: string): boolean {
  const address = text.includes("/") ? undefined : parseRange(text);
  return address !== undefined && !FORBIDDEN_RANGES.some((range) => contains(parsed(range), address));
}

/** Room for a job's container beside the bridge; Docker's own pools would be used up after some thirty networks. */
const SUBNET_LENGTH = 28;
/** The widest first: it is the least likely to be full or routed elsewhere. */
const SUBNET_POOLS: readonly string[] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const SUBNET_TRIES = 50;

/** A small private network that none of the machine's routes leads into. `random` gives whole numbers below its argument. */
export function freeSubnet(routes: readonly string[], random: (below: number) => number): string | undefined {
  const taken = routes.flatMap((text) => parseRange(text) ?? []).filter(({ length }) => length >= CONNECTED_LENGTH_MIN);
  const size = 2 ** (32 - SUBNET_LENGTH);
  for (const pool of SUBNET_POOLS.map(parsed)) {
    const count = 2 ** (SUBNET_LENGTH - pool.length);
    for (let tries = 0; tries < SUBNET_TRIES; tries += 1) {
      const range = { base: pool.base + random(count) * size, length: SUBNET_LENGTH };
      if (!taken.some((other) => overlaps(other, range))) return rangeText(range);
    }
  }
  return undefined;
}

function parsed(text: string): Range {
  const range = parseRange(text);
  if (range === undefined) throw new Error(`${text} is no IPv4 range`);
  return range;
}
