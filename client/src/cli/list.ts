// Options that lists share: one page of at most so many, a cursor to go on, or all of it.
import { PAGE_ITEMS_MAX } from "../sdk/paging.ts";
import type { Page } from "@qubix/shared/protocol";
import { usageError } from "./exit-codes.ts";
import { parseCount } from "./parse/values.ts";

export interface ListOptions {
  readonly limit?: string;
  readonly cursor?: string;
  readonly all?: boolean;
}

const LIMIT_DEFAULT = 50;

/** Reads as many pages as it takes. `nextCursor` is null when there is no more. */
export async function readList<Item>(
  { limit, cursor, all = false }: ListOptions,
  fetchPage: (query: { cursor: string | undefined; limit: number }) => Promise<Page<Item>>,
): Promise<Page<Item>> {
  if (all && limit !== undefined) throw usageError("--limit and --all exclude each other.");
  const wanted = all ? Number.POSITIVE_INFINITY : limit === undefined ? LIMIT_DEFAULT : parseCount(limit, "--limit", 1);
  const items: Item[] = [];
  let next = cursor;
  for (;;) {
    const page = await fetchPage({ cursor: next, limit: Math.min(PAGE_ITEMS_MAX, wanted - items.length) });
    items.push(...page.items);
    if (page.nextCursor === null || items.length >= wanted) return { items, nextCursor: page.nextCursor };
    next = page.nextCursor;
  }
}
