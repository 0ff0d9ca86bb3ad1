// Cases of one kind as the routes need them: found, listed and shown to those whom they are about, and to administrators.
import type { z } from "zod";
import type { caseListQuerySchema } from "@qubix/shared/protocol";
import type { Actor, CaseKind, CaseOf, CaseRecord, CoreEvent } from "../core/index.ts";
import type { ApiContext } from "./context.ts";
import { pageOfRows } from "./pages.ts";
import { expectReply, notFound } from "./problems.ts";

export interface Cases<Kind extends CaseKind, View> {
  /** Whoever asks. */
  stored(id: string): CaseOf<Kind> | undefined;
  /** Throws 404 where the caller may not see it: that it exists is nobody else's business. */
  find(actor: Actor, id: string): CaseOf<Kind>;
  /** The same, to be shown. */
  show(actor: Actor, id: string): View;
  /** Has the core do something about a case; shows what came of it. */
  submit(actor: Actor, event: CoreEvent): Promise<View>;
  list(actor: Actor, query: z.output<typeof caseListQuerySchema>): { items: View[]; nextCursor: string | null };
}

export function casesOf<Kind extends CaseKind, View>(
  { writer, wallOf }: ApiContext,
  kind: Kind,
  view: (found: CaseOf<Kind>, wallOf: ApiContext["wallOf"], asker: Actor) => View,
): Cases<Kind, View> {
  const cases: Cases<Kind, View> = {
    stored: (id) => {
      const found = writer.store.case(id);
      return found?.kind === kind ? (found as CaseOf<Kind>) : undefined;
    },
    find: (actor, id) => {
      const found = cases.stored(id);
      if (found === undefined || !maySee(actor, found)) throw notFound(kind, id);
      return found;
    },
    show: (actor, id) => view(cases.find(actor, id), wallOf, actor),
    submit: async (actor, event) => cases.show(actor, expectReply(await writer.submit(event), "case").caseId),
    list: (actor, { cursor, limit, open }) => {
      const found = writer.store.cases({
        kind,
        ...(actor.role === "admin" ? {} : { account: actor.accountId }),
        ...(cursor === undefined ? {} : { before: cursor }),
        open,
        limit: limit + 1,
      }) as readonly CaseOf<Kind>[];
      return pageOfRows<CaseRecord, View>(found, limit, (each) => [view(each as CaseOf<Kind>, wallOf, actor)]);
    },
  };
  return cases;
}

function maySee(actor: Actor, { parties }: CaseRecord): boolean {
  return actor.role === "admin" || parties.includes(actor.accountId);
}
