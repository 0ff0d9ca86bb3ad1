// How a specification reaches the writer: what is secret of it goes into the vault first, and the core never sees it.
import type { JobId } from "@qubix/shared/domain";
import { type JobSpec, shownAsSealed, takeSealed } from "@qubix/shared/protocol";
import type { Actor, Idempotency, Reply, SourceFound } from "../core/index.ts";
import type { ApiContext } from "./context.ts";
import { invalidField } from "./problems.ts";
import { holdSource } from "./source-checkpoint.ts";

type Context = Pick<ApiContext, "writer" | "vault" | "chunks" | "random" | "logger">;

interface Request {
  readonly actor: Actor;
  readonly spec: JobSpec;
  readonly idempotency?: Idempotency;
}

/** Creates a job. What it begins from is held until the job itself does. */
export async function submitJob(ctx: Context, request: Request): Promise<Reply> {
  const { fromCheckpoint } = request.spec;
  if (fromCheckpoint === undefined) return submitWithSecrets(ctx, request);
  const source = await holdSource(ctx, request.actor, fromCheckpoint);
  let made: JobId | null | undefined;
  try {
    const reply = await submitWithSecrets(ctx, { ...request, source: source.found });
    made = reply.kind === "job" && !reply.repeated ? reply.jobId : null;
    return reply;
  } finally {
    await source.settle(made);
  }
}

/** Its secrets are durable before it is; they go again when it is refused or known already. */
async function submitWithSecrets(
  { writer, vault }: Context,
  request: Request & { readonly source?: SourceFound },
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
