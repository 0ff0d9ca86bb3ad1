// `qubix-worker set`: prices, limits and hours of the running worker.
import { QubixError } from "@qubix/shared/runtime";
import { askAgent } from "../agent-socket.ts";
import { flagOf, NONE, SETTABLE } from "../owner/settings.ts";
import type { SetAnswer } from "../requests.ts";
import { type CommonFlags, dataDirOf, print } from "./common.ts";

export type SetFlags = CommonFlags & Record<string, unknown> & { readonly reset?: string[] | true };

export async function runSet(flags: SetFlags): Promise<void> {
  const values = Object.fromEntries(
    SETTABLE.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])),
  );
  const reset = flags.reset === true ? "all" : (flags.reset ?? []);
  if (reset === "all" && Object.keys(values).length > 0) {
    throw new QubixError(
      "usage",
      "--reset without names takes back everything; name what to take back beside other settings",
      {
        category: "user",
      },
    );
  }
  const answer = (await askAgent(dataDirOf(flags), { command: "set", values, reset })) as SetAnswer;
  if (flags.json === true) return print(JSON.stringify({ event: "set", ...answer }));
  const asked = reset === "all" || reset.length > 0 || Object.keys(values).length > 0;
  if (!asked) return showAll(answer);
  if (answer.changes.length === 0) return print("Nothing changed: that is what holds already.");
  for (const { name, from, to } of answer.changes) print(`${flagOf(name)}: ${textOf(from)} → ${textOf(to)}`);
}

function showAll({ settings, set }: SetAnswer): void {
  for (const name of SETTABLE) {
    const held = set.includes(name) ? "  (by set; back with --reset)" : "";
    print(`${flagOf(name).padEnd(22)} ${textOf(settings[name])}${held}`);
  }
}

function textOf(value: unknown): string {
  if (value === null || value === undefined || (Array.isArray(value) && value.length === 0)) return NONE;
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
