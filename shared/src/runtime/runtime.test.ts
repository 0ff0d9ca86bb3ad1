import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { z } from "zod";
import {
  assert,
  assertNodeVersion,
  environmentName,
  loadConfig,
  QubixError,
  redactConfig,
  toProblem,
} from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "qubix-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const schema = z.object({ dataDir: z.string(), portMax: z.coerce.number().int().default(7) });

describe("configuration", () => {
  it("prefers flags, then the environment, then the file, then defaults", () => {
    const file = join(folder, "config.json");
    writeFileSync(file, JSON.stringify({ dataDir: "/file", portMax: 3 }));
    expect(loadConfig(schema, { flags: {}, env: {}, file })).toEqual({ dataDir: "/file", portMax: 3 });
    expect(loadConfig(schema, { flags: {}, env: { QUBIX_DATA_DIR: "/env" }, file }).dataDir).toBe("/env");
    expect(loadConfig(schema, { flags: { dataDir: "/flag" }, env: { QUBIX_DATA_DIR: "/env" }, file }).dataDir).toBe(
      "/flag",
    );
    expect(loadConfig(schema, { flags: { dataDir: "/flag" }, env: {} }).portMax).toBe(7);
  });
  it("says which key is wrong and where it came from", () => {
    expect(() => loadConfig(schema, { flags: {}, env: { QUBIX_PORT_MAX: "x", QUBIX_DATA_DIR: "/d" } })).toThrow(
      /portMax \(QUBIX_PORT_MAX\): "x" is not a number/,
    );
    expect(() => loadConfig(schema, { flags: {}, env: {} })).toThrow(
      /dataDir is missing: set --data-dir or QUBIX_DATA_DIR/,
    );
  });
  it("refuses unknown keys and unreadable files", () => {
    const file = join(folder, "unknown.json");
    writeFileSync(file, JSON.stringify({ surprise: 1 }));
    expect(() => loadConfig(schema, { flags: {}, env: {}, file })).toThrow(/surprise/);
    expect(() => loadConfig(schema, { flags: {}, env: {}, file: join(folder, "none.json") })).toThrow(/Cannot read/);
  });
  it("freezes and redacts", () => {
    expect(Object.isFrozen(loadConfig(schema, { flags: { dataDir: "/d" }, env: {} }))).toBe(true);
    expect(redactConfig({ adminKey: "s", dataDir: "/d" })).toEqual({ adminKey: "[redacted]", dataDir: "/d" });
    expect(environmentName("closeGraceMs")).toBe("QUBIX_CLOSE_GRACE_MS");
  });
});

describe("errors", () => {
  it("become problem documents, without details where they are ours", () => {
    const user = new QubixError("insufficient_funds", "Needs more.", {
      category: "user",
      status: 402,
      details: { needed: "5" },
    });
    expect(toProblem(user)).toEqual({
      type: "urn:qubix:problem:insufficient_funds",
      title: "insufficient funds",
      status: 402,
      code: "insufficient_funds",
      detail: "Needs more.",
      needed: "5",
    });
    const internal = new QubixError("boom", "x", { category: "internal", details: { secret: "s" } });
    expect(toProblem(internal)).not.toHaveProperty("secret");
  });
  it("refuse other Node lines with what to do", () => {
    expect(() => assertNodeVersion("20.20.2")).toThrow(/node_modules\/\.bin/);
    expect(() => assertNodeVersion("24.0.0")).not.toThrow();
  });
});

describe("assertions", () => {
  it("put their message together only when they fail", () => {
    const texts: string[] = [];
    const say = (text: string) => () => {
      texts.push(text);
      return text;
    };
    assert(true, say("held"));
    expect(() => assert(false, say("broken"))).toThrow(
      expect.objectContaining({ code: "invariant_broken", message: "broken" }),
    );
    expect(() => assert(false, "broken too")).toThrow("broken too");
    expect(texts).toEqual(["broken"]);
  });
});
