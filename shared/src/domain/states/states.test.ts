import { describe, expect, it } from "vitest";
import { IllegalTransitionError, legalRows, transition, STATE_TABLES } from "./index.ts";

describe.each(STATE_TABLES.map((table) => [table.name, table] as const))("state table %s", (_name, table) => {
  const phases = Object.keys(table.cells);
  const events = Object.keys(table.cells[phases[0] ?? ""] ?? {});

  it("says something for every phase and event", () => {
    for (const phase of phases) expect(Object.keys(table.cells[phase] ?? {}).sort()).toEqual([...events].sort());
  });
  it("has no way out of a final phase", () => {
    for (const phase of table.final)
      for (const event of events) expect(typeof table.cells[phase]?.[event]).toBe("string");
  });
  it("reaches every phase from the initial one", () => {
    const reached = new Set([table.initial]);
    for (const phase of reached)
      for (const cell of Object.values(table.cells[phase] ?? {})) if (typeof cell === "object") reached.add(cell.next);
    expect([...reached].sort()).toEqual([...phases].sort());
  });
  it("gives for each cell what it says", () => {
    for (const phase of phases) {
      for (const event of events) {
        const cell = table.cells[phase]?.[event];
        if (cell === "illegal") expect(() => transition(table, phase, event)).toThrow(IllegalTransitionError);
        else expect(transition(table, phase, event)).toBe(typeof cell === "object" ? cell.next : undefined);
      }
    }
  });
});

it("names every legal row once", () => {
  const rows = STATE_TABLES.flatMap(legalRows);
  expect(new Set(rows).size).toBe(rows.length);
  expect(rows.length).toBeGreaterThan(30);
});
