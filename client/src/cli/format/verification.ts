// How a job's result was checked, for people: a line on the job's page, and the runs that check it.
import type { JobView } from "@qubix/shared/protocol";
import type { Colors } from "../session.ts";
import { formatTable } from "./table.ts";

type Verification = NonNullable<JobView["verification"]>;

const STATES: Readonly<Record<Verification["state"], string>> = {
  none: "not chosen for a check",
  waiting: "a run that checks it waits for a place",
  running: "is being checked",
  passed: "verified",
  failed: "WRONG RESULT",
  inconclusive: "could not be decided",
};

/** Of a job's page. */
export function verificationText({ mode, state, message }: Verification): string {
  return `${mode}: ${STATES[state]}${message === null ? "" : `. ${message}`}`;
}

export function formatRuns({ runs }: Verification, colors: Colors): string {
  return formatTable(
    [
      { title: "CHECK", value: ({ jobId }) => jobId },
      { title: "FROM", value: ({ fromSeq }) => (fromSeq === 0 ? "the beginning" : `checkpoint ${fromSeq}`) },
      { title: "WORKER", value: ({ workerId }) => workerId ?? "-" },
      { title: "RESULT", value: ({ same, endedAt }) => (endedAt === null ? "-" : (RESULTS[String(same)] ?? "-")) },
    ],
    runs,
    colors,
  );
}

const RESULTS: Readonly<Record<string, string>> = { true: "the same", false: "another one", null: "none" };
