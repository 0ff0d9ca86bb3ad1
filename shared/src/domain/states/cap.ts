import type { StateTable } from "./table.ts";

export type CapPhase = "open" | "warned" | "saving" | "stopping";

/** A job under a budget. near: 80% of its cap are used. ending: just the time is left that it may need to save. reached: all is used, or its time to save is over. */
export type CapEvent = "near" | "ending" | "reached";

export const capTable: StateTable<CapPhase, CapEvent> = {
  name: "cap",
  initial: "open",
  final: ["stopping"],
  cells: {
    open: {
      near: { next: "warned", effects: "its timeline says so" },
      ending: {
        next: "saving",
        guard: "it runs, without a mirror, at a worker that knows the request",
        effects: "asked to save, its standby released",
      },
      reached: { next: "stopping", effects: "stop sent, its standby released" },
    },
    warned: {
      near: "ignore",
      ending: {
        next: "saving",
        guard: "it runs, without a mirror, at a worker that knows the request",
        effects: "asked to save, its standby released",
      },
      reached: { next: "stopping", effects: "stop sent, its standby released" },
    },
    saving: { near: "ignore", ending: "ignore", reached: { next: "stopping", effects: "stop sent" } },
    stopping: { near: "ignore", ending: "ignore", reached: "ignore" },
  },
};
