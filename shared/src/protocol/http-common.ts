// Pieces of the HTTP API's answers and queries that all of its parts share.
import { z } from "zod";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "./limits.ts";

/** `amount`: micro-units of the currency, as a decimal string. */
export const wireMoneySchema = z.object({ amount: z.string(), currency: z.string() });

export const pageQuerySchema = z.object({
  cursor: z.string().max(500).optional(),
  limit: z.coerce.number().int().min(1).max(PAGE_SIZE_MAX).default(PAGE_SIZE_DEFAULT),
});
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({ items: z.array(item), nextCursor: z.string().nullable() });
}
export interface Page<Item> {
  readonly items: readonly Item[];
  readonly nextCursor: string | null;
}
