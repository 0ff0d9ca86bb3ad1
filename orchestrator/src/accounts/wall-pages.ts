// Pages of what happened at wall times. One row more is read than a page has: it says whether another page follows.
import type { WallCursor } from "../store/accounts-port.ts";

export interface WallPage<Item> {
  readonly items: readonly Item[];
  /** The next page begins after it; null where there is none. */
  readonly next: WallCursor | null;
}

/** `rows`, of which there are at most `limit + 1`, as a page. */
export function wallPage<Row extends WallCursor, Item>(
  rows: readonly Row[],
  limit: number,
  view: (row: Row) => Item,
): WallPage<Item> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  const next = last === undefined || rows.length <= limit ? null : { wallMs: last.wallMs, seq: last.seq };
  return { items: shown.map(view), next };
}
