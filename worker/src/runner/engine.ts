// The Docker Engine, with a time-out on every call: a daemon that hangs must become an error that says so, never an agent that waits for ever.
// oxlint-disable-next-line import/no-unassigned-import -- it is imported for what it does, before dockerode is loaded
import "./lean-dockerode.ts";
import Docker from "dockerode";
import { QubixError } from "@qubix/shared/runtime";

// Imported the usual way, this module brings `fetch` and its 3 MB of memory along, which a running agent never uses.
const { Agent } = process.getBuiltinModule("node:http");

/** Looking something up. */
export const LOOK_TIMEOUT_MS = 30_000;
/** Creating, starting, killing, removing: a busy disk makes these take tens of seconds. */
export const CHANGE_TIMEOUT_MS = 120_000;

/** What the Engine said, when it said no. */
export class EngineError extends QubixError {
  /** HTTP status of the answer; 0 when there was none. */
  readonly statusCode: number;

  constructor(code: string, message: string, statusCode: number, cause?: unknown) {
    super(code, message, { category: code === "docker_timeout" ? "timeout" : "provider", cause, retryable: true });
    this.statusCode = statusCode;
  }
}

export interface Engine {
  readonly docker: Docker;
  /** Runs one call with a time-out. Throws {@link EngineError} `docker_error`, `docker_timeout` or `docker_unreachable`. */
  call<T>(what: string, timeoutMs: number, run: (signal: AbortSignal) => Promise<T>): Promise<T>;
}

/** Nothing is contacted yet. `socketPath` wins over DOCKER_HOST: the owner named it. */
export function createEngine(socketPath: string): Engine {
  // A fresh connection per call costs little on a Unix socket, and cannot be one that a restarted daemon has forgotten.
  const options = { socketPath, host: undefined, timeout: 0, agent: new Agent({ keepAlive: false }) };
  const docker = new Docker(options);
  return { docker, call: (what, timeoutMs, run) => callEngine(socketPath, what, timeoutMs, run) };
}

async function callEngine<T>(
  socketPath: string,
  what: string,
  timeoutMs: number,
  run: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(
        new EngineError(
          "docker_timeout",
          `The Docker Engine did not answer within ${Math.round(timeoutMs / 1000)} s (${what}). Look at its log; restart it if it hangs.`,
          0,
        ),
      );
      abort.abort();
    }, timeoutMs);
  });
  try {
    return await Promise.race([run(abort.signal), timeout]);
  } catch (cause) {
    throw toEngineError(socketPath, what, cause);
  } finally {
    clearTimeout(timer);
  }
}

function toEngineError(socketPath: string, what: string, cause: unknown): EngineError {
  if (cause instanceof EngineError) return cause;
  const error = cause as { statusCode?: number; code?: string; message?: string; json?: { message?: string } };
  if (error.code === "ENOENT" || error.code === "ECONNREFUSED" || error.code === "EACCES") {
    return new EngineError(
      "docker_unreachable",
      `Cannot reach the Docker Engine at ${socketPath} (${error.code}). Start it, or name its socket with --docker-socket; the user who runs the worker must be allowed to use it.`,
      0,
      cause,
    );
  }
  const said = error.json?.message ?? error.message ?? String(cause);
  return new EngineError("docker_error", `Docker could not ${what}: ${said.trim()}`, error.statusCode ?? 0, cause);
}

/** True for an answer that says that the thing is not there. */
export function isNotFound(error: unknown): boolean {
  return error instanceof EngineError && error.statusCode === 404;
}
