import type { StateTable } from "./table.ts";

export type WorkerPhase = "offline" | "online" | "suspect";

/** opened: authenticated and said hello. heard: any sign of life. closed: the socket closed. silent: no sign of life for a while. expired: given up. */
export type WorkerEvent = "opened" | "heard" | "closed" | "silent" | "expired";

export const workerSessionTable: StateTable<WorkerPhase, WorkerEvent> = {
  name: "worker session",
  initial: "offline",
  final: [],
  cells: {
    offline: {
      opened: { next: "online", effects: "both sides reconcile" },
      heard: "ignore",
      closed: "ignore",
      silent: "ignore",
      expired: "ignore",
    },
    online: {
      opened: { next: "online", effects: "the older session is closed, both sides reconcile" },
      heard: { next: "online", effects: "leases renewed" },
      closed: { next: "suspect", effects: "hot standbys promoted" },
      silent: { next: "suspect" },
      expired: "illegal",
    },
    suspect: {
      opened: { next: "online", effects: "both sides reconcile, undo where it is due" },
      heard: { next: "online", effects: "leases renewed" },
      closed: { next: "suspect", effects: "hot standbys promoted" },
      silent: "ignore",
      expired: { next: "offline", effects: "attempts and standbys on it are lost" },
    },
  },
};
