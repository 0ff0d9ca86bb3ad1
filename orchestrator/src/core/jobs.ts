// Jobs as their owners see them: created with their money locked, cancelled, drained around.
import { capTable, formatUnits } from "@qubix/shared/domain";
import {
  holdsSealed,
  imageKey,
  type ImageRef,
  type JobSpec,
  parseImageRef,
  isMirrorWithEffects,
  unavailableFeatures,
  uploadedImage,
  verificationObstacle,
} from "@qubix/shared/protocol";
import { assert } from "@qubix/shared/runtime";
import { REFUSED, remember, seenBefore } from "./accounts.ts";
import { stopAttempt } from "./attempts.ts";
import { chainOf } from "./chain-of.ts";
import { newDeposit, sendDeposit } from "./chain.ts";
import { allowanceOf } from "./budgets.ts";
import { checkRunText } from "./check-state.ts";
import type { Actor, CoreEvent, Refusal } from "./events.ts";
import { endByIntent } from "./failover.ts";
import { armQueue } from "./queue-deadline.ts";
import { newJobRecord } from "./job-record.ts";
import { balanceOf, transfer } from "./ledger.ts";
import { holdId } from "./ledger-accounts.ts";
import { FIRST_MIRROR } from "./mirror-state.ts";
import type { CheckpointRecord, JobRecord, UploadRecord, WorkerRecord } from "./model.ts";
import { leave } from "./moves.ts";
import { newJobId } from "./random.ts";
import { firstCheckpoint } from "./sources.ts";
import type { CoreState } from "./state.ts";
import { countUp, emit, emitJob, patchJob, put, refusal, refuse } from "./tables.ts";
import { reportWorker } from "./workers.ts";

type Event<Kind extends CoreEvent["kind"]> = Extract<CoreEvent, { kind: Kind }>;

export function createJob(state: CoreState, event: Event<"job.create">): void {
  const { actor, spec, vaultId, source, idempotency } = event;
  assert(!holdsSealed(spec), "secrets came to the core with their content");
  assert(
    (source === undefined) === (spec.fromCheckpoint === undefined),
    "a checkpoint to begin from was not looked for",
  );
  const repeated = seenBefore(state, actor, idempotency);
  if (repeated === REFUSED) return;
  if (repeated !== undefined) {
    const jobId = repeated as JobRecord["id"];
    state.step.reply = { kind: "job", jobId, job: state.rows.jobs.get(jobId) ?? null, repeated: true };
    return;
  }
  const inputs = inputsOf(state, actor, spec);
  const refused =
    refusalOf(state, actor, spec) ??
    ("code" in inputs ? inputs : undefined) ??
    (source?.kind === "refused" ? source.refusal : undefined);
  if (refused !== undefined) {
    state.step.reply = { kind: "refused", refusal: refused };
    return;
  }
  const job = accept(state, actor, spec, {
    inputs: inputs as JobRecord["inputs"],
    vaultId: vaultId ?? null,
    source: source?.kind === "found" ? source.checkpoint : null,
  });
  remember(state, actor, idempotency, job.id);
  state.step.reply = { kind: "job", jobId: job.id, job, repeated: false };
}

/** Why this specification is not accepted from this account now; `undefined` when it is. Changes nothing. */
export function refusalOf(state: CoreState, actor: Actor, spec: JobSpec): Refusal | undefined {
  if (actor.role !== "consumer" && actor.role !== "admin") {
    return refusal(
      403,
      "forbidden",
      "Only consumers may submit jobs, and this key is a provider's. Use a consumer's API key.",
    );
  }
  if (isMirrorWithEffects(spec)) return refusal(422, "mirror_with_effects", MIRROR_WITH_EFFECTS);
  const missing = unavailableFeatures(spec);
  if (missing.length > 0) {
    const what = missing.join(", ");
    return refusal(422, "not_available", `This network does not offer yet: ${what}. Leave it out.`, {
      features: missing,
    });
  }
  const unchecked = verificationObstacle(spec);
  if (unchecked !== undefined) {
    const message = `This job cannot be run again to check it (verification: ${spec.verification.mode}): ${unchecked}, or choose verification: none.`;
    return refusal(422, "verification_not_possible", message);
  }
  if (spec.verification.mode !== "none" && chainOf(state, spec.priceMaxPerHour.currency) !== undefined) {
    return refusal(422, "verification_not_possible", VERIFIED_ON_CHAIN);
  }
  return imageRefusal(state, actor, spec.image) ?? fundsRefusal(state, actor, spec);
}

