// An error for the person who called the program: what happened, why, what to do; each wrong field on a line of its own.
import { QubixError } from "@qubix/shared/errors";
import { fieldErrorsOf } from "../../sdk/problem.ts";
import type { Colors } from "../session.ts";
import { printable } from "./units.ts";

/** The lines on standard error, without a line end. */
export function formatError(error: unknown, colors: Colors): string {
  const label = colors.red("error:");
  if (!(error instanceof QubixError)) {
    return `${label} ${printable(error instanceof Error ? error.message : String(error))}`;
  }
  const fields = fieldErrorsOf(error);
  const lines = [`${label} ${printable(error.message)}`];
  // A single field stands in the message already.
  if (fields.length > 1) {
    for (const { path, message } of fields)
      lines.push(`  ${printable(path === "" ? "(body)" : path)}: ${printable(message)}`);
  }
  const next = NEXT_STEPS[error.code];
  if (next !== undefined) lines.push(`  ${next}`);
  return lines.join("\n");
}

/** The same as one JSON object. */
export function errorJson(error: unknown): Record<string, unknown> {
  if (!(error instanceof QubixError)) {
    return { error: { code: "error", message: error instanceof Error ? error.message : String(error) } };
  }
  const { code, message, category, status, details } = error;
  const own = category === "user" && code === "usage";
  return { error: { code, message, ...(own ? {} : { status }), ...details } };
}

/** What the command line adds to the server's own advice. */
const NEXT_STEPS: Readonly<Record<string, string>> = {
  cannot_connect: "Name another with --url or QUBIX_URL; start one with `qubix-orchestrator start`.",
  insufficient_funds:
    "See `qubix wallet`; an admin adds credit with `qubix wallet deposit --account ACCOUNT --amount AMOUNT`.",
  usage: "See `qubix --help`.",
};
