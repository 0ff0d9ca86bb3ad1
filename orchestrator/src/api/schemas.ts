// Pieces of route schemas that several routes share.
import type { Readable } from "node:stream";
import { z } from "zod";
import { accountIdSchema, problemSchema } from "@qubix/shared/protocol";
import { PROBLEM_CONTENT_TYPE } from "./problems.ts";

/** Ids of a path are looked up as they are: one that cannot exist is simply not found. */
export const idParams = z.object({ id: z.string().max(200) });
/** A chain, by the name of its driver. */
export const driverParams = z.object({ driver: z.string().max(20) });
/** An administrator may name another account. */
export const accountQuerySchema = z.strictObject({ accountId: accountIdSchema.optional() });

const MEANING: Readonly<Record<number, string>> = {
  400: "Not HTTP or not JSON",
  401: "No API key, or an unknown one",
  402: "Not enough money",
  403: "The key's role does not allow this",
  404: "Not there, or not yours",
  409: "In conflict with what is there",
  410: "No longer valid",
  413: "Too large",
  415: "Content type not understood",
  422: "Understood, but wrong or not to be done; `errors` names the fields",
  500: "A fault of ours",
  503: "Not at this moment; try again",
  507: "Storage is full",
};

/** Responses for these statuses: a problem document each. What can be malformed (400) can be wrong (422) too. */
export function problems<Status extends number>(...statuses: readonly Status[]) {
  return Object.fromEntries(
    [...new Set<number>([...statuses, ...(statuses.some((each) => each === 400) ? [422] : [])])].map((status) => [
      status,
      {
        description: MEANING[status] ?? "Problem",
        content: { [PROBLEM_CONTENT_TYPE]: { schema: problemSchema } },
      },
    ]),
  ) as unknown as Record<Status, { description: string; content: Record<string, { schema: typeof problemSchema }> }>;
}

/** A body that is not JSON. */
export function binary(contentType: string, description: string) {
  return { description, content: { [contentType]: { schema: z.custom<Readable | string>() } } };
}
