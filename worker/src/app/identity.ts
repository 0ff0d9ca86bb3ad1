// Who this worker is: written once at enrolment, read at every start.
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { enrolRequestSchema, enrolResponseSchema, enrolText } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { createKey, loadKey, type WorkerKey } from "../link/keys.ts";

export interface Identity {
  readonly url: string;
  readonly workerId: string;
  readonly orchestratorId: string;
  readonly name: string;
}

const identitySchema = z.object({
  url: z.string(),
  workerId: z.string(),
  orchestratorId: z.string(),
  name: z.string(),
});

const IDENTITY_FILE = "identity.json";
const KEY_FILE = "key.pem";
const ENROL_TIMEOUT_MS = 30_000;

export function isEnrolled(dataDir: string): boolean {
  return existsSync(join(dataDir, IDENTITY_FILE));
}

/** Throws `not_enrolled` where there is no identity, `identity_unreadable`. `movedTo`: the orchestrator's address now; that it is the same one, it proves itself. */
export function loadIdentity(
  dataDir: string,
  movedTo?: string,
): { readonly identity: Identity; readonly key: WorkerKey } {
  const file = join(dataDir, IDENTITY_FILE);
  if (!existsSync(file)) {
    throw new QubixError(
      "not_enrolled",
      `${dataDir} holds no enrolled worker. Run: qubix-worker enrol --url URL --token TOKEN --data-dir ${dataDir}`,
      { category: "user" },
    );
  }
  const identity = readIdentity(file);
  return { identity: { ...identity, url: movedTo ?? identity.url }, key: loadKey(join(dataDir, KEY_FILE)) };
}

function readIdentity(file: string): Identity {
  try {
    return identitySchema.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (cause) {
    throw new QubixError(
      "identity_unreadable",
      `Cannot read ${file}: ${whyOf(cause)}. Restore it, or enrol again into a new data directory.`,
      { category: "user", cause },
    );
  }
}

function whyOf(cause: unknown): string {
  if (cause instanceof z.ZodError) return `it does not hold a worker's identity (${cause.issues[0]?.message ?? ""})`;
  return (cause as Error).message;
}

/**
 * Redeems a one-time token. Throws `already_enrolled`, `orchestrator_unreachable`, or the orchestrator's own refusal.
 */
export async function enrol(input: {
  readonly url: string;
  readonly token: string;
  readonly name: string;
  readonly dataDir: string;
}): Promise<Identity> {
  const file = join(input.dataDir, IDENTITY_FILE);
  if (existsSync(file)) {
    throw new QubixError(
      "already_enrolled",
      `${input.dataDir} holds the worker ${loadIdentity(input.dataDir).identity.workerId} already. Start it, or choose another --data-dir.`,
      { category: "conflict" },
    );
  }
  makeDataDir(input.dataDir);
  const keyFile = join(input.dataDir, KEY_FILE);
  // A key without an identity is left from a try that was refused: it is as good as new.
  const key = existsSync(keyFile) ? loadKey(keyFile) : createKey(keyFile);
  const answer = await redeem(input, key);
  const identity: Identity = { url: input.url, name: input.name, ...answer };
  writeFileSync(`${file}.new`, `${JSON.stringify(identity, null, 2)}\n`, { mode: 0o600, flush: true });
  renameSync(`${file}.new`, file);
  return identity;
}

function makeDataDir(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    chmodSync(dataDir, 0o700);
  } catch (cause) {
    throw new QubixError(
      "data_dir_unusable",
      `Cannot make the data directory ${dataDir}: ${(cause as Error).message}. Name another with --data-dir.`,
      { category: "user", cause },
    );
  }
}

async function redeem(
  input: { readonly url: string; readonly token: string; readonly name: string },
  key: WorkerKey,
): Promise<{ workerId: string; orchestratorId: string }> {
  const request = {
    token: input.token,
    name: input.name,
    publicKey: key.publicKey,
    signature: key.sign(enrolText(input.token)),
  };
  const checked = enrolRequestSchema.safeParse(request);
  if (!checked.success) {
    const issue = checked.error.issues[0];
    throw new QubixError("enrolment_invalid", `Cannot enrol: ${issue?.path.join(".")}: ${issue?.message}`, {
      category: "user",
    });
  }
  const response = await post(new URL("/v1/enrolments/redeem", input.url), request, input.url);
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw refusal(response.status, body);
  const parsed = enrolResponseSchema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new QubixError(
    "orchestrator_unreachable",
    `${input.url} answers, but not like a Qubix orchestrator. Check --url.`,
    {
      category: "user",
    },
  );
}

async function post(target: URL, body: unknown, url: string): Promise<Response> {
  try {
    return await fetch(target, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(ENROL_TIMEOUT_MS),
    });
  } catch (cause) {
    const why = cause instanceof Error ? ((cause.cause as Error | undefined)?.message ?? cause.message) : String(cause);
    throw new QubixError(
      "orchestrator_unreachable",
      `Cannot reach the orchestrator at ${url}: ${why}. Check --url and that it runs.`,
      {
        category: "platform",
        cause,
      },
    );
  }
}

function refusal(status: number, body: unknown): QubixError {
  const { code, detail } = (body ?? {}) as { code?: string; detail?: string };
  return new QubixError(
    code ?? "enrolment_refused",
    detail ?? `The orchestrator refused the enrolment (HTTP ${status}).`,
    {
      category: "user",
    },
  );
}
