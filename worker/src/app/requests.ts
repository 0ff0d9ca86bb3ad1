// What the owner's commands ask of the running agent.
import { QubixError } from "@qubix/shared/runtime";
import type { Journal } from "../journal/journal.ts";
import type { AgentRequest } from "./agent-socket.ts";
import { type OfferKeeper, setPause } from "./offer.ts";
import { SETTABLE, type SettingChange, type SettingName, type SettingsKeeper } from "./owner/settings.ts";
import type { AgentStatus } from "./owner/status.ts";

/** What `set` answers. JSON: null for what is not given. */
export interface SetAnswer {
  readonly changes: readonly SettingChange[];
  readonly settings: Readonly<Record<string, unknown>>;
  /** Those that `set` holds. */
  readonly set: readonly SettingName[];
}

export interface RequestPorts {
  readonly journal: Pick<Journal, "set">;
  readonly keeper: OfferKeeper;
  readonly settings: SettingsKeeper;
  status(): AgentStatus;
  /** What runs here is to be gone within this time; null: it may stay. */
  drainNow(deadlineMs: number | null): void;
  /** The settings changed: what depends on them follows. */
  apply(): void;
}

/** The journal's word on whether the owner drains the worker. */
export const KEY_DRAINING = "draining";

/** Carries one command out. Throws for one that it does not know. */
export function answer(request: AgentRequest, ports: RequestPorts): AgentStatus | SetAnswer {
  switch (request.command) {
    case "drain":
      ports.journal.set(KEY_DRAINING, request.draining);
      setPause(ports.keeper, "drained", request.draining);
      if (!request.draining) ports.drainNow(null);
      else if (request.deadlineMs !== undefined) ports.drainNow(request.deadlineMs);
      return ports.status();
    case "status":
      return ports.status();
    case "set":
      return set(request, ports);
    default:
      throw new QubixError("unknown_command", "The agent knows the commands status, drain and set.", {
        category: "user",
      });
  }
}

function set(request: Extract<AgentRequest, { command: "set" }>, ports: RequestPorts): SetAnswer {
  const { settings } = ports;
  const changes = settings.set(request.values, request.reset === "all" ? settings.overridden() : request.reset);
  ports.apply();
  const { live } = settings;
  return {
    changes,
    settings: Object.fromEntries(SETTABLE.map((name) => [name, live[name] ?? null])),
    set: settings.overridden(),
  };
}
