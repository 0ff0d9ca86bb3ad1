// How long recoveries took and what they cost, as distributions: made from the stored events `resumed` alone, so that a restart changes nothing.
import { RECOVERY_KINDS, type RecoveryKind, type RecoveryStats } from "@qubix/shared/protocol";
import type { StoredEvent } from "../store/port.ts";

type KindStats = RecoveryStats["kinds"][number];
type Distribution = KindStats["recoveryMs"];

const FIGURES = ["recoveryMs", "detectedMs", "promotedMs", "startedMs", "workLostMs"] as const;

/** Those kinds that were met, in the order of {@link RECOVERY_KINDS}. */
export function recoveryKinds(events: readonly StoredEvent[]): KindStats[] {
  return RECOVERY_KINDS.flatMap((kind) => {
    const own = events.filter(({ data }) => data["kind"] === kind);
    return own.length === 0 ? [] : [statsOf(kind, own)];
  });
}

function statsOf(kind: RecoveryKind, events: readonly StoredEvent[]): KindStats {
  const figures = FIGURES.map((name) => [name, distributionOf(events.map(({ data }) => data[name]))] as const);
  return {
    kind,
    recoveries: events.length,
    ...(Object.fromEntries(figures) as Pick<KindStats, (typeof FIGURES)[number]>),
  };
}

function distributionOf(values: readonly unknown[]): Distribution {
  const sorted = values.filter((value) => typeof value === "number").toSorted((a, b) => a - b);
  const at = (percent: number) => percentile(sorted, percent);
  return { p50: at(50), p90: at(90), p99: at(99), max: at(100) };
}

/** Nearest rank: a value that was met, and never less than that share of them. 0 where there is none. */
export function percentile(sorted: readonly number[], percent: number): number {
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0;
}
