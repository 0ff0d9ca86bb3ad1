// State machines as data: phase × event → the next phase, or an explicit word on why there is none.

/**
 * One cell. `next`: the transition is made, and `effects` says for the reader what goes with it.
 * `ignore`: the event is expected here and means nothing (late, duplicated). `illegal`: a bug if it happens; the core throws.
 */
export type Cell<Phase extends string> =
  | { readonly next: Phase; readonly guard?: string; readonly effects?: string }
  | "ignore"
  | "illegal";

export interface StateTable<Phase extends string, Event extends string> {
  readonly name: string;
  readonly initial: Phase;
  readonly final: readonly Phase[];
  readonly cells: { readonly [P in Phase]: { readonly [E in Event]: Cell<Phase> } };
}

/** Thrown when a table says `illegal`: the core has a bug, the event is dropped alone and reported. */
export class IllegalTransitionError extends Error {
  readonly code = "illegal_transition";
  constructor(table: string, phase: string, event: string) {
    super(`${table}: event ${event} is illegal in phase ${phase}`);
  }
}

/** The phase after `event`, or `undefined` where the event is to be ignored. Throws {@link IllegalTransitionError} where the table says so. */
export function transition<Phase extends string, Event extends string>(
  table: StateTable<Phase, Event>,
  phase: Phase,
  event: Event,
): Phase | undefined {
  const cell = table.cells[phase][event];
  if (cell === "illegal") throw new IllegalTransitionError(table.name, phase, event);
  return cell === "ignore" ? undefined : cell.next;
}

/** Every legal row of a table, as `TABLE: phase + event`, for coverage checks and generated documentation. */
export function legalRows(table: StateTable<string, string>): readonly string[] {
  return Object.entries(table.cells).flatMap(([phase, row]) =>
    Object.entries(row)
      .filter(([, cell]) => typeof cell === "object")
      .map(([event]) => rowName(table.name, phase, event)),
  );
}

/** The name under which a fired row is counted. Rows are few and fire all the time: each name is put together once. */
export function rowName(table: string, phase: string, event: string): string {
  const ofPhase = within(within(names, table), phase);
  let name = ofPhase.get(event);
  if (name === undefined) ofPhase.set(event, (name = `${table}: ${phase} + ${event}`));
  return name;
}

/** By table, phase and event. */
const names = new Map<string, Map<string, Map<string, string>>>();

function within<T>(maps: Map<string, Map<string, T>>, key: string): Map<string, T> {
  let map = maps.get(key);
  if (map === undefined) maps.set(key, (map = new Map()));
  return map;
}
