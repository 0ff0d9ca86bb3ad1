// Which machines a run that checks a job must not come to.
import type { AccountId } from "@qubix/shared/domain";
import { isTrusted, modelsOf } from "./check-state.ts";
import { isActiveAttempt, requestOf } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import type { CheckOf, JobRecord } from "./model.ts";
import { pickGpus } from "./resources.ts";
import type { CoreState } from "./state.ts";
import { attemptsOf } from "./tables.ts";

/** Machines of providers who have part in another run of the same, and those on which it would not be the very same. `pick`: the GPUs that it would take there. */
export function refusedByCheck(state: CoreState, job: JobRecord, pick = pickGpus): (machine: Machine) => boolean {
  const { check, imageDigest } = job;
  if (check === undefined) return () => false;
  const others = providersOfOthers(state, job, check);
  const { needs } = requestOf(job);
  return (machine) => {
    if (others.has(machine.worker.providerId)) return true;
    if (check.decides && !isTrusted(state.config, machine.worker)) return true;
    if (imageDigest !== null && !machine.features.has("image-digest")) return true;
    const models = modelsOf(machine, pick(machine, needs) ?? []);
    return check.gpuModel !== null && (models.size !== 1 || !models.has(check.gpuModel));
  };
}

/** Another run of the same went to this provider while the worker was away: its own may not go on beside it. */
export function isPartOfOtherRun(state: CoreState, job: JobRecord, providerId: AccountId): boolean {
  return job.check !== undefined && providersOfOthers(state, job, job.check).has(providerId);
}

function providersOfOthers(state: CoreState, job: JobRecord, { of, apart }: CheckOf): ReadonlySet<AccountId> {
  const providers = new Set<AccountId>(apart);
  for (const { jobId, workers } of state.rows.verifications.get(of)?.runs ?? []) {
    if (jobId === job.id) continue;
    for (const { providerId } of workers) providers.add(providerId);
    for (const attempt of attemptsOf(state, jobId)) {
      if (attempt.committed || isActiveAttempt(attempt)) providers.add(attempt.providerId);
    }
  }
  return providers;
}
