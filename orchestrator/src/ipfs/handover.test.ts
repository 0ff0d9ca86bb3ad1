import { describe, expect, it } from "vitest";
import { handOver } from "./handover.ts";

describe("handing over", () => {
  it("makes no item before the one before it was taken", async () => {
    let made = 0;
    const items = handOver<number>(async (give) => {
      for (; made < 5; made += 1) await give(made);
    });
    const seen: number[] = [];
    for await (const item of items) {
      seen.push(item);
      expect(made).toBe(item);
    }
    expect(seen).toEqual([0, 1, 2, 3, 4]);
  });

  it("ends the making when the reader leaves", async () => {
    let end: unknown;
    const items = handOver<number>(async (give) => {
      try {
        await Promise.all([give(1), give(2)]);
      } catch (error) {
        end = error;
        throw error;
      }
    });
    for await (const item of items) if (item === 1) break;
    expect(end).toMatchObject({ message: "nobody reads any more" });
  });

  it("tells the reader that the making failed, after what was made", async () => {
    const items = handOver<number>(async (give) => {
      await give(1);
      throw new Error("no more");
    });
    expect((await items.next()).value).toBe(1);
    await expect(items.next()).rejects.toThrow("no more");
  });
});