const VERIFIED_ON_CHAIN =
  "This job cannot be checked: its currency lies on a chain, whose contract pays one run of a job, and checks are further runs. Choose another currency, or verification: none.";

const MIRROR_WITH_EFFECTS =
  "standby: mirror runs the job on two machines at once, and a job with network: egress or failover: exclusive may act outside: it would do so twice." +
  " Choose standby: hot, or a job without a network and with failover: speculative.";

function imageRefusal(state: CoreState, actor: Actor, image: string): Refusal | undefined {
  const uploadId = uploadedImage(image);
  if (uploadId !== undefined) return uploadRefusal(state, actor, uploadId);
  const ref = parseImageRef(image);
  if (ref === undefined) {
    return refusal(
      422,
      "image_unknown",
      `${image} is not an image reference. Write e.g. docker.io/library/python:3.12.`,
    );
  }
  if (ref.local) return localRefusal(state, image, ref);
  const { registriesAllowed } = state.config;
  if (registriesAllowed.includes(ref.registry)) return undefined;
  return refusal(
    422,
    "image_not_allowed",
    `Images of ${ref.registry} are not allowed here. Use one of: ${registriesAllowed.join(", ")}.`,
    { registry: ref.registry, allowed: registriesAllowed },
  );
}

function uploadRefusal(state: CoreState, actor: Actor, id: string): Refusal | undefined {
  const upload = ownUpload(state, actor, id);
  if (upload === undefined) return uploadUnknown(id);
  if (upload.tree.files === 1) return undefined;
  return refusal(
    422,
    "image_not_one_file",
    `An image by upload is one archive, as docker save makes it, and ${id} has ${upload.tree.files} files. Upload the archive alone (qubix run --image-file).`,
    { files: upload.tree.files },
  );
}

function ownUpload(state: CoreState, actor: Actor, id: string | undefined): UploadRecord | undefined {
  const upload = id === undefined ? undefined : state.rows.uploads.get(id);
  return upload?.accountId === actor.accountId ? upload : undefined;
}

function uploadUnknown(id: string | undefined): Refusal {
  const message = `There is no upload ${id ?? ""} of yours. Upload the files first (POST /v1/uploads).`;
  return refusal(422, "upload_unknown", message);
}

function localRefusal(state: CoreState, image: string, ref: ImageRef): Refusal | undefined {
  if (state.ix.workersByImage.has(imageKey(ref))) return undefined;
  return refusal(
    422,
    "image_unknown",
    `No worker has the local image ${image}: images with the tag "local" run only where the worker's owner lists them. Check the name, or use an image of a registry.`,
  );
}

function fundsRefusal(state: CoreState, actor: Actor, spec: JobSpec): Refusal | undefined {
  const { currency } = spec.priceMaxPerHour;
  const allowance = allowanceOf(state, actor, spec);
  if (allowance.refusal !== undefined) return allowance.refusal;
  const needed = allowance.hold;
  const available = balanceOf(state, `customer:${actor.accountId}`, currency);
  if (needed <= available) return undefined;
  return refusal(
    402,
    "insufficient_funds",
    `This job locks ${formatUnits(needed)} ${currency} (${allowance.tightest === undefined ? holdWords(spec) : "what its budget allows"}) and ${formatUnits(available)} are available. Deposit credit, or lower ${allowance.tightest === undefined ? "one of these" : "budgetMax"}.`,
    { needed: needed.toString(), available: available.toString(), currency },
  );
}

function holdWords({ egressGiBMax }: JobSpec): string {
  const time = "priceMaxPerHour × durationMaxS";
  return egressGiBMax === undefined ? time : `${time} + egressPriceMaxPerGiB × egressGiBMax`;
}

function inputsOf(state: CoreState, actor: Actor, spec: JobSpec): JobRecord["inputs"] | Refusal {
  const inputs: { manifestCid: JobRecord["inputs"][number]["manifestCid"]; to: string }[] = [];
  for (const { upload: id, to } of spec.inputs) {
    const upload = ownUpload(state, actor, id);
    if (upload === undefined) return uploadUnknown(id);
    inputs.push({ manifestCid: upload.tree.manifestCid, to });
  }
  return inputs;
}

