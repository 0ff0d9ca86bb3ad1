// Which trees the records name: asked of the store, so that a crash between a commit and a deletion is found out later.
import type { AccountId, ChunkCid, JobId } from "@qubix/shared/domain";
import type { JobRecord } from "../core/model.ts";
import type { Store } from "../store/port.ts";
import { UPLOAD_HOLDER, type TreeOwners } from "./port.ts";

const PAGE = 500;

/** Jobs name their kept checkpoints (of both replicas), their outputs, and results that are still to be compared (by a mirror, or by a check); uploads name their tree. */
export function createTreeOwners(store: Store): TreeOwners {
  let uploads: Set<string> | undefined;
  /** As of the first question: those made later are known to the chunk store itself. */
  const usesUpload = (accountId: AccountId, manifestCid: ChunkCid): boolean => {
    uploads ??= new Set(store.load().rows.uploads.map((row) => `${row.accountId} ${row.tree.manifestCid}`));
    return uploads.has(`${accountId} ${manifestCid}`);
  };
  return {
    uses(accountId, holder, manifestCid) {
      if (holder === UPLOAD_HOLDER) return usesUpload(accountId, manifestCid);
      const found = store.job(holder as JobId);
      return (
        found !== undefined && found.job.accountId === accountId && treesOf(store, found.job).includes(manifestCid)
      );
    },
    *all() {
      for (const { accountId, tree } of store.load().rows.uploads) {
        yield { accountId, holder: UPLOAD_HOLDER, manifestCid: tree.manifestCid };
      }
      let before: JobId | undefined;
      for (;;) {
        const page = store.jobs({ limit: PAGE, ...(before === undefined ? {} : { before }) });
        for (const job of page) {
          for (const manifestCid of treesOf(store, job))
            yield { accountId: job.accountId, holder: job.id, manifestCid };
        }
        before = page.at(-1)?.id;
        if (before === undefined) return;
      }
    },
  };
}

function treesOf(store: Store, job: JobRecord): readonly ChunkCid[] {
  const { check } = job;
  // The outputs of a run that checks a job are nobody's, once it is known what they say.
  if (check !== undefined && store.verification(check.of)?.decidedAtMs !== null && job.endedAtMs !== null) return [];
  const checkpoints = [...job.checkpoints, ...(job.mirror?.checkpoints ?? [])].map(({ tree }) => tree.manifestCid);
  // What is to be compared, until the job has ended.
  const results = job.endedAtMs === null ? (job.mirror?.results ?? []) : [];
  return [
    ...checkpoints,
    ...[job.outputs, ...results.map(({ outputs }) => outputs)].flatMap((o) => o?.manifestCid ?? []),
  ];
}
