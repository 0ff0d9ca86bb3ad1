// Percentiles by nearest rank, so that every figure is one that was really observed.

/** The value at or below which `percent` of the observations lie; NaN without observations. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  return sorted[rank - 1] ?? Number.NaN;
}
