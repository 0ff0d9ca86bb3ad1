import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "@qubix/shared/runtime";
import { createEngine } from "../engine.ts";
import { createMemoryChunks, createMemoryLedger, DOCKER_SOCKET, imagesConfig } from "../testing.ts";
import { createImages, type ImageRequest, type Images, type ImagesConfig } from "./images.ts";
import { hasRegistry, idOf, makeImage, PASSWORD, startRegistry, type TestRegistry, USER } from "./testing.ts";
import { createThreads } from "../../checkpoint/encode/threads.ts";

// A real registry and the real Docker Engine; every image is made for its test, and removed.
const threads = createThreads();
const MB = 1_000_000;
/** Of room in the tests of the budget. */
const UNIT = 100_000;
const engine = createEngine(DOCKER_SOCKET);
const AUTH = { username: USER, password: PASSWORD };
const FAST = { silenceMs: 10_000, retriesMs: [10, 10, 10] };
const logger = createLogger("test", "silent");
const made = new Set<string>();
let registry: TestRegistry;
let secured: TestRegistry;
let dir = "";
let ledger = createMemoryLedger();
let number = 0;

beforeAll(async () => {
  if (!hasRegistry) throw new Error("these tests need a registry: apt-get install docker-registry");
  [registry, secured] = await Promise.all([startRegistry(), startRegistry({ withAuth: true })]);
});
afterAll(() => Promise.all([registry.stop(), secured.stop()]));
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-images-"));
  ledger = createMemoryLedger();
});
afterEach(async () => {
  for (const one of [registry, secured]) {
    one.intercept = null;
    one.tamper = null;
    one.requests.length = 0;
  }
  for (const id of made)
    await engine.docker
      .getImage(id)
      .remove({ force: true })
      .catch(() => undefined);
  made.clear();
  await rm(dir, { recursive: true, force: true });
});

function imagesOf(patch: Partial<ImagesConfig> = {}): Images {
  const config = imagesConfig(dir, { privateRegistries: [registry.host, secured.host], timing: FAST, ...patch });
  return createImages({ engine, logger, ledger, threads }, config);
}

/** A repository of its own, so that no test meets another's. */
async function push(on = registry, bytes?: number, repository = `test/i${(number += 1)}`) {
  const image = await makeImage(bytes === undefined ? {} : { bytes });
  const digest = await on.put(image, repository, "1");
  made.add(idOf(image));
  return { id: idOf(image), digest, repository, name: `${on.host}/${repository}:1` };
}

interface Asked extends Partial<Omit<ImageRequest, "run">> {
  readonly imageDigest?: string;
}

function ensure(images: Images, image: string, asked: Asked = {}) {
  const { imageDigest, ...rest } = asked;
  return images.ensure({
    slotId: "slot",
    run: { image, ...(imageDigest === undefined ? {} : { imageDigest }) },
    auth: undefined,
    chunks: createMemoryChunks(),
    signal: new AbortController().signal,
    progress: () => undefined,
    ...rest,
  });
}

async function isHere(id: string): Promise<boolean> {
  return engine.docker
    .getImage(id)
    .inspect()
    .then(
      () => true,
      () => false,
    );
}

