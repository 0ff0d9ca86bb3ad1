import { describe, expect, test } from "vitest";
import { Network, offerOf, refOf } from "./testing/kit.ts";

const DIGEST = `sha256:${"1".repeat(64)}`;
const OTHER = `sha256:${"2".repeat(64)}`;
const NEW = offerOf({ features: ["image-digest"] });

function started(image = "docker.io/library/python:3.12", imageDigest = DIGEST) {
  const net = new Network();
  const provider = net.account("provider");
  const consumer = net.account("consumer", 100n);
  const first = net.worker(provider, "first", NEW);
  const id = net.submit(consumer, { image });
  net.say(first, { kind: "started", attempt: refOf(net.attempt(id)), fromSeq: 0, imageDigest });
  return { net, provider, consumer, first, id };
}

describe("what an image's tag stands for", () => {
  test("is decided by the first attempt that starts, and told to whoever runs the job later and knows what that means", () => {
    const { net, provider, first, id } = started();
    expect(net.last(first, "assign")?.run).not.toHaveProperty("imageDigest");
    expect(net.job(id).imageDigest).toBe(DIGEST);
    net.close(first);
    const old = net.worker(provider, "old");
    net.pass(60_000);
    expect(net.last(old, "assign")?.run.image).toBe("docker.io/library/python:3.12");
    expect(net.last(old, "assign")?.run).not.toHaveProperty("imageDigest");
    net.say(old, { kind: "started", attempt: refOf(net.attempt(id)), fromSeq: 0, imageDigest: OTHER });
    net.close(old);
    const third = net.worker(provider, "third", NEW);
    net.pass(60_000);
    expect(net.last(third, "assign")?.run.imageDigest).toBe(DIGEST);
    net.restart();
    expect(net.job(id).imageDigest).toBe(DIGEST);
  });

  test("is told to a standby that was reserved before it was known", () => {
    const net = new Network();
    const consumer = net.account("consumer", 100n);
    const first = net.worker(net.account("provider"), "first", NEW);
    const second = net.worker(net.account("provider"), "second", NEW);
    const id = net.submit(consumer, { standby: "hot", image: "docker.io/library/python:3.12" });
    expect(net.last(second, "prepare")?.run).not.toHaveProperty("imageDigest");
    net.say(first, { kind: "started", attempt: refOf(net.attempt(id)), fromSeq: 0, imageDigest: DIGEST });
    expect(net.last(second, "prepare")?.run.imageDigest).toBe(DIGEST);
  });

  test("is not taken from a worker's word where the job names it itself, or where it is no digest", () => {
    const { net, id } = started(`docker.io/library/python@${OTHER}`);
    expect(net.job(id).imageDigest).toBeNull();
    const odd = started("docker.io/library/python:3.12", "sha256:x");
    expect(odd.net.job(odd.id).imageDigest).toBeNull();
  });
});
