// The few calls a guard makes to the Docker Engine, straight over its socket: each has a time-out of fractions of a second, and an answer that is a word.
import { request } from "node:http";

/** done: as asked. conflict: its state does not allow it (409, 304). missing: no such container. failed: no answer in time, or none that helps. */
export type Answer = "done" | "conflict" | "missing" | "failed";

export interface Look {
  readonly state: "created" | "running" | "paused" | "over" | "missing";
  /** Of its first process, in the machine's own numbering; 0 for none. */
  readonly pid: number;
}

export interface GuardEngine {
  pause(containerId: string): Promise<Answer>;
  unpause(containerId: string): Promise<Answer>;
  /** Kills and deletes it. */
  remove(containerId: string): Promise<Answer>;
  /** Undefined where the Engine does not say. */
  look(containerId: string): Promise<Look | undefined>;
}

/** A pause takes some ten milliseconds; what is not done by then is done without the Engine, within the margin of two seconds. */
const PAUSE_TIMEOUT_MS = 700;
const LOOK_TIMEOUT_MS = 700;
const CHANGE_TIMEOUT_MS = 5_000;
const BODY_BYTES_MAX = 1024 * 1024;

export function createGuardEngine(socketPath: string): GuardEngine {
  const at = (id: string, what: string) => `/containers/${encodeURIComponent(id)}${what}`;
  const change = async (method: string, path: string, timeoutMs: number): Promise<Answer> =>
    answerOf((await call(socketPath, method, path, timeoutMs))?.status);
  return {
    pause: (id) => change("POST", at(id, "/pause"), PAUSE_TIMEOUT_MS),
    unpause: (id) => change("POST", at(id, "/unpause"), CHANGE_TIMEOUT_MS),
    remove: (id) => change("DELETE", at(id, "?force=true"), CHANGE_TIMEOUT_MS),
    async look(id) {
      const answer = await call(socketPath, "GET", at(id, "/json"), LOOK_TIMEOUT_MS);
      if (answer?.status === 404) return { state: "missing", pid: 0 };
      return answer?.status === 200 ? lookOf(answer.body) : undefined;
    },
  };
}

function answerOf(status: number | undefined): Answer {
  if (status === undefined) return "failed";
  if (status >= 200 && status < 300) return "done";
  if (status === 404) return "missing";
  return status === 409 || status === 304 ? "conflict" : "failed";
}

function lookOf(body: string): Look | undefined {
  try {
    const { State: state } = JSON.parse(body) as {
      State: { Status: string; Running: boolean; Paused: boolean; Pid: number };
    };
    const { Pid: pid } = state;
    if (state.Paused) return { state: "paused", pid };
    if (state.Running) return { state: "running", pid };
    return { state: state.Status === "created" ? "created" : "over", pid };
  } catch {
    return undefined;
  }
}

/** Undefined when there is no answer in time. */
function call(
  socketPath: string,
  method: string,
  path: string,
  timeoutMs: number,
): Promise<{ readonly status: number; readonly body: string } | undefined> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, method, path, agent: false, headers: { host: "docker" } });
    const give = (answer: { readonly status: number; readonly body: string } | undefined) => {
      clearTimeout(timer);
      asked.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => give(undefined), timeoutMs);
    asked.on("error", () => give(undefined));
    asked.on("response", (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        body += part;
        if (body.length > BODY_BYTES_MAX) give(undefined);
      });
      response.on("error", () => give(undefined));
      response.on("end", () => give({ status: response.statusCode ?? 0, body }));
    });
    asked.end();
  });
}
