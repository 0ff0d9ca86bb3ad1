// Pages of lists. One row more is read than a page has: it says whether another page follows.

/** `rows`, of which there are at most `limit + 1`, as a page; a row gives one item, several, or none. */
export function pageOfRows<Row extends { readonly id: string }, Item>(
  rows: readonly Row[],
  limit: number,
  view: (row: Row) => readonly Item[],
): { items: Item[]; nextCursor: string | null } {
  const page = rows.slice(0, limit);
  return { items: page.flatMap(view), nextCursor: rows.length > limit ? (page.at(-1)?.id ?? null) : null };
}
