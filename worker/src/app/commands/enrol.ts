// `qubix-worker enrol`: joins a network with a one-time token.
import { hostname } from "node:os";
import { QubixError } from "@qubix/shared/runtime";
import { enrol } from "../identity.ts";
import { type CommonFlags, dataDirOf, parseUrl, print } from "./common.ts";

export type EnrolFlags = CommonFlags & { readonly url?: string; readonly token?: string; readonly name?: string };

export async function runEnrol(flags: EnrolFlags): Promise<void> {
  const url = flags.url ?? process.env["QUBIX_URL"];
  const token = flags.token ?? process.env["QUBIX_TOKEN"];
  if (url === undefined || token === undefined) {
    throw new QubixError(
      "usage",
      "enrol needs --url and --token; an admin makes a token with: qubix enrolments create",
      {
        category: "user",
      },
    );
  }
  const dataDir = dataDirOf(flags);
  const name = flags.name ?? process.env["QUBIX_NAME"] ?? hostname();
  const identity = await enrol({ url: urlOf(url), token, name, dataDir });
  const line = `Enrolled as ${identity.workerId} (${identity.name}). Start it with: qubix-worker start --data-dir ${dataDir}`;
  print(flags.json === true ? JSON.stringify({ event: "enrolled", ...identity }) : line);
}

/** A flag's value was looked at by the command line; a variable's is only now. */
function urlOf(text: string): string {
  try {
    return parseUrl(text);
  } catch (cause) {
    throw new QubixError("usage", `QUBIX_URL: ${(cause as Error).message}`, { category: "user", cause });
  }
}
