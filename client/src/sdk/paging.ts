// Cursor paging: `list…` gives one page, `…All` iterates over everything, page after page.
import type { Page } from "./types.ts";

export interface PageOptions {
  readonly cursor?: string | undefined;
  /** Items of one page. */
  readonly limit?: number | undefined;
}

/** Iterates over the items of all pages; the next page is asked for when the one before it is used up. */
export async function* allItems<Item>(
  fetchPage: (cursor: string | undefined) => Promise<Page<Item>>,
): AsyncGenerator<Item, void, undefined> {
  let cursor: string | undefined;
  for (;;) {
    const page = await fetchPage(cursor);
    yield* page.items;
    if (page.nextCursor === null) return;
    cursor = page.nextCursor;
  }
}

/** All items in an array; for lists that are known to be short. */
export async function collect<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The server gives no more in one page. */
export const PAGE_ITEMS_MAX = 500;
