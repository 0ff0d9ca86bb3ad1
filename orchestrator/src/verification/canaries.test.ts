// The operator's file of canaries: what is taken, what is refused and how that is told; and that what it expects is what the network says of such outputs.
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { buildTree } from "../checkpoints/testing/trees.ts";
import { contentOf } from "../gateway/tree-content.ts";
import { readCanaries } from "./canaries.ts";

const dir = mkdtempSync(join(tmpdir(), "qubix-canaries-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const DIGEST = "c".repeat(64);
const SPEC = {
  image: `docker.io/library/python@sha256:${DIGEST}`,
  command: ["python", "-c", "print(42)"],
  priceMaxPerHour: { amount: "2000000", currency: "USD" },
  durationMaxS: 600,
};
const OUTPUTS = [{ path: "result", bytes: 3, sha256: "d".repeat(64) }];
const ONE = { name: "one", spec: SPEC, expected: { outputs: OUTPUTS } };

function read(content: unknown) {
  const file = join(dir, "canaries.json");
  writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
  return readCanaries(file);
}

describe("a file of canaries", () => {
  test("gives each its job and the sum of what it is to come to, which the network says of those files too", () => {
    const files = { "out/b": "two\n", "out/a": "one\n" };
    const outputs = Object.entries(files).map(([path, content]) => ({
      path,
      bytes: content.length,
      sha256: createHash("sha256").update(content).digest("hex"),
    }));
    const [one, fails] = read([
      { ...ONE, expected: { outputs } },
      { name: "fails", spec: { ...SPEC, retries: 2 }, expected: { exitCode: 3 } },
    ]);
    expect(one?.expected).toEqual({ exitCode: 0, sum: contentOf(buildTree(files).manifest)?.sum });
    expect(one?.expected.sum).toMatch(/^[0-9a-f]{64}$/);
    expect(fails).toMatchObject({ expected: { exitCode: 3, sum: null }, spec: { retries: 0 } });
  });

  test.each([
    ["no list", { one: ONE }, /the list: .*array/],
    ["what is no JSON", "[", /it is not JSON/],
    ["an unknown field", [{ ...ONE, share: 1 }], /0: .*share/],
    ["two of a name", [ONE, ONE], /1\.name: there are two named one/],
    [
      "a tag that may be moved",
      [{ ...ONE, spec: { ...SPEC, image: "docker.io/library/python:3" } }],
      /0\.spec\.image: .*digest/,
    ],
    [
      "a local image",
      [{ ...ONE, spec: { ...SPEC, image: "qubix/tiny:local" } }],
      /0\.spec: an image with the tag local/,
    ],
    ["secrets", [{ ...ONE, spec: { ...SPEC, secrets: { TOKEN: "t" } } }], /0\.spec: its secrets/],
    ["a standby", [{ ...ONE, spec: { ...SPEC, standby: "hot" } }], /0\.spec\.standby/],
    [
      "a check of its own",
      [{ ...ONE, spec: { ...SPEC, verification: { mode: "majority" } } }],
      /0\.spec\.verification/,
    ],
    ["a place", [{ ...ONE, spec: { ...SPEC, placement: { workers: ["wrk-1"] } } }], /0\.spec: .*placement/],
    [
      "any GPU",
      [{ ...ONE, spec: { ...SPEC, resources: { gpus: { count: 1 } } } }],
      /gpus\.model: name the exact model/,
    ],
    [
      "more text than evidence has room for",
      [{ ...ONE, spec: { ...SPEC, command: ["sh", "-c", "\n".repeat(32_000)] } }],
      /0\.spec: its image, command, env, inputs and outputs take .* as evidence/,
    ],
    ["nothing that is known", [{ ...ONE, expected: {} }], /0\.expected: name its outputs/],
    [
      "outputs of what fails",
      [{ ...ONE, expected: { exitCode: 1, outputs: OUTPUTS } }],
      /0\.expected: name its outputs/,
    ],
    [
      "a sum that is none",
      [{ ...ONE, expected: { outputs: [{ ...OUTPUTS[0], sha256: "xyz" }] } }],
      /sha256: not a SHA-256/,
    ],
  ])("with %s is refused, and told where", (_what, content, message) => {
    expect(() => read(content)).toThrow(message);
    expect(() => read(content)).toThrow(expect.objectContaining({ code: "canaries_invalid" }));
  });

  test("that is not there is refused", () => {
    expect(() => readCanaries(join(dir, "none.json"))).toThrow(/cannot be read/);
  });
});
