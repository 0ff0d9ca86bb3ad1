import { describe, expect, it } from "vitest";
import { linkExists, receivedBytes, receivedIn } from "./links.ts";

describe("what came in over a link", () => {
  it("is the first of its counters", () => {
    expect(receivedIn("  1234567    890    0    0    0     0          0         0   765    8    0    0")).toBe(
      1_234_567,
    );
    expect(receivedIn("12 3")).toBe(12);
    expect(receivedIn("")).toBeUndefined();
    expect(receivedIn("many")).toBeUndefined();
  });

  it.runIf(process.platform === "linux")("is read of links that are there, by their whole name", () => {
    expect(receivedBytes("lo")).toBeGreaterThanOrEqual(0);
    expect(receivedBytes("l")).toBeUndefined();
    expect(linkExists("qx-none")).toBe(false);
  });
});
