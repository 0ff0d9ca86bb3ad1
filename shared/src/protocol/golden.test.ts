// The golden fixtures are what version 1 of the protocol looks like on the wire. A change that breaks one needs a new PROTOCOL_VERSION and a new folder.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  authSchema,
  bulkRequestSchema,
  bulkResponseSchema,
  orchestratorMessageSchema,
  PROTOCOL_VERSION,
  treeManifestSchema,
  workerMessageSchema,
} from "./index.ts";

const families = [
  ["worker-to-orchestrator", workerMessageSchema],
  ["orchestrator-to-worker", orchestratorMessageSchema],
  ["bulk-requests", bulkRequestSchema],
  ["bulk-responses", bulkResponseSchema],
  ["auth", authSchema],
  ["manifest", treeManifestSchema],
] as const;

function fixturesOf(family: string): unknown[] {
  const file = new URL(`../../fixtures/protocol-v${PROTOCOL_VERSION}/${family}.json`, import.meta.url);
  return z.array(z.unknown()).parse(JSON.parse(readFileSync(file, "utf8")));
}

/** Money is `bigint` after parsing; back to text as it was on the wire. */
function toWire(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? part.toString() : part)),
  );
}

describe.each(families)("golden fixtures: %s", (family, schema) => {
  const fixtures = fixturesOf(family);
  it.each(fixtures.map((fixture) => [JSON.stringify(fixture).slice(0, 60), fixture]))(
    "parses and gives back %s",
    (_title, fixture) => {
      expect(toWire(schema.parse(fixture))).toEqual(fixture);
    },
  );
  it("refuses an unknown field in each", () => {
    for (const fixture of fixtures)
      expect(schema.safeParse({ ...(fixture as object), surprise: 1 }).success).toBe(false);
  });
});

it("has a fixture for every kind of message", () => {
  for (const [family, schema] of families) {
    if (!(schema instanceof z.ZodDiscriminatedUnion)) continue;
    const kinds = new Set(fixturesOf(family).map((fixture) => z.object({ kind: z.string() }).parse(fixture).kind));
    const defined = schema.options.map((option) => z.object({ value: z.string() }).parse(option.shape.kind).value);
    expect([...kinds].sort()).toEqual([...new Set(defined)].sort());
  }
});
