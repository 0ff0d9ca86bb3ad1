// Who is told of whom for the direct path, and that it is taken back.
import type { StandbyId, WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { areIntroduced } from "./direct.ts";
import { Network, offerOf, refOf } from "./testing/kit.ts";
import { standbyReady, start } from "./testing/words.ts";

const DIRECT = { features: ["direct"] };

/** A hot job that runs on `primary`, its standby ready on `second`; all workers can go direct, or only those that are said. */
function hot(can: readonly boolean[] = [true, true, true]) {
  const net = new Network();
  const workers = ["alpha", "beta", "gamma"].map((name, index) =>
    net.worker(net.account("provider"), name, { ...offerOf(), ...(can[index] ? DIRECT : {}) }),
  );
  const id = net.submit(net.account("consumer", 100n), { standby: "hot" });
  const primary = net.attempt(id).workerId;
  start(net, id);
  net.pass(10);
  const second = standbyReady(net, id);
  return { net, id, primary, second, workers };
}

function told(net: Network, worker: WorkerId) {
  return net
    .sentTo(worker)
    .filter(
      (message): message is Extract<OrchestratorMessage, { kind: "direct.peer" }> => message.kind === "direct.peer",
    );
}

function keyOf(net: Network, worker: WorkerId) {
  return net.state.rows.workers.get(worker)?.publicKey;
}

describe("the direct path's pairs", () => {
  test("are told of each other, once", () => {
    const { net, id, primary, second } = hot();
    expect(told(net, primary)).toEqual([
      {
        kind: "direct.peer",
        jobId: id,
        peer: { as: "primary", publicKey: keyOf(net, second), addresses: [] },
        relays: [],
      },
    ]);
    expect(told(net, second).map(({ peer }) => peer)).toEqual([
      { as: "standby", publicKey: keyOf(net, primary), addresses: [] },
    ]);
    expect(areIntroduced(net.state, primary, second)).toBe(true);
    expect(areIntroduced(net.state, primary, primary)).toBe(false);
  });

  test("hear where the other listens", () => {
    const { net, primary, second } = hot();
    const directAddresses = ["/ip4/192.0.2.7/tcp/40001"];
    net.say(primary, { kind: "offer", offer: { ...offerOf(), ...DIRECT, directAddresses } });
    expect(told(net, second).at(-1)?.peer?.addresses).toEqual(directAddresses);
    expect(told(net, primary)).toHaveLength(1);
  });

  test("are nobody where one of them does not know the message", () => {
    for (const can of [
      [true, false, false],
      [false, true, false],
      [false, false, true],
    ]) {
      const { net, workers, primary, second } = hot(can);
      expect(workers.flatMap((worker) => told(net, worker))).toEqual([]);
      expect(areIntroduced(net.state, primary, second)).toBe(false);
    }
  });

  test("are told again in a new session, and only there", () => {
    const { net, id, primary, second } = hot();
    const standbyId = net.standby(id)?.id as StandbyId;
    const before = [told(net, primary).length, told(net, second).length];
    net.close(second);
    net.connect(
      second,
      { ...offerOf(), ...DIRECT },
      { attempts: [], standbys: [{ standbyId, phase: "ready", checkpointSeq: 0 }] },
    );
    expect([told(net, primary).length, told(net, second).length - 1]).toEqual(before);
    expect(told(net, second).at(-1)?.peer?.publicKey).toBe(keyOf(net, primary));
  });

  test("end with a promotion, and the next pair is told", () => {
    const { net, id, primary, second } = hot();
    net.close(primary);
    expect(net.attempt(id).workerId).toBe(second);
    expect(told(net, second).at(-1)?.peer).toBeNull();
    expect(areIntroduced(net.state, primary, second)).toBe(false);
    start(net, id);
    net.pass(5_000);
    const third = net.standby(id)?.workerId as WorkerId;
    expect(told(net, second).at(-1)?.peer).toMatchObject({ as: "primary", publicKey: keyOf(net, third) });
    expect(told(net, third).at(-1)?.peer).toMatchObject({ as: "standby", publicKey: keyOf(net, second) });
  });

  test("end with the job", () => {
    const { net, id, primary, second } = hot();
    net.say(primary, {
      kind: "ended",
      attempt: refOf(net.attempt(id)),
      ranMs: 100,
      outcome: { kind: "succeeded", outputs: null },
    });
    expect(told(net, primary).at(-1)?.peer).toBeNull();
    expect(told(net, second).at(-1)?.peer).toBeNull();
    expect(net.state.volatile.direct.size).toBe(0);
  });

  test("are told anew after a restart of the orchestrator", () => {
    const { net, id, primary, second } = hot();
    const attempt = refOf(net.attempt(id));
    net.restart();
    net.connect(
      primary,
      { ...offerOf(), ...DIRECT },
      {
        attempts: [{ attempt, phase: "running", ranMs: 10, checkpointSeq: 0, progress: null }],
        standbys: [],
      },
    );
    expect(told(net, primary).at(-1)?.peer?.publicKey).toBe(keyOf(net, second));
  });
});
