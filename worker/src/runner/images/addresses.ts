// Which addresses the Docker Engine may be sent to. It runs beside the owner's other services and inside his network: whoever names a registry must
// not thereby reach a service of the host, a router, a neighbour or a cloud's metadata.
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** Services for the machine itself at addresses that look public: Azure's wire server, Oracle's metadata, Alibaba's. */
const SERVICE_ADDRESSES: readonly string[] = ["168.63.129.16", "192.0.0.192", "100.100.100.200"];
/** Where public IPv6 addresses lie today (IANA): what is outside is not routed. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR("2000::/3");
/** NAT64 (RFC 6052): the last 32 bits are an IPv4 address, and it is that address which is reached. */
const NAT64 = ipaddr.IPv6.parseCIDR("64:ff9b::/96");

/** Why nobody may be sent to this address (in canonical form); undefined for a public one. */
export function refusedAddress(address: string): string | undefined {
  if (isIP(address) === 0) return "not an IP address";
  const parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv6) {
    if (parsed.match(NAT64)) return refusedAddress(new ipaddr.IPv4(parsed.toByteArray().slice(-4)).toString());
    if (parsed.range() === "unicast" && !parsed.match(GLOBAL_UNICAST)) return "not a public address";
  }
  if (SERVICE_ADDRESSES.includes(parsed.toString())) return "a cloud's metadata service";
  const range = parsed.range();
  return range === "unicast" ? undefined : (RANGE_WORDS[range] ?? "not a public address");
}

/** The IP address that a host name is, in any of the forms that programs read as one (`0x7f.1`, `2130706433`, `[::1]`); undefined for a name. */
export function addressLiteral(host: string): string | undefined {
  const { hostname } = URL.parse(`http://${host}/`) ?? { hostname: "" };
  const bare = hostname.replace(/^\[|\]$/g, "");
  return isIP(bare) === 0 ? undefined : bare;
}

/** By the library's names; one that it invents later is not public either. */
const RANGE_WORDS: Readonly<Record<string, string>> = {
  unspecified: "an address of the machine itself",
  loopback: "an address of the machine itself",
  private: "a private address",
  uniqueLocal: "a private address",
  deprecatedSiteLocal: "a private address",
  linkLocal: "a link-local address",
  carrierGradeNat: "an address of a provider's own network",
  broadcast: "a broadcast address",
  multicast: "a multicast address",
  reserved: "a reserved address",
  benchmarking: "a reserved address",
  amt: "a reserved address",
  as112: "a reserved address",
  as112v6: "a reserved address",
  deprecatedOrchid: "a reserved address",
  orchid2: "a reserved address",
  droneRemoteIdProtocolEntityTags: "a reserved address",
  segmentRouting: "a reserved address",
  discard: "a reserved address",
  "6to4": "a tunnel's address",
  teredo: "a tunnel's address",
  rfc6052: "a translated address",
  rfc6145: "a translated address",
  ipv4Mapped: "a translated address",
};
