// Where workers may connect to each other. What another worker says of itself is the word of a stranger: it must not make this agent knock at doors of its own
// machine or at well-known services.
import { BlockList, isIP } from "node:net";
import { DIRECT_ADDRESSES_MAX } from "@qubix/shared/protocol";

export interface ListenAt {
  readonly host: string;
  readonly port: number;
}

/** Below are the services of a system. */
const PORT_LEAST = 1024;

// Compared as numbers, because an IPv6 address has many spellings; a list for each family, because a list of both takes IPv4 addresses for IPv6 ones.
const LOOPBACK = {
  ipv4: listOf("ipv4", ["127.0.0.0", 8]),
  ipv6: listOf("ipv6", ["::1", 128]),
};
/** This network, link-local (where clouds answer with credentials), multicast and reserved; IPv4 in IPv6's clothes. */
const NEVER_A_PEER = {
  ipv4: listOf("ipv4", ["0.0.0.0", 8], ["169.254.0.0", 16], ["224.0.0.0", 3]),
  ipv6: listOf("ipv6", ["::", 8], ["fe80::", 10], ["ff00::", 8]),
};

export function listenMultiaddr({ host, port }: ListenAt): string {
  return `/ip${isIP(host) === 6 ? 6 : 4}/${host}/tcp/${port}`;
}

/** Of what a peer says of itself: what may be dialled from here. An agent that itself listens on the loopback (for tests, for workers that share a machine) dials there too. */
export function dialable(addresses: readonly string[], listen: ListenAt): readonly string[] {
  const ownLoopback = isLoopback(listen.host);
  return addresses.slice(0, DIRECT_ADDRESSES_MAX).filter((text) => {
    const match = /^\/ip([46])\/([0-9a-f.:]+)\/tcp\/(\d{1,5})(\/p2p\/[a-zA-Z0-9]+\/p2p-circuit)?$/.exec(text);
    const [, family, host = "", port, circuit] = match ?? [];
    // A relay's own address is not dialled for a peer's word: only the orchestrator's relays are.
    const portLeast = circuit === undefined ? PORT_LEAST : 1;
    if (isIP(host) !== Number(family) || Number(port) < portLeast || Number(port) > 65_535) return false;
    if (isLoopback(host)) return ownLoopback;
    return !isNeverAPeer(host);
  });
}

function isLoopback(host: string): boolean {
  return isIn(LOOPBACK, host);
}

function isNeverAPeer(host: string): boolean {
  return isIn(NEVER_A_PEER, host);
}

function isIn(lists: typeof LOOPBACK, host: string): boolean {
  const family = isIP(host) === 6 ? "ipv6" : "ipv4";
  return lists[family].check(host, family);
}

function listOf(family: "ipv4" | "ipv6", ...subnets: readonly (readonly [address: string, bits: number])[]): BlockList {
  const list = new BlockList();
  for (const [address, bits] of subnets) list.addSubnet(address, bits, family);
  return list;
}
