// Asking a registry through the Engine: what a reference stands for, and the image itself. Credentials go to the Engine with the call, and nowhere else.
import type { Readable } from "node:stream";
import type { RegistryAuth } from "@qubix/shared/protocol";
import { type Engine, EngineError, isNotFound, LOOK_TIMEOUT_MS } from "../engine.ts";
import { sleep } from "../waiting.ts";
import { readEngineStream } from "./engine-stream.ts";
import { ImageFailure } from "./problem.ts";
import { createPullProgress, type PullProgress } from "./pull-progress.ts";

export interface PullTiming {
  /** No byte of progress for this long: the registry or the line is gone. */
  readonly silenceMs: number;
  /** Pauses before each further try after a fault of the network; as many as there are. */
  readonly retriesMs: readonly number[];
}

/** A large image over a slow home line; longer is hopeless. */
const PULL_TOTAL_MS = 2 * 3_600_000;
/** The retries span half a minute: a registry that restarts or a line that is dialled anew is back by then, a longer fault is for another worker. */
export const PULL_TIMING: PullTiming = { silenceMs: 120_000, retriesMs: [1_000, 3_000, 8_000, 20_000] };
/** Progress is for people. */
const PROGRESS_EVERY_MS = 500;

/** The digest that a reference stands for now. Who is answered has access. Throws {@link ImageFailure}, or when `signal` is raised. */
export async function askDigest(
  engine: Engine,
  name: string,
  auth: RegistryAuth | undefined,
  timing: PullTiming,
  signal: AbortSignal,
): Promise<string> {
  const answer = await retrying(name, timing, signal, () =>
    engine.call(`ask the registry for ${name}`, LOOK_TIMEOUT_MS, () =>
      engine.docker.getImage(name).distribution(auth === undefined ? {} : { authconfig: authOf(name, auth) }),
    ),
  );
  const { digest } = (answer as { Descriptor?: { digest?: string } }).Descriptor ?? {};
  if (digest !== undefined && /^sha256:[0-9a-f]{64}$/.test(digest)) return digest;
  throw new ImageFailure("image_pull_failed", `The registry names no digest for "${name}".`);
}

/**
 * Pulls `name` (with its digest). `watch` is called with the progress a few times a second and may end the pull by throwing.
 * Throws {@link ImageFailure}, what `watch` throws, or when `signal` is raised.
 */
export async function pullImage(
  engine: Engine,
  name: string,
  options: {
    readonly auth: RegistryAuth | undefined;
    readonly timing: PullTiming;
    readonly signal: AbortSignal;
    watch(progress: PullProgress): void;
  },
): Promise<void> {
  const { auth, timing, signal } = options;
  await retrying(name, timing, signal, () =>
    engine.call(`pull ${name}`, PULL_TOTAL_MS, async (timeout) => {
      const ended = new AbortController();
      const abort = () => ended.abort();
      for (const cause of [signal, timeout]) cause.addEventListener("abort", abort, { once: true });
      try {
        const stream = await engine.docker.createImage(auth === undefined ? undefined : authOf(name, auth), {
          fromImage: name,
          abortSignal: ended.signal,
        });
        const progress = createPullProgress();
        let toldAtMs = Number.NEGATIVE_INFINITY;
        await readEngineStream(stream as Readable, timing.silenceMs, (event) => {
          progress.note(event);
          if (performance.now() - toldAtMs < PROGRESS_EVERY_MS) return;
          toldAtMs = performance.now();
          options.watch(progress);
        });
      } finally {
        for (const cause of [signal, timeout]) cause.removeEventListener("abort", abort);
        // The Engine gives a pull up when nobody listens any more.
        ended.abort();
      }
    }),
  );
}

async function retrying<T>(name: string, timing: PullTiming, signal: AbortSignal, ask: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    signal.throwIfAborted();
    try {
      return await ask();
    } catch (error) {
      signal.throwIfAborted();
      const cause = error instanceof EngineError && error.cause instanceof ImageFailure ? error.cause : error;
      if (cause instanceof ImageFailure) throw cause;
      const failure = pullFailure(name, error);
      const pauseMs = timing.retriesMs[tries];
      if (failure.problem.code !== "image_pull_failed" || pauseMs === undefined) throw failure;
      // Many machines may have lost the same registry: they do not come back at once.
      await sleep(pauseMs * (0.75 + Math.random() / 2), signal);
    }
  }
}

/** A registry that says that there is no such image, or not for these credentials, speaks of the job's own fault; anything else may go better elsewhere. */
export function pullFailure(name: string, error: unknown): ImageFailure {
  const said = error instanceof Error ? error.message : String(error);
  // Too many requests is "denied" for a while only.
  if (/toomanyrequests|too many requests|rate limit/i.test(said)) {
    return new ImageFailure("image_pull_failed", `The registry has had too many requests from this worker: ${said}`);
  }
  if (
    /unauthorized|authentication required|no basic auth|incorrect username|access denied|access to the resource is denied|denied:/i.test(
      said,
    )
  ) {
    return new ImageFailure(
      "image_not_found",
      `The registry does not give "${name}" to this job: it is private or not there. Give registryAuth where it is private (${said})`,
    );
  }
  if (
    isNotFound(error) ||
    /manifest unknown|manifest for .* not found|repository does not exist|name unknown|not found: manifest|no such image|no such manifest|no matching manifest/i.test(
      said,
    )
  ) {
    return new ImageFailure("image_not_found", `No registry has the image "${name}": ${said}`);
  }
  return new ImageFailure("image_pull_failed", `Could not pull "${name}": ${said}`);
}

function authOf(name: string, auth: RegistryAuth) {
  return { ...auth, serveraddress: name.slice(0, name.indexOf("/")) };
}
