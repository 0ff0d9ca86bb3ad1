// Which network an address belongs to: what is likely to fail together. Private and loopback addresses are networks like any other.
import { isIPv4, isIPv6 } from "node:net";

/** An IPv4 address that came over an IPv6 socket. */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
/** A /48 is what a site gets. */
const SITE_GROUPS = 3;
const GROUPS = 8;

/** `192.0.2.0/24`, `2001:db8:7::/48`; `undefined` for what is no address. */
export function networkOf(address: string | undefined): string | undefined {
  if (address === undefined) return undefined;
  const plain = MAPPED.exec(address)?.[1] ?? address;
  if (isIPv4(plain)) return `${plain.slice(0, plain.lastIndexOf("."))}.0/24`;
  const [bare = ""] = plain.split("%");
  if (!isIPv6(bare)) return undefined;
  const site = groupsOf(bare).slice(0, SITE_GROUPS);
  return `${site.map((group) => Number.parseInt(group, 16).toString(16)).join(":")}::/48`;
}

/** All eight, `::` filled in. An IPv4 ending counts as one group too few, which is beyond the site. */
function groupsOf(address: string): readonly string[] {
  const [head = "", tail] = address.split("::");
  const before = head === "" ? [] : head.split(":");
  if (tail === undefined) return before;
  const after = tail === "" ? [] : tail.split(":");
  return [
    ...before,
    ...Array.from({ length: Math.max(0, GROUPS - before.length - after.length) }, () => "0"),
    ...after,
  ];
}
