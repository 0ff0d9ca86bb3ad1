// What an image would add to its containers by itself, looked up so that it can be taken away again.
import { posix } from "node:path";
import type { ContainerProblem } from "./container-problem.ts";
import { type Engine, isNotFound, LOOK_TIMEOUT_MS } from "./engine.ts";
import type { ImageFacts } from "./host-config.ts";

/** Real images declare one or two; each costs a mount. */
const VOLUMES_MAX = 32;

/** Looks at the image `name`. A problem where it is gone, or asks for more volumes than anybody needs. */
export async function lookAtImage(engine: Engine, name: string): Promise<ImageFacts | ContainerProblem> {
  try {
    const info = await engine.call(`look at image ${name}`, LOOK_TIMEOUT_MS, () =>
      engine.docker.getImage(name).inspect(),
    );
    return imageFacts(info);
  } catch (error) {
    if (isNotFound(error)) return { kind: "problem", code: "docker_error", message: `The image ${name} is gone.` };
    throw error;
  }
}

interface ImageInfo {
  readonly Id: string;
  readonly Config?: {
    readonly Env?: readonly string[] | null;
    readonly Volumes?: Readonly<Record<string, unknown>> | null;
    readonly Labels?: Readonly<Record<string, unknown>> | null;
  } | null;
}

export function imageFacts(info: ImageInfo): ImageFacts | ContainerProblem {
  const volumes = [...new Set(Object.keys(info.Config?.Volumes ?? {}).map(plainPath))];
  if (volumes.length > VOLUMES_MAX) {
    const message = `The image declares ${volumes.length} volumes; at most ${VOLUMES_MAX} are possible.`;
    return { kind: "problem", code: "start_failed", message };
  }
  return {
    id: info.Id,
    env: info.Config?.Env ?? [],
    volumes,
    labels: Object.keys(info.Config?.Labels ?? {}),
  };
}

/** As the Engine compares them. */
function plainPath(path: string): string {
  const normal = posix.normalize(path);
  return normal.length > 1 ? normal.replace(/\/$/, "") : normal;
}
