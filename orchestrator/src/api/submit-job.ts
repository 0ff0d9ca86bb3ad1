// How a specification reaches the writer: what is secret of it goes into the vault first, and the core never sees it.
import { type JobSpec, shownAsSealed, takeSealed } from "@qubix/shared/protocol";
import type { Actor, Idempotency, Reply } from "../core/index.ts";
import type { ApiContext } from "./context.ts";
import { invalidField } from "./problems.ts";

/** Creates a job. Its secrets are durable before it is; they go again when it is refused or known already. */
export async function submitJob(
  { writer, vault }: Pick<ApiContext, "writer" | "vault">,
  request: { readonly actor: Actor; readonly spec: JobSpec; readonly idempotency?: Idempotency },
): Promise<Reply> {
  const [copied] = shownAsSealed(request.spec);
  if (copied !== undefined) {
    const name = copied === "registryAuth" ? copied : `secrets.${copied}`;
    throw invalidField(name, "is what a view shows in the place of a secret; give its content again");
  }
  const { spec, content } = takeSealed(request.spec);
  if (content === null) return writer.submit({ kind: "job.create", ...request });
  const vaultId = await vault.put(content);
  try {
    const reply = await writer.submit({ kind: "job.create", ...request, spec, vaultId });
    if (reply.kind !== "job" || reply.repeated) vault.remove(vaultId);
    return reply;
  } finally {
    // Where the writer failed the job may be there or not: the next start looks, and removes what none names.
    vault.settle(vaultId);
  }
}