interface Belongings {
  readonly inputs: JobRecord["inputs"];
  readonly vaultId: JobRecord["vaultId"];
  readonly source: CheckpointRecord | null;
}

/** Locks the money and queues the job: both or neither. */
function accept(state: CoreState, actor: Actor, spec: JobSpec, { inputs, vaultId, source }: Belongings): JobRecord {
  const { currency } = spec.priceMaxPerHour;
  const { hold, tightest, refusal: refused } = allowanceOf(state, actor, spec);
  assert(refused === undefined, "a job was accepted beyond its budget");
  const cap = tightest && { amount: hold, source: tightest.source, phase: capTable.initial };
  const chain = newDeposit(state, currency);
  const id = newJobId(state.meta);
  const job: JobRecord = {
    ...newJobRecord(state, { id, accountId: actor.accountId, spec, hold }),
    checkpoints: source === null ? [] : [firstCheckpoint({ id }, source, state.nowMs)],
    fromCheckpoint: source === null ? null : { jobId: source.jobId, seq: source.seq },
    inputs,
    imageTree: ownUpload(state, actor, uploadedImage(spec.image))?.tree.manifestCid ?? null,
    vaultId,
    ...(chain === undefined ? {} : { chain }),
    ...(spec.standby === "mirror" ? { mirror: FIRST_MIRROR } : {}),
    ...(cap === undefined ? {} : { cap }),
  };
  transfer(state, {
    id: holdId(id),
    kind: "hold",
    step: "reserve",
    jobId: id,
    currency,
    postings: [
      { account: `customer:${actor.accountId}`, amount: -hold },
      { account: `escrow:${id}`, amount: hold },
    ],
    memo: `hold for ${id}`,
  });
  put(state, "jobs", id, job);
  sendDeposit(state, job);
  armQueue(state, job);
  countUp(state, "jobsCreated");
  emitJob(state, job, "queued", {
    ...(spec.name === undefined ? {} : { name: spec.name }),
    ...(job.fromCheckpoint === null ? {} : { fromCheckpoint: job.fromCheckpoint }),
    ...(cap === undefined ? {} : { cap: cap.amount.toString(), currency, source: cap.source }),
  });
  emit(state, {
    channel: "wallet",
    kind: "hold",
    accountId: job.accountId,
    jobId: id,
    data: { currency, amount: hold.toString() },
  });
  return job;
}

/** A waiting job ends at once; a running one is stopped first. One that is unknown here is not, or no longer, live. */
export function cancelJob(state: CoreState, event: Event<"job.cancel">): void {
  const job = state.rows.jobs.get(event.jobId);
  const { actor } = event;
  if (job === undefined || (actor.role !== "admin" && job.accountId !== actor.accountId)) {
    return refuse(
      state,
      404,
      "job_not_found",
      `There is no job ${event.jobId} of yours that still runs. Check the id.`,
    );
  }
  if (job.check !== undefined && actor.role !== "admin") return refuse(state, 409, "check_run", checkRunText(job));
  if (job.phase === "queued") endByIntent(state, patchJob(state, job, { intent: "cancelled" }));
  else if (job.intent === null) stopAttempt(state, job, "cancelled");
  const after = state.rows.jobs.get(job.id);
  assert(after !== undefined, `job ${job.id} left memory within a step`);
  state.step.reply = { kind: "job", jobId: job.id, job: after, repeated: false };
}

/** No new work for a worker, or again; what runs there goes on, or moves. */
export function drainWorker(state: CoreState, event: Event<"worker.drain">): void {
  const machine = state.ix.machines.get(event.workerId);
  const { actor, draining } = event;
  if (machine === undefined || (actor.role !== "admin" && machine.worker.providerId !== actor.accountId)) {
    return refuse(state, 404, "worker_not_found", `There is no worker ${event.workerId} of yours. Check the id.`);
  }
  const leaving = draining && event.move === true;
  const { leaving: before = false, ...worker } = machine.worker;
  const next: WorkerRecord = { ...worker, draining, ...(leaving ? { leaving } : {}) };
  if (draining !== worker.draining || leaving !== before) put(state, "workers", next.id, next);
  if (draining !== worker.draining) reportWorker(state, machine, draining ? "worker_draining" : "worker_open", {});
  leave(state, machine);
  state.step.reply = { kind: "worker", worker: next };
}
