// Rows of cases: their ids, their deadlines, and how an ended one leaves memory.
import type { JobId, TransferId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { CaseKind, CaseOf, CaseRecord } from "./case-records.ts";
import { deadlineKey } from "./silence.ts";
import type { CoreState } from "./state.ts";
import { put, refuse } from "./tables.ts";

const ID_DIGITS = 10;

/** One of a job: there is at most one of that kind. */
export function caseIdOf(kind: "rating" | "dispute", jobId: JobId): string {
  return `${kind === "rating" ? "rtg" : "dsp"}${jobId.slice("job".length)}`;
}

/** The number of the next event, which must be the one that tells of the case: unique, and sorts by creation. */
export function newCaseId(state: CoreState, kind: "slash" | "unstake"): string {
  const number = (state.meta.eventSeq + 1).toString(36).padStart(ID_DIGITS, "0");
  return `${kind === "slash" ? "slh" : "ust"}-${number}`;
}

/** Money of a case is set aside by one transfer, and leaves by one: the store itself takes each once. Callers of the ledger cannot name such ids. */
export function reservingId(caseId: string): TransferId {
  return `${caseId}/hold` as TransferId;
}

export function endingId(caseId: string): TransferId {
  return `${caseId}/end` as TransferId;
}

/** Puts the case; an open one with its deadline, one that has ended leaves memory after this step. */
export function putCase<Record extends CaseRecord>(state: CoreState, record: Record): Record {
  put(state, "cases", record.id, record);
  const dueMs = dueAtMs(record);
  if (dueMs === null) {
    state.deadlines.clear(deadlineKey.case(record.id));
    state.step.endedCases.push(record.id);
  } else {
    state.deadlines.set(deadlineKey.case(record.id), dueMs);
  }
  return record;
}

/** When something has to happen with it; null for never. */
export function dueAtMs(record: CaseRecord): number | null {
  if (record.endedAtMs !== null) return null;
  switch (record.kind) {
    case "dispute":
      return record.decideByMs;
    case "slash":
      return record.untilMs;
    case "unstake":
      return record.dueAtMs;
    case "rating":
      return null;
    default:
      return unreachable(record);
  }
}

/** An open case of this kind; refuses where there is none. `known`: it has ended, says the store. */
export function openCase<Kind extends CaseKind>(state: CoreState, kind: Kind, id: string): CaseOf<Kind> | undefined {
  const found = state.rows.cases.get(id);
  if (found?.kind === kind) return found as CaseOf<Kind>;
  refuse(
    state,
    409,
    "case_closed",
    `There is no open ${kind} ${id}: it was decided already, or never was. See its record.`,
  );
  return undefined;
}

export function openCases<Kind extends CaseKind>(state: CoreState, kind: Kind): readonly CaseOf<Kind>[] {
  return [...state.rows.cases.values()].filter((each): each is CaseOf<Kind> => each.kind === kind);
}
