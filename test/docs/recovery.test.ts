import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { DEFAULT_CORE_CONFIG } from "@qubix/orchestrator/core";
import { pageOf, parseResults } from "../../scripts/lib/recovery-page.ts";

const RUN = JSON.stringify({ run: "2026-01-02", command: "bench", machine: "a machine" });
const row = (system: string, metric: string, value: number) =>
  JSON.stringify({ bench: "failover", system, metric, value, unit: "ms", n: 20 });

describe("the page about recoveries", () => {
  it("has a line a metric and a column a percentile, with the bar, newest run first", () => {
    const older = RUN.replace("01-02", "01-01");
    const page = pageOf(
      parseResults(
        [
          older,
          row("qubix", "first step kill p50", 950.4),
          RUN,
          row("qubix", "first step kill p50", 300),
          row("qubix", "first step kill max", 700),
          row("swarm", "first step kill p50", 13_500),
          row("qubix", "old replica's lines", 0),
          "",
        ].join("\n"),
      ),
    );
    expect(page).toContain("| first step kill | 300 ms |  |  | 700 ms | 20 | p50 ≤ 900 ms: met |");
    expect(page).toContain("| first step kill | 950 ms |  |  |  | 20 | p50 ≤ 900 ms: MISSED |");
    expect(page).toContain("| old replica's lines | 0 ms |");
    expect(page).toMatch(/### Docker Swarm, its defaults[^#]*13500 ms \|/);
    expect(page.indexOf("Measured 2026-01-02")).toBeLessThan(page.indexOf("Measured 2026-01-01"));
  });

  it.each([
    ["a row before any run", row("qubix", "m", 1)],
    ["a line that is neither", `${RUN}\n{"bench":"failover"}`],
    ["a value that is no number", `${RUN}\n${row("qubix", "m", 1).replace("1,", '"1",')}`],
  ])("refuses %s", (_, text) => {
    expect(() => parseResults(text)).toThrow(/neither the beginning/);
  });

  it("says of the detector what the detector does", () => {
    const page = pageOf([]);
    for (const { accrual, lostMs } of [DEFAULT_CORE_CONFIG.silenceHot, DEFAULT_CORE_CONFIG.silenceBusy]) {
      if (accrual === undefined) throw new Error("no accrual");
      const { suspectMsMin, suspectMsMax, confirmMs } = accrual;
      expect(page).toContain(
        `| ${suspectMsMin / 1000} to ${suspectMsMax / 1000} s | ${(suspectMsMin + confirmMs) / 1000} to ${lostMs / 1000} s |`,
      );
    }
    const { silenceIdle, massSilenceHoldMs, massSilenceWorkersMin, massSilenceShare } = DEFAULT_CORE_CONFIG;
    expect(page).toContain(`| nothing | ${silenceIdle.suspectMs / 1000} s | ${silenceIdle.lostMs / 1000} s |`);
    expect(page).toContain(`at least ${massSilenceWorkersMin} workers and more than ${massSilenceShare * 100}%`);
    expect(page).toContain(`at most ${massSilenceHoldMs / 1000} s`);
  });

  it("is the one in docs/", () => {
    const results = readFileSync(new URL("../../bench/results/failover.jsonl", import.meta.url), "utf8");
    expect(readFileSync(new URL("../../docs/recovery.md", import.meta.url), "utf8")).toBe(
      pageOf(parseResults(results)),
    );
  });
});
