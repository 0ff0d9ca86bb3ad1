import type { StateTable } from "./table.ts";

export type SlashPhase = "noted" | "proposed" | "appealed" | "applied" | "voided";

/**
 * propose: the evidence is taken up. appeal: the provider says no. lapse: the time that the phase had is over. uphold, dismiss: an admin decides.
 */
export type SlashEvent = "propose" | "appeal" | "lapse" | "uphold" | "dismiss";

const over = { propose: "ignore", appeal: "ignore", lapse: "ignore", uphold: "ignore", dismiss: "ignore" } as const;

export const slashTable: StateTable<SlashPhase, SlashEvent> = {
  name: "slash",
  initial: "noted",
  final: ["applied", "voided"],
  cells: {
    noted: {
      propose: {
        next: "proposed",
        guard: "much of the fleet is not silent at once: then we suspect ourselves, and it waits",
        effects: "stake → reserved; what the provider has asked back is taken first out of its wait",
      },
      appeal: "ignore",
      lapse: "ignore",
      uphold: "ignore",
      dismiss: "ignore",
    },
    proposed: {
      propose: "ignore",
      appeal: { next: "appealed", guard: "its provider, within the appeal window" },
      lapse: { next: "applied", guard: "the appeal window is over", effects: "reserved → slashed" },
      uphold: "ignore",
      dismiss: { next: "voided", guard: "an admin", effects: "reserved → stake" },
    },
    appealed: {
      propose: "ignore",
      appeal: "ignore",
      lapse: { next: "voided", guard: "nobody decided in time", effects: "reserved → stake" },
      uphold: { next: "applied", guard: "an admin", effects: "reserved → slashed" },
      dismiss: { next: "voided", guard: "an admin", effects: "reserved → stake" },
    },
    applied: over,
    voided: over,
  },
};
