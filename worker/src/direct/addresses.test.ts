// What another worker says of its addresses is tried only where a worker may well be.
import { expect, it } from "vitest";
import { dialable } from "./addresses.ts";

const ANYWHERE = { host: "0.0.0.0", port: 0 };
const LOOPBACK = { host: "127.0.0.1", port: 0 };

it.each([
  ["/ip4/192.0.2.7/tcp/40001", true],
  ["/ip4/10.1.2.3/tcp/40001", true],
  ["/ip6/2001:db8::7/tcp/40001", true],
  ["/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit", true],
  ["/ip4/127.0.0.1/tcp/40001", false],
  ["/ip6/::1/tcp/40001", false],
  ["/ip6/::ffff:127.0.0.1/tcp/40001", false],
  ["/ip6/0:0:0:0:0:0:0:1/tcp/40001", false],
  ["/ip6/0::1/tcp/40001", false],
  ["/ip6/0:0:0:0:0:ffff:7f00:1/tcp/40001", false],
  ["/ip6/0:0::ffff:169.254.169.254/tcp/8080", false],
  ["/ip6/64:ff9b::a9fe:a9fe/tcp/8080", false],
  ["/ip4/169.254.169.254/tcp/8080", false],
  ["/ip4/0.0.0.0/tcp/40001", false],
  ["/ip4/224.0.0.1/tcp/40001", false],
  ["/ip6/fe80::1/tcp/40001", false],
  ["/ip6/febf:0::1/tcp/40001", false],
  ["/ip6/ff02::1/tcp/40001", false],
  ["/ip6/2001:db8:0:0:0:0:0:7/tcp/40001", true],
  ["/ip4/192.0.2.7/tcp/22", false],
  ["/ip4/192.0.2.7/tcp/99999", false],
  ["/ip4/192.0.2.7/udp/40001", false],
  ["/dns4/example.org/tcp/40001", false],
  ["/ip4/192.0.2.7/tcp/40001/ws", false],
])("%s: %s", (address, isTried) => {
  expect(dialable([address], ANYWHERE)).toEqual(isTried ? [address] : []);
});

it("dials the loopback from an agent that listens there", () => {
  const own = ["/ip4/127.0.0.1/tcp/40001", "/ip6/::1/tcp/40001"];
  expect(dialable([...own, "/ip6/0::ffff:127.0.0.1/tcp/40001"], LOOPBACK)).toEqual(own);
});

it("tries no more than some", () => {
  const many = Array.from({ length: 100 }, (_, index) => `/ip4/192.0.2.${index}/tcp/40001`);
  expect(dialable(many, ANYWHERE)).toHaveLength(16);
});
