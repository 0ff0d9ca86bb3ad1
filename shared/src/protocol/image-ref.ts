// Image references, normalised as Docker does it, and the word on which are allowed.

/** `registry/repository:tag@digest`, all parts explicit. */
export interface ImageRef {
  readonly registry: string;
  readonly repository: string;
  readonly tag: string;
  readonly digest?: string;
  /** Tag `local`: never pulled. It runs only on workers whose owner allows it by name. */
  readonly local: boolean;
  /** What Docker is asked for. */
  readonly name: string;
}

/** Registries an image may come from unless the operator says otherwise. */
export const REGISTRIES_ALLOWED_DEFAULT: readonly string[] = [
  "docker.io",
  "ghcr.io",
  "quay.io",
  "nvcr.io",
  "registry.k8s.io",
  "mcr.microsoft.com",
  "public.ecr.aws",
  "gcr.io",
];

const LOCAL_TAG = "local";
const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const REFERENCE = new RegExp(
  `^(?:(?<registry>(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]{1,5})?|\\[[0-9a-fA-F:]+\\](?::[0-9]{1,5})?)/)?` +
    `(?<repository>${COMPONENT}(?:/${COMPONENT})*)(?::(?<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}))?$`,
);
const IMAGE_NAME_LENGTH_MAX = 255;

/** Parses an image reference, or returns `undefined` where Docker would not take it. Grammar: distribution/reference. */
export function parseImageRef(text: string): ImageRef | undefined {
  if (text.length > IMAGE_NAME_LENGTH_MAX) return undefined;
  // The first component is a registry only if it has a dot, a port, or is localhost; otherwise it belongs to the repository.
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  const named = /[.:[]/.test(first) || first === "localhost";
  const groups = REFERENCE.exec(named ? text : `docker.io/${text}`)?.groups;
  const registry = groups?.["registry"];
  const path = groups?.["repository"];
  if (registry === undefined || path === undefined) return undefined;
  const repository = registry === "docker.io" && !path.includes("/") ? `library/${path}` : path;
  const digest = groups?.["digest"];
  const tag = groups?.["tag"] ?? (digest === undefined ? "latest" : "");
  return {
    registry: registry.toLowerCase(),
    repository,
    tag,
    ...(digest === undefined ? {} : { digest }),
    local: tag === LOCAL_TAG,
    name: text,
  };
}

/** The upload that `upload:ID` names: an archive that `docker save` made. Undefined for what is no such name. */
export function uploadedImage(text: string): string | undefined {
  return /^upload:(?<id>[a-z]+-[a-z0-9-]{1,64})$/.exec(text)?.groups?.["id"];
}

/** Two references name the same image when this is equal. */
export function imageKey(ref: ImageRef): string {
  return `${ref.registry}/${ref.repository}:${ref.tag}${ref.digest === undefined ? "" : `@${ref.digest}`}`;
}
