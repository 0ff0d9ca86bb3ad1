import { generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, test } from "vitest";
import { contradictionFault } from "./index.ts";

const RAW_KEY_BYTES = 32;

function worker() {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = publicKey.export({ format: "der", type: "spki" }).subarray(-RAW_KEY_BYTES);
  const says = (text: string) => ({ text, signature: sign(null, Buffer.from(text), privateKey).toString("base64url") });
  return { key: raw.toString("base64url"), says };
}

const tick = (n: number, ranMs: number) => ["qubix-tick-v1", "job-1", 0, 2, n, "checkpoint", ranMs, "-"].join("\n");

describe("a contradiction", () => {
  test("is two statements under one number that one key signed and that differ", () => {
    const { key, says } = worker();
    expect(contradictionFault(key, { statements: [says(tick(3, 100)), says(tick(3, 200))] })).toBeNull();
  });

  test.each([
    ["the same twice", (w: ReturnType<typeof worker>) => [w.says(tick(3, 100)), w.says(tick(3, 100))], /the same/],
    ["different numbers", (w: ReturnType<typeof worker>) => [w.says(tick(3, 100)), w.says(tick(4, 200))], /different/],
    [
      "one of another key",
      (w: ReturnType<typeof worker>) => [w.says(tick(3, 100)), worker().says(tick(3, 200))],
      /statement 2 is not signed/,
    ],
    [
      "a changed one",
      (w: ReturnType<typeof worker>) => [{ ...w.says(tick(3, 100)), text: tick(3, 101) }, w.says(tick(3, 200))],
      /statement 1 is not signed/,
    ],
    ["other texts", (w: ReturnType<typeof worker>) => [w.says("a\nb"), w.says("a\nc")], /only one/],
    ["one alone", (w: ReturnType<typeof worker>) => [w.says(tick(3, 100))], /two of/],
    ["no statements", () => "statements", /two of/],
  ])("is not %s", (_what, statements, fault) => {
    const of = worker();
    expect(contradictionFault(of.key, { statements: statements(of) })).toMatch(fault);
  });

  test("is not anything else", () => {
    for (const evidence of [null, 1, "x", {}, { statements: [{ text: 1, signature: "" }, null] }]) {
      expect(contradictionFault(worker().key, evidence)).toMatch(/two of/);
    }
  });
});
