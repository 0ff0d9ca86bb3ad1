// Images on this machine: looked at, and those with the tag `local`, which their owner allows by name and nobody pulls.
import { imageKey, parseImageRef } from "@qubix/shared/protocol";
import { type Engine, isNotFound, LOOK_TIMEOUT_MS } from "../engine.ts";

export interface LookedAt {
  readonly id: string;
  /** Its `USER`. */
  readonly user: string;
  /** References with digests under which it was pulled: `repository@sha256:…`, as the Engine writes them. */
  readonly digests: readonly string[];
  readonly bytes: number;
}

/** Undefined where the Engine has none of that name or id. */
export async function lookAtImage(engine: Engine, name: string): Promise<LookedAt | undefined> {
  try {
    const info = await engine.call(`look at image ${name}`, LOOK_TIMEOUT_MS, () =>
      engine.docker.getImage(name).inspect(),
    );
    return {
      id: info.Id,
      user: info.Config?.User ?? "",
      digests: info.RepoDigests ?? [],
      bytes: info.Size,
    };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

export function allowsLocal(localImages: readonly string[], name: string): boolean {
  const wanted = parseImageRef(name);
  if (wanted === undefined) return false;
  return localImages.some((allowed) => {
    const ref = parseImageRef(allowed);
    return ref !== undefined && imageKey(ref) === imageKey(wanted);
  });
}
