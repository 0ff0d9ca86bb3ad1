// The end of a container, through whatever becomes of its Engine: told by it, or looked for.
import type { Readable } from "node:stream";
import { finished } from "node:stream/promises";
import type Docker from "dockerode";
import { type Engine, LOOK_TIMEOUT_MS } from "./engine.ts";
import { sleep } from "./waiting.ts";

interface View {
  readonly state: "created" | "running" | "exited";
  readonly exitCode: number | null;
}

export interface Ended {
  /** The Engine was out of reach for a time while the container ran, and most likely ended it. */
  readonly endedByEngine: boolean;
}

/** After this long without word of the end it is looked for, and the Engine is asked anew: one that hangs would never tell. */
const WAIT_MS_MAX = 60_000;
/** Pause before the Engine is asked again about a container it was in the middle of waiting for. */
const ENGINE_RETRY_MS = 1_000;

/** Resolves when the container has ended, through restarts of the Engine; undefined when it is gone. */
export async function untilEnded<V extends View>(
  engine: Engine,
  name: string,
  look: () => Promise<V | undefined>,
  signal: AbortSignal,
): Promise<(V & Ended) | undefined> {
  for (let engineLost = false; ; ) {
    signal.throwIfAborted();
    try {
      const told = await notRunning(engine.docker, name, signal);
      const view = await look();
      if (view === undefined) return undefined;
      if (view.state === "exited") {
        return { ...view, endedByEngine: engineLost && (await wasEndedByEngine(engine, view)) };
      }
      if (!told) continue;
    } catch (error) {
      signal.throwIfAborted();
      if ((error as { statusCode?: number }).statusCode === 404) return undefined;
      engineLost = true;
    }
    await sleep(ENGINE_RETRY_MS, signal);
  }
}

/**
 * Waits for the Engine's word. False when it was not heard in time; throws when the line to the Engine was cut. The answer is read as a stream:
 * dockerode's own `wait` never settles when the Engine goes away in the middle of it.
 */
async function notRunning(docker: Docker, name: string, signal: AbortSignal): Promise<boolean> {
  const enough = AbortSignal.timeout(WAIT_MS_MAX);
  try {
    const answer = await dialWait(docker, name, AbortSignal.any([signal, enough]));
    // Its content is the exit code, which is looked up with all the rest.
    await finished(answer.resume());
    return true;
  } catch (error) {
    if (signal.aborted || !enough.aborted) throw error;
    return false;
  }
}

function dialWait(docker: Docker, name: string, abortSignal: AbortSignal): Promise<Readable> {
  const request = {
    path: `/containers/${name}/wait?`,
    method: "POST",
    options: { condition: "not-running" },
    isStream: true,
    abortSignal,
    statusCodes: { 200: true, 400: "bad parameter", 404: "no such container", 500: "server error" },
  };
  return new Promise((resolve, reject) => {
    docker.modem.dial(request, (error: Error | null, answer: unknown) => {
      if (error === null) resolve(answer as Readable);
      else reject(error);
    });
  });
}

/**
 * Of a container that ended while its Engine was away. One that stops without `live-restore` takes its containers with it, and a job that obeys SIGTERM
 * ends with 0 then, as if it were done: better once more from its newest checkpoint than half a result.
 */
async function wasEndedByEngine(engine: Engine, { exitCode }: View): Promise<boolean> {
  if (exitCode !== 0) return true;
  const info = (await engine.call("tell about itself", LOOK_TIMEOUT_MS, () => engine.docker.info())) as {
    LiveRestoreEnabled?: boolean;
  };
  return info.LiveRestoreEnabled !== true;
}
