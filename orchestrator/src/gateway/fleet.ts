// What the gateway reads of the committed state.
import { findWorker, holdsJob, liveJob } from "../core/index.ts";
import type { EventWriter, Fleet } from "./port.ts";

export function createFleet(writer: Pick<EventWriter, "state">): Fleet {
  return {
    worker: (id) => findWorker(writer.state(), id),
    ownerOf: (workerId, jobId) => {
      const state = writer.state();
      return holdsJob(state, workerId, jobId) ? liveJob(state, jobId)?.job.accountId : undefined;
    },
    comparesTrees: (jobId) => {
      const job = liveJob(writer.state(), jobId)?.job;
      if (job === undefined) return false;
      return job.mirror !== undefined || job.check !== undefined || job.spec.verification.mode !== "none";
    },
  };
}
