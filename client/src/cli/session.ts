// What every command gets: the client, where to print, and how.
import { createNodeClient, type NodeClient } from "../node/http-client.ts";
import { QubixError } from "@qubix/shared/errors";
import { type Colors, colorsFor } from "./colors.ts";
import type { Io } from "./io.ts";
import { URL_DEFAULT } from "./defaults.ts";

export type { Colors } from "./colors.ts";

/** Options that every command takes. */
export interface GlobalOptions {
  readonly url?: string;
  readonly apiKey?: string;
  readonly json?: boolean;
  readonly color?: boolean;
}

export interface Session {
  readonly client: NodeClient;
  readonly io: Io;
  /** Print JSON, one value a line, instead of text for people. */
  readonly json: boolean;
  /** For standard output. */
  readonly colors: Colors;
  /** For standard error. */
  readonly errColors: Colors;
  /** What stands after `--` on the command line; null without it. */
  readonly rest: readonly string[] | null;
  /** A line on standard output. */
  print(line: string): void;
  /** A line for the person at the terminal: standard error, nothing under `--json`. */
  note(line: string): void;
  /** A JSON value as one line on standard output. */
  printJson(value: unknown): void;
}

/** Carries out a command and returns the exit code. `options` are the command's own. */
export type Handler<Options> = (session: Session, args: readonly string[], options: Options) => Promise<number>;

/** Builds the session. Throws when there is no API key, but for what needs no orchestrator (`isOffline`). */
export function createSession(
  io: Io,
  options: GlobalOptions,
  rest: readonly string[] | null,
  isOffline = false,
): Session {
  const apiKey = options.apiKey ?? io.env["QUBIX_API_KEY"] ?? "";
  if (apiKey.trim() === "" && !isOffline) {
    throw new QubixError(
      "api_key_missing",
      "No API key was given. Set QUBIX_API_KEY or use --api-key; the orchestrator prints the admin's key on its first start.",
      { category: "user", status: 401 },
    );
  }
  const json = options.json === true;
  const client = createNodeClient({
    url: options.url ?? io.env["QUBIX_URL"] ?? URL_DEFAULT,
    apiKey: apiKey.trim() === "" ? undefined : apiKey.trim(),
    userAgent: "qubix-cli",
  });
  return {
    client,
    io,
    json,
    rest,
    colors: colorsFor(io.env, io.stdout.isTTY === true, options.color !== false),
    errColors: colorsFor(io.env, io.stderr.isTTY === true, options.color !== false),
    print: (line) => void io.stdout.write(`${line}\n`),
    note: (line) => {
      if (!json) io.stderr.write(`${line}\n`);
    },
    printJson: (value) => void io.stdout.write(`${JSON.stringify(value)}\n`),
  };
}
