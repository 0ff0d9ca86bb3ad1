// Images: looked up, pulled where that is allowed, and the numeric user they run as.
import type Docker from "dockerode";
import { imageKey, parseImageRef, type RegistryAuth } from "@qubix/shared/protocol";
import { type Engine, EngineError, isNotFound, LOOK_TIMEOUT_MS } from "./engine.ts";

/** No byte of progress for this long: the registry or the line is gone. */
const PULL_SILENCE_MS = 120_000;
/** A large image over a slow home line; longer is hopeless. */
const PULL_TOTAL_MS = 2 * 3_600_000;

export interface ImagePolicy {
  /** Images with the tag `local` that the owner allows. */
  readonly localImages: readonly string[];
  /** Registries images may be pulled from. */
  readonly registries: readonly string[];
}

/** Why an image is not to be had, and whose fault that is. */
export type ImageProblem = {
  readonly code: "image_not_found" | "image_pull_failed";
  readonly message: string;
};
export type ImageResult =
  | { readonly kind: "image"; readonly id: string; readonly user: string }
  | { readonly kind: "problem"; readonly problem: ImageProblem };

/** Finds the image on this machine, or pulls it. Tag `local` is never pulled, and runs only where the owner allows it by name. */
export async function ensureImage(
  engine: Engine,
  name: string,
  policy: ImagePolicy,
  auth?: RegistryAuth,
): Promise<ImageResult> {
  const ref = parseImageRef(name);
  if (ref === undefined) return problem("image_not_found", `"${name}" is not an image reference.`);
  if (ref.local && !allowsLocal(policy, name)) {
    return problem(
      "image_not_found",
      `The worker's owner does not allow the local image "${name}"; start the worker with --local-image ${name} to allow it.`,
    );
  }
  const present = await inspectImage(engine, name);
  if (present !== undefined) return present;
  if (ref.local) return problem("image_not_found", `The local image "${name}" is not on this worker.`);
  if (!policy.registries.includes(ref.registry)) {
    return problem(
      "image_pull_failed",
      `This worker does not pull from ${ref.registry}; its owner can allow it with --registry.`,
    );
  }
  const failed = await pullImage(engine, name, auth);
  if (failed !== undefined) return { kind: "problem", problem: failed };
  return (
    (await inspectImage(engine, name)) ??
    problem("image_pull_failed", `"${name}" was pulled, but the Engine does not show it.`)
  );
}

function allowsLocal(policy: ImagePolicy, name: string): boolean {
  const wanted = parseImageRef(name);
  if (wanted === undefined) return false;
  return policy.localImages.some((allowed) => {
    const ref = parseImageRef(allowed);
    return ref !== undefined && imageKey(ref) === imageKey(wanted);
  });
}

async function inspectImage(engine: Engine, name: string): Promise<ImageResult | undefined> {
  try {
    const info = await engine.call(`look at image ${name}`, LOOK_TIMEOUT_MS, () =>
      engine.docker.getImage(name).inspect(),
    );
    return { kind: "image", id: info.Id, user: info.Config?.User ?? "" };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function pullImage(engine: Engine, name: string, auth?: RegistryAuth): Promise<ImageProblem | undefined> {
  try {
    await engine.call(`pull ${name}`, PULL_TOTAL_MS, async (signal) => {
      const stream = await engine.docker.pull(name, {
        abortSignal: signal,
        ...(auth === undefined ? {} : { authconfig: auth }),
      });
      await followPull(engine.docker, stream);
    });
    return undefined;
  } catch (error) {
    return classifyPullFailure(name, error);
  }
}

/** A registry that says that there is no such image is the job's fault; anything else may go better elsewhere. */
export function classifyPullFailure(name: string, error: unknown): ImageProblem {
  const said = error instanceof Error ? error.message : String(error);
  const missing =
    isNotFound(error) ||
    /manifest unknown|manifest for .* not found|repository does not exist|pull access denied|name unknown|no such image/i.test(
      said,
    );
  return missing
    ? { code: "image_not_found", message: `No registry has the image "${name}": ${said}` }
    : { code: "image_pull_failed", message: `Could not pull "${name}": ${said}` };
}

function followPull(docker: Docker, stream: NodeJS.ReadableStream): Promise<void> {
  return new Promise((resolve, reject) => {
    const silence = setTimeout(() => {
      reject(new EngineError("docker_timeout", `no progress for ${PULL_SILENCE_MS / 1000} s`, 0));
      (stream as NodeJS.ReadableStream & { destroy?: () => void }).destroy?.();
    }, PULL_SILENCE_MS);
    docker.modem.followProgress(
      stream,
      (error: Error | null) => {
        clearTimeout(silence);
        if (error === null || error === undefined) resolve();
        else reject(error);
      },
      () => silence.refresh(),
    );
  });
}

function problem(code: ImageProblem["code"], message: string): ImageResult {
  return { kind: "problem", problem: { code, message } };
}
