import { expect, test } from "vitest";
import { formatBytes, formatDuration, formatMoney, formatProgress, formatRate, printable } from "./units.ts";

test.each([
  [0, "0 ms"],
  [180, "180 ms"],
  [1_000, "1.0 s"],
  [1_290, "1.2 s"],
  [9_999, "9.9 s"],
  [42_700, "42 s"],
  [185_000, "3 min 05 s"],
  [7_620_000, "2 h 07 min"],
  [356_400_000, "4 d 3 h"],
])("%d ms", (ms, text) => expect(formatDuration(ms)).toBe(text));

test.each([
  [0, "0 B"],
  [512, "512 B"],
  [1536, "1.5 KiB"],
  [64 * 1024 * 1024, "64 MiB"],
  [12_900_000, "12.3 MiB"],
  [3 * 1024 ** 5, "3072 TiB"],
])("%d bytes", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

test("money is decimal, with its currency", () => {
  expect(formatMoney({ amount: "1250000", currency: "USD" })).toBe("1.25 USD");
  expect(formatMoney({ amount: "-1", currency: "EUR" })).toBe("-0.000001 EUR");
  expect(formatRate({ amount: "120000", currency: "USD" })).toBe("0.12 USD/h");
});

test("progress is never rounded up to done", () => {
  expect(formatProgress(null)).toBe("-");
  expect(formatProgress(0.999)).toBe("99%");
  expect(formatProgress(1)).toBe("100%");
  expect(formatProgress(7)).toBe("100%");
});

test("names cannot steer the terminal", () => {
  expect(printable("a\u001b[31mb\nc\u009b")).toBe("a?[31mb?c?");
});
