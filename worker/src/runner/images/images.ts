// The images of this machine's jobs: looked for, pulled or loaded, checked to be what was named, kept within a budget.
//
// Who may run what: an image that is here already may have come with somebody's credentials, or be its owner's own. So it is run only by those to
// whom its registry gives it: the registry is asked, unless it once said so to somebody without credentials.
import { createHash } from "node:crypto";
import { type ImageRef, parseImageRef, type RegistryAuth, type RunSpec, uploadedImage } from "@qubix/shared/protocol";
import type { Logger } from "@qubix/shared/runtime";
import { removeTree } from "../../checkpoint/remove.ts";
import type { ChunkSource } from "../../checkpoint/unpack.ts";
import type { SlotId } from "../../core/index.ts";
import type { Engine } from "../engine.ts";
import { createJoined, type Shared } from "./joined.ts";
import { isOwn, type LedgerStore, openLedger } from "./ledger.ts";
import { allowsLocal, lookAtImage, type LookedAt } from "./local.ts";
import { ImageFailure, type ImageProblem } from "./problem.ts";
import { askDigest, PULL_TIMING, pullImage, type PullTiming } from "./pull.ts";
import { type RegistryRules, registryProblem, type Resolver, systemResolver } from "./registry.ts";
import { createRoom, type RoomConfig } from "./room.ts";
import { fetchUpload } from "./upload.ts";
import type { Threads } from "../../checkpoint/encode/threads.ts";

export interface ImagesPorts {
  readonly engine: Engine;
  readonly logger: Logger;
  readonly ledger: LedgerStore;
  /** Those that read pieces of an uploaded image. */
  readonly threads: Threads;
}

export interface ImagesConfig extends RegistryRules {
  /** Images with the tag `local` that the owner allows. */
  readonly localImages: readonly string[];
  readonly room: RoomConfig;
  /** For archives on their way to the Engine. */
  readonly dir: string;
  readonly timing?: PullTiming;
  readonly resolver?: Resolver;
}

export interface ImageRequest {
  /** The image is kept for this slot until {@link Images.release}. */
  readonly slotId: SlotId;
  readonly run: Pick<RunSpec, "image" | "imageDigest" | "imageTree">;
  readonly auth: RegistryAuth | undefined;
  /** Where the chunks of an uploaded image come from. */
  readonly chunks: ChunkSource;
  readonly signal: AbortSignal;
  /** A few words for people. */
  progress(text: string): void;
}

export interface FoundImage {
  readonly kind: "image";
  /** The Engine's id: it names this image and no other, whatever becomes of tags. */
  readonly id: string;
  /** Its `USER`. */
  readonly user: string;
  /** What the reference resolved to (`sha256:…`); null for local and uploaded images. */
  readonly digest: string | null;
}
export type ImageResult = FoundImage | { readonly kind: "problem"; readonly problem: ImageProblem };

export interface Images {
  /** Brings the image to the Engine if it is not there, and keeps it there for the slot. Rejects when `signal` is raised or the Engine fails. */
  ensure(request: ImageRequest): Promise<ImageResult>;
  /** The slot is gone. */
  release(slotId: SlotId): void;
  /** At the start: deletes archives that were on their way when the agent died. */
  clear(): Promise<void>;
}

/** How long it is taken for granted that a tag has not moved: a burst of jobs asks its registry once. */
const TAG_TTL_MS = 60_000;
const TAGS_KEPT_MAX = 1_000;
/** How often a pull looks at the disk. */
const DISK_LOOK_MS = 2_000;

