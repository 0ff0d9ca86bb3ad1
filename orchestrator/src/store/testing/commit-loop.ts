// A program for tests: commits without end to the store in the folder it is given, and prints each number once its commit has returned.
import { writeSync } from "node:fs";
import type { TransferId } from "@qubix/shared/domain";
import { openSqliteStore } from "../sqlite/index.ts";
import { aJob, changesOf, metaOf, put } from "./records.ts";

const STDOUT = 1;
const JOBS_PER_COMMIT = 5;

const store = openSqliteStore(process.argv[2] ?? "");
for (let n = 1; ; n++) {
  const jobs = Array.from({ length: JOBS_PER_COMMIT }, (_, at) => aJob(n * JOBS_PER_COMMIT + at));
  store.commit(
    jobs.map((job, at) =>
      changesOf({
        puts: [put("jobs", job.id, job)],
        events: [
          {
            seq: (n - 1) * JOBS_PER_COMMIT + at + 1,
            atMs: n,
            channel: "jobs",
            kind: "queued",
            accountId: job.accountId,
            providerId: null,
            jobId: job.id,
            workerId: null,
            data: {},
          },
        ],
        transfers: [
          {
            id: `tr-${n}-${at}` as TransferId,
            kind: "hold",
            jobId: job.id,
            currency: "USD",
            postings: [
              { account: "external:ledger", amount: -1n },
              { account: "fee", amount: 1n },
            ],
            memo: "",
            atMs: n,
          },
        ],
        meta: metaOf(n),
      }),
    ),
    n,
  );
  writeSync(STDOUT, `${n}\n`);
}
