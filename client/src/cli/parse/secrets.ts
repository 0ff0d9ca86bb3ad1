// Secrets on the command line: where their content is, not what it is. What stands in an argument is seen by everybody on the machine, and kept by the shell.
import { readFile } from "node:fs/promises";
import { text as textOf } from "node:stream/consumers";
import { usageError } from "../exit-codes.ts";

/** Larger than the network takes. */
const SECRET_FILE_BYTES_MAX = 1024 * 1024;

export interface SecretFlags {
  readonly secret?: readonly string[];
  readonly registryUser?: string;
  readonly registryPasswordFile?: string;
}

export interface SecretSources {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Standard input. */
  readonly stdin: NodeJS.ReadableStream;
  /** It was read already, for the specification: there would be nothing in it. */
  readonly stdinTaken?: boolean;
  /** Called for each secret that stands in the arguments themselves. */
  readonly warn: (message: string) => void;
}

export interface SecretFields {
  readonly secrets?: Readonly<Record<string, string>>;
  readonly registryAuth?: { readonly username: string; readonly password: string };
}

/** Reads what the flags name. Throws a usage error that says what is wrong with one; its content is in none. */
export async function readSecrets(flags: SecretFlags, sources: SecretSources): Promise<SecretFields> {
  let { stdinTaken = false } = sources;
  const stdin = async (flag: string) => {
    if (stdinTaken) throw usageError(`${flag}: standard input can be read only once; put the others into files.`);
    stdinTaken = true;
    return textOf(sources.stdin);
  };
  const secrets: Record<string, string> = {};
  for (const text of flags.secret ?? []) {
    const at = text.indexOf("=");
    if (at < 1) {
      throw usageError(`--secret: write NAME=@FILE, NAME=env:VARIABLE, or NAME=- for standard input.`);
    }
    const name = text.slice(0, at);
    secrets[name] = await contentOf(name, text.slice(at + 1), sources, stdin);
  }
  const registryAuth = await registryOf(flags, stdin);
  return {
    ...(flags.secret === undefined ? {} : { secrets }),
    ...(registryAuth === undefined ? {} : { registryAuth }),
  };
}

async function contentOf(
  name: string,
  source: string,
  { env, warn }: SecretSources,
  stdin: (flag: string) => Promise<string>,
): Promise<string> {
  if (source === "-") return stdin(`--secret ${name}`);
  if (source.startsWith("@")) return readSecretFile(`--secret ${name}`, source.slice(1));
  if (source.startsWith("env:")) {
    const value = env[source.slice(4)];
    if (value === undefined) throw usageError(`--secret ${name}: the variable ${source.slice(4)} is not set.`);
    return value;
  }
  warn(
    `--secret ${name}: its content stands in the command, where others on this machine and the shell's history have it. Better: --secret ${name}=@FILE, ${name}=env:VARIABLE or ${name}=-`,
  );
  return source;
}

async function registryOf(
  { registryUser, registryPasswordFile }: SecretFlags,
  stdin: (flag: string) => Promise<string>,
): Promise<SecretFields["registryAuth"]> {
  if (registryUser === undefined && registryPasswordFile === undefined) return undefined;
  if (registryUser === undefined || registryPasswordFile === undefined) {
    throw usageError(
      "A private registry needs both --registry-user and --registry-password-file (- for standard input).",
    );
  }
  const flag = "--registry-password-file";
  const text = registryPasswordFile === "-" ? await stdin(flag) : await readSecretFile(flag, registryPasswordFile);
  // Editors and echo end a file with a line end, which is no part of a password.
  return { username: registryUser, password: text.replace(/\r?\n$/, "") };
}

async function readSecretFile(flag: string, file: string): Promise<string> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw usageError(`${flag}: cannot read ${file} (${(error as NodeJS.ErrnoException).code ?? String(error)}).`);
  });
  if (bytes.length > SECRET_FILE_BYTES_MAX)
    throw usageError(`${flag}: ${file} is larger than a secret may be (64 KiB).`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw usageError(`${flag}: ${file} is not text (UTF-8). Encode it, e.g. with base64, and decode it in the job.`);
  }
}
