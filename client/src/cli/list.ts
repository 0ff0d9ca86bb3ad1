// What lists share: options for one page of at most so many, a cursor to go on, or all of it; and how a page is printed.
import { PAGE_ITEMS_MAX } from "../sdk/paging.ts";
import type { Page } from "@qubix/shared/protocol";
import { usageError } from "./exit-codes.ts";
import { parseCount } from "./parse/values.ts";
import type { Session } from "./session.ts";

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

/** Prints a page: as JSON, as `text`, or where nothing is in it as a note that says so. */
export function printPage<Item>(
  session: Session,
  page: Page<Item>,
  none: string,
  text: (items: readonly Item[]) => string,
): void {
  if (session.json) return session.printJson(page);
  if (page.items.length === 0) return session.note(none);
  session.print(text(page.items));
  noteMore(session, page);
}

export function noteMore(session: Session, { nextCursor }: Pick<Page<unknown>, "nextCursor">): void {
  if (nextCursor !== null) session.note(`More: --cursor ${nextCursor}, or --all`);
}
