// The relay alone: who gets in, and by which name it is known. What it carries between two workers behind NAT is in test/network.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { afterEach, describe, expect, it } from "vitest";
import { createLogger } from "@qubix/shared/runtime";
import { type Relay, type RelayGate, type RelayOptions, startRelay } from "./relay.ts";

const logger = createLogger("test", "silent");
const folder = mkdtempSync(join(tmpdir(), "qubix-relay-"));
const OPTIONS: RelayOptions = {
  listen: "/ip4/127.0.0.1/tcp/0",
  announce: undefined,
  keyFile: join(folder, "relay-key.pem"),
};
const NOBODY: RelayGate = { admits: () => false, joins: () => false };
/** Time in which a refusal has arrived. */
const REFUSED_MS = 500;

const relays: Relay[] = [];
afterEach(async () => {
  for (const relay of relays.splice(0)) await relay.stop();
});

async function start(options: RelayOptions = OPTIONS, gate: RelayGate = NOBODY): Promise<Relay> {
  const relay = await startRelay(options, gate, logger);
  relays.push(relay);
  return relay;
}

/** Connects with a key of its own; resolves to whether it is still connected a little later. */
async function knock(address: string): Promise<boolean> {
  const node = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
    connectionMonitor: { enabled: false },
  });
  try {
    const { multiaddr } = await import("@multiformats/multiaddr");
    await node.dial(multiaddr(address), { signal: AbortSignal.timeout(5_000) });
    await new Promise((resolve) => setTimeout(resolve, REFUSED_MS));
    return node.getConnections().length > 0;
  } catch {
    return false;
  } finally {
    await node.stop();
  }
}

describe("the relay", () => {
  it("takes those whom the gate admits, by their key, and nobody else", async () => {
    const keys: string[] = [];
    const open = await start(OPTIONS, { admits: (key) => keys.push(key) > 0, joins: () => false });
    expect(await knock(open.addresses[0] ?? "")).toBe(true);
    expect(keys[0]).toMatch(/^[\w-]{43}$/);
    const closed = await start({ ...OPTIONS, keyFile: join(folder, "other.pem") });
    expect(await knock(closed.addresses[0] ?? "")).toBe(false);
  });

  it("is known by the same name after a restart, and only its owner can read its key", async () => {
    const nameOf = (relay: Relay) => /\/p2p\/(\w+)$/.exec(relay.addresses[0] ?? "")?.[1];
    const first = nameOf(await start());
    expect(first).toBeDefined();
    expect(nameOf(await start())).toBe(first);
    expect(statSync(OPTIONS.keyFile).mode & 0o777).toBe(0o600);
  });

  it("tells the address that workers reach it by, where that is another one", async () => {
    const relay = await start({ ...OPTIONS, announce: "/ip4/192.0.2.1/tcp/4001" });
    expect(relay.addresses).toEqual([expect.stringMatching(/^\/ip4\/192\.0\.2\.1\/tcp\/4001\/p2p\/\w+$/)]);
  });

  it("says what to do when it cannot listen", async () => {
    const taken = /\/tcp\/(\d+)\//.exec((await start()).addresses[0] ?? "")?.[1];
    const options = { ...OPTIONS, listen: `/ip4/127.0.0.1/tcp/${taken}` };
    await expect(start(options)).rejects.toMatchObject({ code: "relay_listen", message: /--relay-listen/ });
  });

  it("leaves nothing behind", () => rmSync(folder, { recursive: true, force: true }));
});
