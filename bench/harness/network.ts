// The orchestrator as users run it, in a process of its own with a fresh data folder, and the accounts a benchmark needs.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { enrolText } from "@qubix/shared/protocol";
import { createHttpPool, type HttpPool } from "./http-pool.ts";
import { createWorkerKey, type WorkerKey } from "./keys.ts";
import { type Program, startProgram } from "../../scripts/lib/processes.ts";
import type { Cleanup } from "./processes.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Requests at a time while accounts and workers are made. */
const SET_UP_CONNECTIONS_MAX = 64;

/** Builds what the programs run from; quick when nothing has changed. */
export function build(): void {
  execFileSync(process.execPath, [`${ROOT}node_modules/typescript/bin/tsc`, "-b"], { cwd: ROOT, stdio: "inherit" });
}

export interface Orchestrator {
  readonly program: Program;
  readonly url: URL;
  /** Shown on the first start of a data folder only. */
  readonly adminKey: string | undefined;
}

export interface OrchestratorOptions {
  readonly dataDir: string;
  /** Address to listen on; the loopback without one. */
  readonly host?: string;
  /** Port to listen on; 0 for any. */
  readonly port?: number;
  /** Where to leave a CPU profile when the program stops. */
  readonly profileDir?: string | undefined;
}

export async function startOrchestrator(cleanup: Cleanup, options: OrchestratorOptions): Promise<Orchestrator> {
  const { dataDir, profileDir } = options;
  const program = await startProgram("orchestrator", {
    args: [
      "start",
      "--data-dir",
      dataDir,
      "--listen",
      `${options.host ?? "127.0.0.1"}:${options.port ?? 0}`,
      "--log-level",
      "warn",
      // Workers that only speak the protocol have nothing to prove; and no re-check falls into a run.
      "--worker-proofs",
      "off",
    ],
    logFile: join(dataDir, "orchestrator.log"),
    env: profileDir === undefined ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${profileDir}` },
  });
  cleanup.add(async () => {
    if (program.running()) await program.stop();
  });
  const adminKey = program.ready["adminKey"];
  return {
    program,
    url: new URL(String(program.ready["url"])),
    adminKey: typeof adminKey === "string" ? adminKey : undefined,
  };
}

export interface Api {
  call<T>(method: string, path: string, body?: unknown): Promise<T>;
  text(path: string): Promise<string>;
  close(): void;
}

/** JSON calls with an API key; throws what the problem document says. */
export function createApi(url: URL, key: string, connectionsMax = SET_UP_CONNECTIONS_MAX): Api {
  const pool: HttpPool = createHttpPool(url, { authorization: `Bearer ${key}` }, connectionsMax);
  const request = async (method: string, path: string, body?: unknown) => {
    const answer = await pool.request(method, path, body === undefined ? undefined : JSON.stringify(body));
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.body.slice(0, 500)}`);
    return answer.body;
  };
  return {
    call: async <T>(method: string, path: string, body?: unknown) => JSON.parse(await request(method, path, body)) as T,
    text: (path) => request("GET", path),
    close: () => pool.close(),
  };
}

/** Makes an account and a key of it. */
export async function createAccount(
  admin: Api,
  name: string,
  role: "consumer" | "provider",
): Promise<{ accountId: string; key: string }> {
  const account = await admin.call<{ id: string }>("POST", "/v1/accounts", { name, role });
  const apiKey = await admin.call<{ key: string }>("POST", "/v1/api-keys", { accountId: account.id, name: "bench" });
  return { accountId: account.id, key: apiKey.key };
}

export function deposit(admin: Api, accountId: string, amount: bigint): Promise<unknown> {
  return admin.call("POST", "/v1/wallet/deposits", {
    accountId,
    amount: { amount: amount.toString(), currency: "USD" },
    reference: "bench",
  });
}

export interface EnrolledWorker {
  readonly workerId: string;
  readonly key: WorkerKey;
}

/** Enrols workers of one provider as `qubix-worker enrol` does: a token each, redeemed with a key of its own; many at a time. */
export async function enrolWorkers(admin: Api, providerId: string, count: number): Promise<readonly EnrolledWorker[]> {
  const workers: EnrolledWorker[] = [];
  let begun = 0;
  const enrolNext = async (): Promise<void> => {
    while (begun < count) {
      const name = `bench-${begun++}`;
      const { token } = await admin.call<{ token: string }>("POST", "/v1/enrolments", { accountId: providerId });
      const key = createWorkerKey();
      const { workerId } = await admin.call<{ workerId: string }>("POST", "/v1/enrolments/redeem", {
        token,
        name,
        publicKey: key.publicKey,
        signature: key.sign(enrolText(token)),
      });
      workers.push({ workerId, key });
    }
  };
  await Promise.all(Array.from({ length: SET_UP_CONNECTIONS_MAX }, enrolNext));
  return workers;
}

/** The figures of `GET /metrics` that bear no labels, by name. The event loop's lag is counted from one call to the next. */
export async function metrics(api: Api): Promise<ReadonlyMap<string, number>> {
  const lines = (await api.text("/metrics")).split("\n").map((line) => line.split(" "));
  return new Map(
    lines.flatMap(([name, value]) => (name === undefined || value === undefined ? [] : [[name, Number(value)]])),
  );
}
