import { describe, expect, it } from "vitest";
import { networkOf } from "./networks.ts";

describe("the network of an address", () => {
  it.each([
    ["192.0.2.77", "192.0.2.0/24"],
    ["::ffff:192.0.2.77", "192.0.2.0/24"],
    ["127.0.0.1", "127.0.0.0/24"],
    ["2001:db8:7:1::9", "2001:db8:7::/48"],
    ["2001:DB8:7:0:1:2:3:4", "2001:db8:7::/48"],
    ["2001:0db8:0007::1", "2001:db8:7::/48"],
    ["fe80::1%eth0", "fe80:0:0::/48"],
    ["::1", "0:0:0::/48"],
    ["somewhere", undefined],
    ["", undefined],
    [undefined, undefined],
  ])("%s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
