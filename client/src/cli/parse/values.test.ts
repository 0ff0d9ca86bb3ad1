import { QubixError } from "@qubix/shared/errors";
import { assert, bigInt, property } from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseCheckpointName,
  parseCount,
  parseDurationS,
  parseInput,
  parseMemoryMiB,
  parseMoney,
  parsePairs,
} from "./values.ts";

const usd = (amount: string) => ({ amount, currency: "USD" });

describe("money", () => {
  test.each([
    ["0.60", usd("600000")],
    ["0.60/h", usd("600000")],
    ["0.60 USD/h", usd("600000")],
    ["25", usd("25000000")],
    ["0", usd("0")],
    ["0.000001", usd("1")],
    ["1.5 EUR", { amount: "1500000", currency: "EUR" }],
    ["2USD/hour", usd("2000000")],
  ])("%s", (text, money) => expect(parseMoney(text, "--price-max")).toEqual(money));

  test.each(["", "-1", "1.2345678", "1e3", "free", "1,50", "0.60/d", "1 usd"])("%s is refused", (text) => {
    expect(() => parseMoney(text, "--price-max")).toThrow(/--price-max: .* is not an amount/);
  });

  test("exact for every amount of micro-units", () => {
    assert(
      property(bigInt({ min: 0n, max: 9_000_000_000_000_000n }), (micro) => {
        const text = `${micro / 1_000_000n}.${(micro % 1_000_000n).toString().padStart(6, "0")}`;
        expect(parseMoney(text, "x").amount).toBe(micro.toString());
      }),
    );
  });
});

test.each([
  ["90", 90],
  ["90s", 90],
  ["15m", 900],
  ["15min", 900],
  ["1h30m", 5400],
  ["1h 30m", 5400],
  ["2d", 172_800],
  ["0.5h", 1800],
])("duration %s", (text, seconds) => expect(parseDurationS(text, "--duration")).toBe(seconds));

test.each(["", "h", "1x", "1h30", "-5s", "1h-2m"])("duration %s is refused", (text) => {
  expect(() => parseDurationS(text, "--duration")).toThrow(QubixError);
});

test.each([
  ["512", 512],
  ["512MiB", 512],
  ["512m", 512],
  ["2GiB", 2048],
  ["1.5g", 1536],
  ["1GB", 954],
  ["1TiB", 1_048_576],
])("memory %s", (text, mib) => expect(parseMemoryMiB(text, "--memory")).toBe(mib));

test.each(["", "GiB", "12parsecs", "-1"])("memory %s is refused", (text) => {
  expect(() => parseMemoryMiB(text, "--memory")).toThrow(/--memory/);
});

test("counts are whole and at least their least", () => {
  expect(parseCount("3", "--gpus")).toBe(3);
  expect(() => parseCount("1.5", "--gpus")).toThrow(/whole number/);
  expect(() => parseCount("0", "--limit", 1)).toThrow(/at least 1/);
});

test("pairs keep later equals signs and empty values; the last of one name counts", () => {
  expect(parsePairs(["A=1", "B=x=y", "C=", "A=2"], "--env")).toEqual({ A: "2", B: "x=y", C: "" });
  expect(() => parsePairs(["novalue"], "--env")).toThrow(/KEY=VALUE/);
  expect(() => parsePairs(["=x"], "--env")).toThrow(/KEY=VALUE/);
});

test("inputs are divided at the last colon before a slash", () => {
  expect(parseInput("./data:/work/data", "--input")).toEqual({ local: "./data", to: "/work/data" });
  expect(parseInput("C:/x:/work", "--input")).toEqual({ local: "C:/x", to: "/work" });
  expect(() => parseInput("./data", "--input")).toThrow(/LOCAL/);
});

test.each([
  ["job-1", { job: "job-1" }],
  ["job-1@3", { job: "job-1", seq: 3 }],
])("checkpoint %s", (text, name) => expect(parseCheckpointName(text, "--from-checkpoint")).toEqual(name));

test.each(["", "@3", "job-1@", "job-1@0", "job-1@x", "a b"])("checkpoint %s is refused", (text) => {
  expect(() => parseCheckpointName(text, "--from-checkpoint")).toThrow(/not of the form JOB or JOB@SEQ/);
});
