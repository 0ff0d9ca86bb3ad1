// Which registries the Docker Engine may be sent to: those on the owner's list, and of these only where every address their names stand for is public,
// unless the owner allows a private one by name.
//
// What this leaves open: the Engine resolves the names again by itself, a moment later. Whoever controls the name of an allowed registry can answer
// differently then (DNS rebinding). The list of allowed registries is what stands against that: a consumer cannot add a name of his own. And a service
// inside that is reached in this way sees a TLS handshake for the registry's name, which it has no certificate for, never a request; only for
// addresses in 127.0.0.0/8 does the Engine fall back to plain HTTP. The names are asked again after the pull, so that such an answer is noticed.
// A registry may also redirect the Engine to another host for layers or tokens: that is trusted with the registry.
import { lookup } from "node:dns/promises";
import { addressLiteral, refusedAddress } from "./addresses.ts";
import type { ImageProblem } from "./problem.ts";

export interface RegistryRules {
  /** Registries images may be pulled from. */
  readonly registries: readonly string[];
  /** `HOST` or `HOST:PORT`: registries images may be pulled from wherever they lie. */
  readonly privateRegistries: readonly string[];
}

/** All addresses a name stands for, as the Engine's own resolver would find them. */
export type Resolver = (host: string) => Promise<readonly string[]>;

/** Resolvers answer within seconds, or not at all. */
const RESOLVE_TIMEOUT_MS = 15_000;
/** Docker Hub's name is not where its images are; the second gives out tokens. */
const HUB_HOSTS: readonly string[] = ["registry-1.docker.io", "auth.docker.io"];

export async function systemResolver(host: string): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("the name was not resolved in time")), RESOLVE_TIMEOUT_MS);
  });
  try {
    const found = await Promise.race([lookup(host, { all: true }), timeout]);
    return found.map(({ address }) => address);
  } finally {
    clearTimeout(timer);
  }
}

/** Why this worker's Engine is not sent to the registry (as {@link parseImageRef} gives it) now; undefined when it may be. */
export async function registryProblem(
  registry: string,
  rules: RegistryRules,
  resolve: Resolver,
): Promise<ImageProblem | undefined> {
  if (rules.privateRegistries.includes(registry)) return undefined;
  if (!rules.registries.includes(registry)) {
    return problem(`This worker does not pull from ${registry}; its owner can allow it with --registry.`);
  }
  for (const host of hostsOf(registry)) {
    const refused = await hostProblem(registry, host, resolve);
    if (refused !== undefined) return refused;
  }
  return undefined;
}

async function hostProblem(registry: string, host: string, resolve: Resolver): Promise<ImageProblem | undefined> {
  const literal = addressLiteral(host);
  if (literal !== undefined && literal !== host.replace(/^\[|\]$/g, "").toLowerCase()) {
    return problem(`The registry ${registry} is an IP address in an odd form; write ${literal}.`);
  }
  let addresses: readonly string[];
  try {
    addresses = literal === undefined ? await resolve(host) : [literal];
  } catch (error) {
    return problem(`The name ${host} of the registry cannot be resolved on this worker: ${messageOf(error)}.`);
  }
  if (addresses.length === 0) return problem(`The name ${host} of the registry has no address.`);
  for (const address of addresses) {
    const why = refusedAddress(address);
    if (why === undefined) continue;
    return problem(
      `The registry ${registry} is not contacted: ${host} stands for ${address}, ${why}. The worker's owner can allow it with --allow-private-registry ${registry}.`,
    );
  }
  return undefined;
}

/** Without the port. */
function hostsOf(registry: string): readonly string[] {
  return registry === "docker.io" ? HUB_HOSTS : [registry.replace(/:[0-9]+$/, "")];
}

function problem(message: string): ImageProblem {
  return { code: "image_pull_failed", message };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
