import { transparentFeature } from "@qubix/shared/protocol";
import { describe, expect, test } from "vitest";
import { explainOnce } from "./explain.ts";
import { Network, offerOf } from "./testing/kit.ts";
import { start } from "./testing/words.ts";

const offerIn = (memoryClass: string) =>
  offerOf({ features: ["sandboxed", "transparent", transparentFeature(memoryClass)] });
const SPEC = { isolation: "sandboxed", checkpoint: { transparent: true } } as const;

describe("a job with transparent checkpoints", () => {
  test("waits for a worker that takes them, and is told so", () => {
    const net = new Network();
    const provider = net.account("provider");
    net.worker(provider, "sandboxed only", offerOf({ features: ["sandboxed"] }));
    const id = net.submit(net.account("consumer", 100n), SPEC);
    expect(net.job(id).phase).toBe("queued");
    expect(explainOnce(net.state, net.job(id))).toContain("transparent checkpoints");
    const able = net.worker(provider, "able", offerIn("a"));
    net.pass(1_000);
    expect(net.last(able, "assign")?.run).toMatchObject({ isolation: "sandboxed", transparent: true });
  });

  test("goes on only where what the first worker saved can be restored, over a restart of the orchestrator", () => {
    const net = new Network();
    const provider = net.account("provider");
    const first = net.worker(provider, "first", offerIn("a"));
    const id = net.submit(net.account("consumer", 100n), SPEC);
    start(net, id);
    net.close(first);
    net.restart();
    const other = net.worker(provider, "other", offerIn("b"));
    net.pass(60_000);
    expect(net.job(id).phase).toBe("queued");
    expect(net.last(other, "assign")).toBeUndefined();
    expect(explainOnce(net.state, net.job(id))).toContain(transparentFeature("a"));
    const same = net.worker(provider, "same", offerIn("a"));
    net.pass(1_000);
    expect(net.last(same, "assign")?.attempt.jobId).toBe(id);
  });

  test("has its standby in the same class", () => {
    const net = new Network();
    const first = net.worker(net.account("provider"), "first", offerIn("a"));
    const other = net.worker(net.account("provider"), "other", offerIn("b"));
    // The cheapest may be either: whichever runs it, the other is no standby for it.
    const id = net.submit(net.account("consumer", 100n), { ...SPEC, standby: "hot" });
    net.pass(1_000);
    const [primary, stranger, shared] = net.job(id).memoryClass === "a" ? [first, other, "a"] : [other, first, "b"];
    expect(net.last(primary, "assign")?.attempt.jobId).toBe(id);
    expect(net.last(stranger, "prepare")).toBeUndefined();
    const third = net.worker(net.account("provider"), "third", offerIn(shared));
    net.pass(1_000);
    expect(net.last(third, "prepare")?.jobId).toBe(id);
  });
});
