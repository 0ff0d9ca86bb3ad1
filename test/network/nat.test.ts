// Two workers behind NAT: their checkpoints take the relay where there is one, and the straight way where one of the two can be reached.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createNatLab, type NatLab, type NatNode, whyNoNatLab } from "./nat-lab.ts";

const SECOND = 1000;
const CHUNKS = 20;
const BYTES = CHUNKS * 200_000;

const reason = whyNoNatLab();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

let lab: NatLab;
beforeAll(async () => {
  if (reason === undefined) lab = await createNatLab();
}, 60 * SECOND);
afterAll(async () => {
  await lab?.stop();
}, 60 * SECOND);

/** As the orchestrator does it: named, named again once it is known where they listen. */
async function introduce(primary: NatNode, standby: NatNode, relays: readonly string[]): Promise<void> {
  const [primaryKey, standbyKey] = await Promise.all([primary.call<string>("key"), standby.call<string>("key")]);
  for (let times = 0; times < 2; times += 1) {
    const at = await Promise.all([primary.call<string[]>("addresses"), standby.call<string[]>("addresses")]);
    await Promise.all([
      primary.call("name", "primary", standbyKey, at[1], relays),
      standby.call("name", "standby", primaryKey, at[0], relays),
    ]);
  }
}

describe.skipIf(reason !== undefined)("two workers behind NAT", () => {
  it(
    "lose nothing without a relay: all comes from the orchestrator",
    async () => {
      await introduce(lab.a, lab.b, []);
      await lab.a.call("ship", CHUNKS);
      expect(await lab.b.call("fetch", CHUNKS)).toEqual({ direct: 0, relay: 0, orchestrator: BYTES });
    },
    60 * SECOND,
  );

  it(
    "are joined by the relay only once they are a pair, and then take it",
    async () => {
      const relays = await lab.relay.call<string[]>("addresses");
      expect(relays).toEqual([expect.stringMatching(/^\/ip4\/198\.51\.100\.1\/tcp\/4001\/p2p\/12D3/)]);
      const keys = await Promise.all([lab.a.call<string>("key"), lab.b.call<string>("key")]);
      // Both are admitted, but not for each other.
      await lab.relay.call("admit", keys, false);
      await introduce(lab.a, lab.b, relays);
      await lab.a.call("ship", CHUNKS);
      expect(await lab.b.call("fetch", CHUNKS)).toEqual({ direct: 0, relay: 0, orchestrator: BYTES });
      await lab.relay.call("admit", keys, true);
      await expect
        .poll(
          async () => {
            await introduce(lab.a, lab.b, relays);
            return lab.b.call("fetch", CHUNKS);
          },
          { timeout: 90 * SECOND, interval: SECOND },
        )
        .toEqual({ direct: 0, relay: BYTES, orchestrator: 0 });
    },
    150 * SECOND,
  );

  it(
    "need none where one of the two can be reached: a primary behind NAT calls its standby",
    async () => {
      const standby = await lab.startPublic();
      await introduce(lab.a, standby, []);
      await lab.a.call("ship", CHUNKS);
      await expect
        .poll(() => standby.call("fetch", CHUNKS), { timeout: 60 * SECOND, interval: SECOND })
        .toEqual({ direct: BYTES, relay: 0, orchestrator: 0 });
    },
    90 * SECOND,
  );
});