const blobs = (of: TestRegistry) => of.requests.filter((line) => /GET .*\/blobs\//.test(line));
const problem = (code: string) => ({ kind: "problem", problem: { code } });

/** Holds the layers of this image back: a request for one is answered with nothing until they are let go, or the Engine hangs up. */
function stall(of: TestRegistry, { id }: { readonly id: string }) {
  let arrived = () => {};
  const first = new Promise<void>((resolve) => (arrived = resolve));
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  of.intercept = async (request, response) => {
    if (!/\/blobs\//.test(request.url ?? "") || request.url?.includes(id)) return false;
    arrived();
    await released;
    return response.destroyed;
  };
  return { first, release };
}

/** Sends the layers of this image a little at a time, without end. */
function trickle(of: TestRegistry, { id }: { readonly id: string }) {
  const held: ServerResponse[] = [];
  const closed: Promise<unknown>[] = [];
  let arrived = () => {};
  const first = new Promise<void>((resolve) => (arrived = resolve));
  of.intercept = (request, response) => {
    if (!/\/blobs\//.test(request.url ?? "") || request.url?.includes(id)) return false;
    response.writeHead(200, { "content-length": 100 * MB });
    // The Engine hangs up when the next bytes come.
    const more = setInterval(() => response.write(Buffer.alloc(10_000)), 20);
    held.push(response);
    closed.push(once(response, "close").then(() => clearInterval(more)));
    arrived();
    return true;
  };
  return { first, held, allClosed: () => Promise.all(closed) };
}

describe("an image of a registry", () => {
  it("is pulled, is what the registry says it is, and is not asked for again in a burst", async () => {
    const image = await push(registry, MB);
    const images = imagesOf();
    const told: string[] = [];
    const found = await ensure(images, image.name, { progress: (text) => told.push(text) });
    expect(found).toEqual({ kind: "image", id: image.id, user: "65534:65534", digest: image.digest });
    expect(told[0]).toBe("pulling the image");
    expect(told.every((text) => text.length <= 40)).toBe(true);
    const before = registry.requests.length;
    expect(await ensure(images, image.name)).toEqual(found);
    expect(await ensure(images, image.name, { imageDigest: image.digest })).toEqual(found);
    expect(registry.requests.length).toBe(before);
  });

  it("takes no name away from another: tags on the machine stay as they are", async () => {
    const image = await push();
    await ensure(imagesOf(), image.name);
    expect((await engine.docker.getImage(image.id).inspect()).RepoTags).toEqual([]);
  });

  it("tells how far it is", async () => {
    // Large enough to be told of on any machine: the first word comes after half a second.
    const image = await push(registry, 64 * MB);
    const told: string[] = [];
    await ensure(imagesOf(), image.name, { progress: (text) => told.push(text) });
    expect(told.join("\n")).toMatch(/^(pulling \d+% \([\d.]+ of 64 MB\)|unpacking the image \d+%)$/m);
  });

  it.each(["no/such:1", "library/tiny@sha256:0000000000000000000000000000000000000000000000000000000000000000"])(
    "that is not there is the job's own fault: %s",
    async (name) => {
      expect(await ensure(imagesOf(), `${registry.host}/${name}`)).toMatchObject(problem("image_not_found"));
    },
  );

  it("is not looked for where the owner does not allow it, though he lists the registry", async () => {
    const image = await push();
    registry.requests.length = 0;
    const listed = imagesOf({ privateRegistries: [], registries: [registry.host] });
    const refused = await ensure(listed, image.name);
    expect(refused).toMatchObject(problem("image_pull_failed"));
    expect(JSON.stringify(refused)).toContain(`--allow-private-registry ${registry.host}`);
    expect(await ensure(imagesOf({ privateRegistries: [] }), image.name)).toMatchObject(problem("image_pull_failed"));
    expect(registry.requests).toEqual([]);
  });

  it("is not run where its registry's name has moved inside while it was pulled", async () => {
    const image = await push();
    const registries = [registry.host.replace("127.0.0.1", "localhost")];
    let asked = 0;
    const resolver = async () => ((asked += 1) === 1 ? ["93.184.216.34"] : ["127.0.0.1"]);
    const moved = imagesOf({ privateRegistries: [], registries, resolver });
    const refused = await ensure(moved, image.name.replace("127.0.0.1", "localhost"));
    expect(refused).toMatchObject(problem("image_pull_failed"));
    expect(JSON.stringify(refused)).toContain("stands for 127.0.0.1");
  });

  it("is found by no part of an id, nor by a name that its owner gave it", async () => {
    const image = await push();
    await ensure(imagesOf(), image.name);
    await engine.docker.getImage(image.id).tag({ repo: `${registry.host}/owners/own`, tag: "1" });
    const images = imagesOf({ localImages: [] });
    const short = image.id.slice("sha256:".length, "sha256:".length + 12);
    expect(await ensure(images, short)).toMatchObject({ kind: "problem" });
    expect(await ensure(images, `${registry.host}/owners/own:1`)).toMatchObject(problem("image_not_found"));
  });
});

describe("a private registry", () => {
  it("gives to who has its credentials, and to nobody else, also once the image is here", async () => {
    const image = await push(secured);
    const lines: string[] = [];
    const images = createImages(
      {
        engine,
        threads,
        ledger,
        logger: { ...logger, warn: (line: object) => lines.push(JSON.stringify(line)) } as typeof logger,
      },
      imagesConfig(dir, { privateRegistries: [secured.host], timing: FAST }),
    );
    const wrong = { auth: { username: USER, password: "open" } };
    const pinned = { imageDigest: image.digest };
    const refusedToAll = async () => {
      for (const asked of [{}, wrong, pinned, { ...wrong, ...pinned }]) {
        expect(await ensure(images, image.name, asked)).toMatchObject(problem("image_not_found"));
      }
    };
    await refusedToAll();
    const found = { kind: "image", id: image.id, digest: image.digest };
    expect(await ensure(images, image.name, { auth: AUTH })).toMatchObject(found);
    await refusedToAll();
    const before = blobs(secured).length;
    expect(await ensure(images, image.name, { auth: AUTH, ...pinned })).toMatchObject(found);
    // Access is proven by the manifest: no layer is fetched again.
    expect(
      blobs(secured)
        .slice(before)
        .filter((line) => !line.includes(image.id)),
    ).toEqual([]);
    expect(JSON.stringify([ledger.load(), lines])).not.toContain(PASSWORD);
  });

  it("shares no pull between those with different credentials", async () => {
    const image = await push(secured);
    const images = imagesOf();
    const [right, wrong, none] = await Promise.all([
      ensure(images, image.name, { auth: AUTH }),
      ensure(images, image.name, { auth: { username: USER, password: "open" } }),
      ensure(images, image.name),
    ]);
    expect([right.kind, wrong.kind, none.kind]).toEqual(["image", "problem", "problem"]);
  });
});

describe("several who want the same image", () => {
  it("share one pull, and all hear of it", async () => {
    const image = await push(registry, MB);
    const images = imagesOf();
    const held = stall(registry, image);
    const told = [0, 0, 0, 0, 0];
    const all = told.map((_count, index) =>
      ensure(images, image.name, {
        slotId: `slot-${index}`,
        progress: () => void (told[index] = (told[index] ?? 0) + 1),
      }),
    );
    await held.first;
    held.release();
    for (const found of await Promise.all(all)) expect(found).toMatchObject({ kind: "image", id: image.id });
    const asked = blobs(registry).filter((line) => !line.includes(image.id));
    expect(asked.length).toBe(new Set(asked).size);
    expect(told.every((count) => count > 0)).toBe(true);
  });

  it("let it go on when one leaves, and end it when the last one does", async () => {
    const image = await push(registry, MB);
    const images = imagesOf();
    const held = trickle(registry, image);
    const [one, two] = [new AbortController(), new AbortController()];
    const first = ensure(images, image.name, { signal: one.signal });
    const second = ensure(images, image.name, { signal: two.signal });
    const outcomes = Promise.allSettled([first, second]);
    await held.first;
    one.abort(new Error("cancelled"));
    await expect(first).rejects.toThrow("cancelled");
    expect(held.held.every((response) => !response.destroyed)).toBe(true);
    two.abort(new Error("cancelled too"));
    await outcomes;
    await expect(second).rejects.toThrow("cancelled too");
    // The Engine hangs up on the registry.
    await held.allClosed();
    registry.intercept = null;
    expect(await isHere(image.id)).toBe(false);
    expect(await ensure(images, image.name)).toMatchObject({ kind: "image", id: image.id });
  });
});

describe("a registry that fails", () => {
  it("in mid-pull is asked again", async () => {
    const image = await push(registry, MB);
    let broken = 0;
    registry.intercept = (request, response) => {
      if (!/\/manifests\//.test(request.url ?? "") || broken >= 2) return false;
      broken += 1;
      if (broken === 1) response.writeHead(503).end();
      else request.socket.destroy();
      return true;
    };
    expect(await ensure(imagesOf(), image.name)).toMatchObject({ kind: "image", id: image.id });
    expect(broken).toBe(2);
  });

  it("for good is given up, and that is no fault of the job", async () => {
    const image = await push();
    registry.intercept = (_request, response) => {
      response.writeHead(503).end();
      return true;
    };
    expect(await ensure(imagesOf(), image.name)).toMatchObject(problem("image_pull_failed"));
    expect(registry.requests.length).toBeGreaterThan(FAST.retriesMs.length);
  });

  it("falls silent: the pull ends", async () => {
    const image = await push(registry, MB);
    const held = stall(registry, image);
    const impatient = imagesOf({ timing: { silenceMs: 500, retriesMs: [] } });
    const ended = await ensure(impatient, image.name);
    expect(ended).toMatchObject(problem("image_pull_failed"));
    expect(JSON.stringify(ended)).toContain("no progress");
    held.release();
  });

  it("sends another image than the one that was named: it is not taken", async () => {
    const image = await push();
    registry.tamper = (path, body) =>
      path.includes(`/manifests/${image.digest}`) ? Buffer.concat([body, Buffer.from(" ")]) : body;
    expect(await ensure(imagesOf(), image.name)).toMatchObject(problem("image_pull_failed"));
    expect(await isHere(image.id)).toBe(false);
  });

  it("is out of reach: what a tag last stood for is run, if anybody may run it", async () => {
    const [open, closed] = [await push(), await push(secured)];
    await ensure(imagesOf(), open.name);
    await ensure(imagesOf(), closed.name, { auth: AUTH });
    for (const one of [registry, secured]) {
      one.intercept = (_request, response) => {
        response.destroy();
        return true;
      };
    }
    expect(await ensure(imagesOf(), open.name)).toMatchObject({ kind: "image", digest: open.digest });
    expect(await ensure(imagesOf(), closed.name)).toMatchObject({ kind: "problem" });
  });
});

describe("a tag that was moved", () => {
  it("stands for the new image, but for the old one where its digest is named", async () => {
    const before = await push();
    const found = await ensure(imagesOf(), before.name);
    const after = await push(registry, undefined, before.repository);
    expect(await ensure(imagesOf(), after.name)).toMatchObject({ id: after.id, digest: after.digest });
    expect(await ensure(imagesOf(), before.name, { imageDigest: before.digest })).toEqual(found);
    await engine.docker.getImage(before.id).remove({ force: true });
    expect(await ensure(imagesOf(), before.name, { imageDigest: before.digest })).toEqual(found);
  });
});

describe("the room for images", () => {
  const room = (units: number) => ({ room: { budgetBytes: units * UNIT, reserveBytes: 0, engineDir: null } });

  it("is kept by removing what was not used for longest, never what is in use or somebody else's", async () => {
    const images = imagesOf(room(16));
    const [oldest, held, inContainer, next] = await pushes(4, 5);
    const foreign = await push(registry, 5 * UNIT);
    await pullByHand(foreign.name);
    await ensure(images, held.name, { slotId: "standby" });
    await ensure(images, inContainer.name, { slotId: "a" });
    const container = await engine.docker.createContainer({ Image: inContainer.id });
    try {
      images.release("a");
      await ensure(images, oldest.name, { slotId: "b" });
      images.release("b");
      await ensure(images, next.name, { slotId: "c" });
      const here = await Promise.all([oldest, held, inContainer, next, foreign].map(({ id }) => isHere(id)));
      expect(here).toEqual([false, true, true, true, true]);
      const [last] = await pushes(1, 5);
      const full = await ensure(images, last.name, { slotId: "d" });
      expect(full).toMatchObject(problem("image_pull_failed"));
      expect(JSON.stringify(full)).toContain("--image-disk-mib");
      expect(await isHere(last.id)).toBe(false);
    } finally {
      await container.remove({ force: true });
    }
    // Now nothing holds it.
    expect(await ensure(images, oldest.name, { slotId: "d" })).toMatchObject({ kind: "image" });
    expect(await isHere(inContainer.id)).toBe(false);
  });

  it("is known again after a restart", async () => {
    const [first, second] = await pushes(2, 5);
    const before = imagesOf(room(8));
    await ensure(before, first.name);
    await ensure(imagesOf(room(8)), second.name);
    expect([await isHere(first.id), await isHere(second.id)]).toEqual([false, true]);
  });

  it("leaves alone what its owner has named since", async () => {
    const [first, second] = await pushes(2, 5);
    const images = imagesOf(room(8));
    await ensure(images, first.name);
    images.release("slot");
    await engine.docker.getImage(first.id).tag({ repo: "qubix-test/kept", tag: first.repository.replace("/", "-") });
    await ensure(images, second.name);
    expect([await isHere(first.id), await isHere(second.id)]).toEqual([true, true]);
  });

  it("is refused to an image that is too large, while it is pulled and before it fills the disk", async () => {
    const [large] = await pushes(1, 9);
    const ended = await ensure(imagesOf(room(4)), large.name);
    expect(ended).toMatchObject(problem("image_pull_failed"));
    expect(JSON.stringify(ended)).toContain("this worker keeps at most");
    expect(await isHere(large.id)).toBe(false);
  });

  it("keeps a reserve of the disk", async () => {
    const [image] = await pushes(1, 1);
    const reserve = { room: { budgetBytes: 100 * MB, reserveBytes: 1e18, engineDir: dir } };
    const ended = await ensure(imagesOf(reserve), image.name);
    expect(ended).toMatchObject(problem("image_pull_failed"));
    expect(JSON.stringify(ended)).toContain("in reserve");
    expect(blobs(registry).filter((line) => !line.includes(image.id))).toEqual([]);
  });
});

type Pushed = Awaited<ReturnType<typeof push>>;

async function pushes<N extends 1 | 2 | 4>(count: N, units: number) {
  const all: Pushed[] = [];
  for (let index = 0; index < count; index += 1) all.push(await push(registry, units * UNIT));
  return all as N extends 1 ? [Pushed] : N extends 2 ? [Pushed, Pushed] : [Pushed, Pushed, Pushed, Pushed];
}

/** As the owner does. */
async function pullByHand(name: string): Promise<void> {
  const stream = await engine.docker.pull(name);
  await new Promise<void>((resolve, reject) =>
    engine.docker.modem.followProgress(stream, (error: Error | null) => (error === null ? resolve() : reject(error))),
  );
}