export function createImages(ports: ImagesPorts, config: ImagesConfig): Images {
  const { engine, logger } = ports;
  const timing = config.timing ?? PULL_TIMING;
  const resolver = config.resolver ?? systemResolver;
  const ledger = openLedger(ports.ledger);
  const held = new Map<SlotId, string>();
  const tags = new Map<string, { readonly digest: string; readonly untilMs: number }>();
  const underWay = new Set<string>();
  const room = createRoom(
    { engine, ledger, logger, inUse: () => new Set(held.values()), underWay: () => underWay },
    config.room,
  );
  const asking = createJoined<ImageRequest, string>();
  const pulling = createJoined<ImageRequest, LookedAt>();
  const loading = createJoined<ImageRequest, LookedAt>();

  async function find(request: ImageRequest): Promise<FoundImage> {
    const { image, imageTree } = request.run;
    if (imageTree !== undefined || uploadedImage(image) !== undefined) return await findUploaded(request);
    const ref = parseImageRef(image);
    if (ref === undefined) throw new ImageFailure("image_not_found", `"${image}" is not an image reference.`);
    return ref.local ? await findLocal(ref, request) : await findRemote(ref, request);
  }

  async function findLocal(ref: ImageRef, { run: { image }, slotId }: ImageRequest): Promise<FoundImage> {
    if (!allowsLocal(config.localImages, image)) {
      throw new ImageFailure(
        "image_not_found",
        `The worker's owner does not allow the local image "${image}"; start the worker with --local-image ${image} to allow it.`,
      );
    }
    // Spelt out: a short name might be taken for the id of another image.
    const found = await lookAtImage(engine, `${ref.registry}/${ref.repository}:${ref.tag}`);
    if (found === undefined) {
      throw new ImageFailure("image_not_found", `The local image "${image}" is not on this worker.`);
    }
    return keep(slotId, found, null);
  }

  // ── From a registry ──

  async function findRemote(ref: ImageRef, request: ImageRequest): Promise<FoundImage> {
    const repository = `${ref.registry}/${ref.repository}`;
    const named = ref.digest ?? request.run.imageDigest;
    if (named !== undefined) {
      const present = await lookAt(`${repository}@${named}`, request);
      if (present !== undefined && ledger.get(present.id)?.open === true) return use(request, present, named);
    }
    const gate = createGate(ref.registry);
    await gate.check();
    const tagged = `${repository}:${ref.tag}`;
    const digest = named ?? (await digestOfTag(tagged, request));
    const name = `${repository}@${digest}`;
    const present = await lookAt(name, request);
    const isProven = named === undefined || present === undefined || ledger.get(present.id)?.open === true;
    // The registry answers only who has access.
    if (!isProven) await askRegistry(name, request);
    const found =
      present ?? (await pulling.run(accessKey(name, request.auth), request, (shared) => pull(name, shared)));
    // Asked again, the names may stand for other addresses: then the Engine may have been elsewhere.
    await gate.check();
    if (!found.digests.some((one) => one.endsWith(`@${digest}`))) {
      throw new ImageFailure("image_pull_failed", `The Engine shows "${name}" under another digest.`);
    }
    note(found, request, { tag: named === undefined ? tagged : null });
    return keep(request.slotId, found, digest);
  }

  /** Asked a second time, a resolver that fails says nothing new. */
  function createGate(registry: string): { check(): Promise<void> } {
    const before = new Map<string, readonly string[]>();
    const resolve = async (host: string) => {
      try {
        const addresses = await resolver(host);
        before.set(host, addresses);
        return addresses;
      } catch (error) {
        const known = before.get(host);
        if (known === undefined) throw error;
        return known;
      }
    };
    return {
      async check() {
        const refused = await registryProblem(registry, config, resolve);
        if (refused !== undefined) throw new ImageFailure(refused.code, refused.message);
      },
    };
  }

  /** What is here stays here from now on, for the slot's sake. */
  async function lookAt(name: string, { slotId }: ImageRequest): Promise<LookedAt | undefined> {
    const found = await lookAtImage(engine, name);
    if (found !== undefined) held.set(slotId, found.id);
    return found;
  }

  async function digestOfTag(tagged: string, request: ImageRequest): Promise<string> {
    const known = tags.get(tagged);
    const isAnonymous = request.auth === undefined;
    if (isAnonymous && known !== undefined && known.untilMs > performance.now()) return known.digest;
    try {
      const digest = await askRegistry(tagged, request);
      if (isAnonymous) remember(tagged, digest);
      return digest;
    } catch (error) {
      const last = isAnonymous && isUnreachable(error) ? await lastOfTag(tagged) : undefined;
      if (last === undefined) throw error;
      logger.warn({ event: "registry_unreachable", tag: tagged, digest: last }, "running what the tag last stood for");
      return last;
    }
  }

  function askRegistry(name: string, request: ImageRequest): Promise<string> {
    return asking.run(accessKey(name, request.auth), request, ({ signal }) =>
      askDigest(engine, name, request.auth, timing, signal),
    );
  }

  function remember(tagged: string, digest: string): void {
    tags.delete(tagged);
    tags.set(tagged, { digest, untilMs: performance.now() + TAG_TTL_MS });
    for (const oldest of tags.keys()) {
      if (tags.size <= TAGS_KEPT_MAX) break;
      tags.delete(oldest);
    }
  }

  /** Of an image that anybody may run, and that is here. */
  async function lastOfTag(tagged: string): Promise<string | undefined> {
    const known = ledger.all().find((image) => image.open && image.tags.includes(tagged));
    const present = known === undefined ? undefined : await lookAtImage(engine, known.id);
    const repository = tagged.slice(0, tagged.lastIndexOf(":"));
    return present?.digests.find((one) => spelt(one).startsWith(`${repository}@`))?.replace(/^.*@/, "");
  }

  async function pull(name: string, shared: Shared<ImageRequest>): Promise<LookedAt> {
    const [first] = shared.waiters;
    const stop = new AbortController();
    const signal = AbortSignal.any([shared.signal, stop.signal]);
    let failure: ImageFailure | null = null;
    const giveUp = (error: unknown) => {
      if (error instanceof ImageFailure) failure ??= error;
      if (failure !== null) stop.abort();
    };
    let expected = 0;
    let making = Promise.resolve();
    await room.make(0, `"${name}"`);
    // Jobs and other programs fill the disk meanwhile.
    const watch = setInterval(() => void room.checkDisk(`"${name}"`).catch(giveUp), DISK_LOOK_MS);
    try {
      shared.progress("pulling the image");
      return await bringing(name, null, async () => {
        await pullImage(engine, name, {
          auth: first?.auth,
          timing,
          signal,
          watch(progress) {
            shared.progress(progress.text());
            // Unpacked, an image takes at least as much as it does compressed.
            const bytes = progress.bytesTotal();
            if (bytes <= expected) return;
            expected = bytes;
            const here = progress.bytesHere();
            making = making.then(() => room.make(bytes, `"${name}"`, here)).catch(giveUp);
          },
        });
        await making;
        if (failure !== null) throw failure;
        const found = await lookAtImage(engine, name);
        if (found !== undefined) return found;
        throw new ImageFailure("image_pull_failed", `"${name}" was pulled, but the Engine does not show it.`);
      });
    } catch (error) {
      throw shared.signal.aborted ? error : (failure ?? error);
    } finally {
      clearInterval(watch);
    }
  }

  /** Whatever happens in between, what comes to the Engine in this way is known to be ours. */
  async function bringing(name: string, tree: string | null, bring: () => Promise<LookedAt>): Promise<LookedAt> {
    ledger.expect({ name, tree, sinceMs: Date.now() });
    underWay.add(name);
    try {
      const found = await bring();
      await fitIn(found, name, tree);
      return found;
    } catch (error) {
      underWay.delete(name);
      // It may be here, whole; then there has to be room for it, or it goes.
      await room.make(0, `"${name}"`).catch(() => undefined);
      throw error;
    } finally {
      underWay.delete(name);
    }
  }

  /** Only now its size is known. What does not fit beside what is in use goes again. */
  async function fitIn(found: LookedAt, name: string, tree: string | null): Promise<void> {
    const known = ledger.get(found.id);
    const isNew = known === undefined || !isOwn(known);
    if (isNew) await room.make(found.bytes, tree === null ? `"${name}"` : "The uploaded image");
    const names = tree === null ? [...new Set([...(known?.names ?? []), name])] : (known?.names ?? []);
    const { open = false, tags = [] } = known ?? {};
    ledger.put({
      id: found.id,
      names,
      tree: tree ?? known?.tree ?? null,
      open,
      tags,
      bytes: found.bytes,
      usedAtMs: Date.now(),
    });
    ledger.settle(name);
  }

  // ── From an upload ──

  async function findUploaded(request: ImageRequest): Promise<FoundImage> {
    const tree = request.run.imageTree?.manifestCid;
    if (tree === undefined) {
      throw new ImageFailure("image_pull_failed", "The orchestrator did not say where the uploaded image is.");
    }
    const known = ledger.all().find((image) => image.tree === tree);
    const present = known === undefined ? undefined : await lookAt(known.id, request);
    const load = async (shared: Shared<ImageRequest>) => {
      const upload = await fetchUpload(tree, shared, room, { ...config, threads: ports.threads });
      try {
        return await bringing(upload.id, tree, () => upload.load(engine, shared.signal));
      } finally {
        await upload.remove();
      }
    };
    const found = present ?? (await loading.run(tree, request, load));
    note(found, request, { tag: null, tree });
    return keep(request.slotId, found, null);
  }

  // ── What is known of images, and kept for slots ──

  function use(request: ImageRequest, found: LookedAt, digest: string): FoundImage {
    note(found, request, { tag: null });
    return keep(request.slotId, found, digest);
  }

  function note(
    found: LookedAt,
    request: ImageRequest,
    { tag, tree = null }: { readonly tag: string | null; readonly tree?: string | null },
  ): void {
    const before = ledger.get(found.id);
    ledger.put({
      id: found.id,
      names: before?.names ?? [],
      tree: tree ?? before?.tree ?? null,
      // An upload is its consumer's alone; who gave no credentials was let in as anybody is.
      open: before?.open === true || (tree === null && request.auth === undefined),
      tags: [...new Set([...(before?.tags ?? []), ...(tag === null ? [] : [tag])])],
      bytes: found.bytes,
      usedAtMs: Date.now(),
    });
  }

  function keep(slotId: SlotId, { id, user }: LookedAt, digest: string | null): FoundImage {
    held.set(slotId, id);
    return { kind: "image", id, user, digest };
  }

  return {
    async ensure(request) {
      try {
        return await find(request);
      } catch (error) {
        request.signal.throwIfAborted();
        if (error instanceof ImageFailure) return { kind: "problem", problem: error.problem };
        throw error;
      }
    },
    release: (slotId) => void held.delete(slotId),
    clear: () => removeTree(config.dir),
  };
}

/** Those with other credentials, or none, do not share in what these obtain. */
function accessKey(name: string, auth: RegistryAuth | undefined): string {
  const secret = auth === undefined ? "" : JSON.stringify([auth.username, auth.password]);
  return `${name} ${createHash("sha256").update(secret).digest("hex")}`;
}

/** The Engine leaves out what is Docker Hub's. */
function spelt(reference: string): string {
  const at = reference.indexOf("@");
  const ref = parseImageRef(reference.slice(0, at));
  return ref === undefined ? reference : `${ref.registry}/${ref.repository}${reference.slice(at)}`;
}

function isUnreachable(error: unknown): boolean {
  return error instanceof ImageFailure && error.problem.code === "image_pull_failed";
}
