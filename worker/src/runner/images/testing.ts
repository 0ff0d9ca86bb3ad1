// What the tests of images share: a real registry on a port of its own behind a small proxy that counts, slows, breaks and tampers; images made on
// the spot, each unlike any other; archives as `docker save` writes them, and as it never would.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, request as httpRequest, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { gzipSync } from "node:zlib";
import tar from "tar-stream";

/** The distribution's package `docker-registry`. */
const PROGRAM = "/usr/bin/docker-registry";
export const hasRegistry = existsSync(PROGRAM);
export const USER = "alice";
export const PASSWORD = "sesame";
/** bcrypt of {@link PASSWORD}. */
const HTPASSWD = `${USER}:$2b$04$Zr3S8LQVc5OvYvp5KKabQO8WkXgN7LSGY08B4epvkVcteXxr1tkTW\n`;
const READY_TIMEOUT_MS = 10_000;

export interface TestRegistry {
  /** `127.0.0.1:PORT`, of the proxy. */
  readonly host: string;
  /** `METHOD PATH` of everything that was asked, oldest first. */
  readonly requests: string[];
  /** Called for each request before it is passed on; true: it has been answered. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean | Promise<boolean>) | null;
  /** Changes answers on their way back. */
  tamper: ((path: string, body: Buffer) => Buffer) | null;
  put(image: MadeImage, repository: string, tag: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startRegistry(options: { readonly withAuth?: boolean } = {}): Promise<TestRegistry> {
  const dir = await mkdtemp(join(tmpdir(), "qubix-registry-"));
  const port = await freePort();
  const process = await startProgram(dir, port, options.withAuth === true);
  const registry: TestRegistry = {
    host: "",
    requests: [],
    intercept: null,
    tamper: null,
    put: (image, repository, tag) => putImage(port, options.withAuth === true, image, repository, tag),
    async stop() {
      proxy.closeAllConnections();
      proxy.close();
      process.kill("SIGKILL");
      if (process.exitCode === null && process.signalCode === null) await once(process, "exit");
      await rm(dir, { recursive: true, force: true });
    },
  };
  const proxy = createServer((request, response) => void passOn(registry, port, request, response));
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  return Object.assign(registry, { host: `127.0.0.1:${(proxy.address() as AddressInfo).port}` });
}

async function startProgram(dir: string, port: number, withAuth: boolean): Promise<ChildProcess> {
  await mkdir(join(dir, "data"));
  await writeFile(join(dir, "htpasswd"), HTPASSWD);
  const config = {
    version: "0.1",
    log: { level: "error" },
    storage: { filesystem: { rootdirectory: join(dir, "data") }, cache: { blobdescriptor: "inmemory" } },
    http: { addr: `127.0.0.1:${port}` },
    ...(withAuth ? { auth: { htpasswd: { realm: "test", path: join(dir, "htpasswd") } } } : {}),
  };
  // JSON is YAML.
  await writeFile(join(dir, "config.yml"), JSON.stringify(config));
  const program = spawn(PROGRAM, ["serve", join(dir, "config.yml")], { stdio: "ignore" });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${port}/v2/`).catch(() => null);
    await answer?.body?.cancel();
    if (answer !== null) return program;
    if (performance.now() > deadline || program.exitCode !== null) {
      program.kill("SIGKILL");
      throw new Error("the registry did not start");
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePort(): Promise<number> {
  const server = createTcpServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function passOn(
  registry: TestRegistry,
  port: number,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method = "GET", url: path = "/", headers } = request;
  registry.requests.push(`${method} ${path}`);
  if (registry.intercept !== null && (await registry.intercept(request, response))) return;
  const onward = httpRequest({ host: "127.0.0.1", port, method, path, headers }, (answer) => {
    const { tamper } = registry;
    if (tamper === null) {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
      return;
    }
    void buffer(answer).then((body) => {
      const tampered = tamper(path, body);
      const length = method === "HEAD" ? answer.headers["content-length"] : tampered.length;
      response.writeHead(answer.statusCode ?? 500, { ...answer.headers, "content-length": length });
      response.end(tampered);
    });
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}

// ── Images ──

export interface MadeImage {
  readonly config: Buffer;
  /** Not compressed. */
  readonly layers: readonly Buffer[];
}

export interface LayerFile {
  readonly name: string;
  readonly content?: Buffer | string;
  readonly header?: Partial<tar.Header>;
}

export async function makeTar(files: readonly LayerFile[]): Promise<Buffer> {
  const pack = tar.pack();
  for (const { name, content = "", header } of files) {
    const isFile = header?.type === undefined || header.type === "file";
    if (isFile) pack.entry({ name, mtime: new Date(0), ...header }, content);
    else pack.entry({ name, mtime: new Date(0), ...header });
  }
  pack.finalize();
  return await buffer(pack);
}

/** An image that no other test has; `bytes`: of something that cannot be compressed. */
export async function makeImage(
  options: { readonly bytes?: number; readonly layers?: readonly Buffer[]; readonly config?: object } = {},
): Promise<MadeImage> {
  const mark = await makeTar([{ name: "mark", content: randomBytes(16).toString("hex") }]);
  const filler =
    options.bytes === undefined ? [] : [await makeTar([{ name: "filler", content: randomBytes(options.bytes) }])];
  const layers = [...(options.layers ?? []), ...filler, mark];
  const config = {
    architecture: process.arch === "x64" ? "amd64" : process.arch,
    os: "linux",
    config: { Cmd: ["/bin/sh"], User: "65534:65534", Env: ["PATH=/bin"], ...options.config },
    rootfs: { type: "layers", diff_ids: layers.map((layer) => `sha256:${hashOf(layer)}`) },
  };
  return { config: Buffer.from(JSON.stringify(config)), layers };
}

export function idOf(image: MadeImage): string {
  return `sha256:${hashOf(image.config)}`;
}

export function hashOf(bytes: Buffer | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json";

/** Pushes it past the proxy; returns the manifest's digest. */
async function putImage(port: number, withAuth: boolean, image: MadeImage, repository: string, tag: string) {
  const base = `http://127.0.0.1:${port}/v2/${repository}`;
  const headers: Record<string, string> = withAuth
    ? { authorization: `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString("base64")}` }
    : {};
  const send = async (method: string, url: string, body?: Buffer, type = "application/octet-stream") => {
    const answer = await fetch(url, {
      method,
      headers: { ...headers, "content-type": type },
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
    });
    if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
    return answer;
  };
  const blob = async (bytes: Buffer) => {
    const begun = await send("POST", `${base}/blobs/uploads/`);
    const location = new URL(begun.headers.get("location") ?? "", base);
    location.searchParams.set("digest", `sha256:${hashOf(bytes)}`);
    await send("PUT", location.href, bytes);
    return { size: bytes.length, digest: `sha256:${hashOf(bytes)}` };
  };
  const config = { mediaType: "application/vnd.docker.container.image.v1+json", ...(await blob(image.config)) };
  const layers = [];
  for (const layer of image.layers) {
    const mediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    layers.push({ mediaType, ...(await blob(gzipSync(layer, { level: 1 }))) });
  }
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config, layers }));
  await send("PUT", `${base}/manifests/${tag}`, manifest, MANIFEST_TYPE);
  return `sha256:${hashOf(manifest)}`;
}

// ── Archives ──

/** As `docker save` writes it, with these tags. */
export function savedFiles(image: MadeImage, repoTags: readonly string[] = []): LayerFile[] {
  const config = `${hashOf(image.config)}.json`;
  const names = image.layers.map((layer) => `${hashOf(layer)}/layer.tar`);
  return [
    { name: config, content: image.config },
    ...image.layers.map((content, index) => ({ name: names[index] ?? "", content })),
    {
      name: "manifest.json",
      content: JSON.stringify([{ Config: config, RepoTags: repoTags, Layers: names }]),
    },
    {
      name: "repositories",
      content: JSON.stringify(
        Object.fromEntries(
          repoTags.map((tag) => tag.split(":")).map(([repo, tag]) => [repo, { [tag ?? ""]: hashOf(image.config) }]),
        ),
      ),
    },
  ];
}

/** As an OCI layout, its layers compressed by `compress`. */
export function ociFiles(image: MadeImage, compress: (layer: Buffer) => Buffer, refName: string): LayerFile[] {
  const files: LayerFile[] = [];
  const blob = (mediaType: string, content: Buffer) => {
    const hash = hashOf(content);
    files.push({ name: `blobs/sha256/${hash}`, content });
    return { mediaType, digest: `sha256:${hash}`, size: content.length };
  };
  const manifest = {
    schemaVersion: 2,
    config: blob("application/vnd.oci.image.config.v1+json", image.config),
    layers: image.layers.map((layer) => blob("application/vnd.oci.image.layer.v1.tar+gzip", compress(layer))),
  };
  const descriptor = blob("application/vnd.oci.image.manifest.v1+json", Buffer.from(JSON.stringify(manifest)));
  const annotations = { "org.opencontainers.image.ref.name": refName, "io.containerd.image.name": refName };
  const index = { schemaVersion: 2, manifests: [{ ...descriptor, annotations }] };
  return [
    { name: "oci-layout", content: JSON.stringify({ imageLayoutVersion: "1.0.0" }) },
    ...files,
    { name: "index.json", content: JSON.stringify(index) },
  ];
}

/** What a saved archive holds: of one image, its configuration and layers. */
export async function unsave(archive: Buffer): Promise<MadeImage> {
  const files = new Map<string, Buffer>();
  const extract = tar.extract();
  extract.end(archive);
  for await (const entry of extract) files.set(entry.header.name, await buffer(entry));
  const [image] = JSON.parse(String(files.get("manifest.json"))) as { Config: string; Layers: string[] }[];
  const content = (name: string) => {
    const found = files.get(name);
    if (found === undefined) throw new Error(`no ${name} in the archive`);
    return found;
  };
  return { config: content(image?.Config ?? ""), layers: (image?.Layers ?? []).map(content) };
}
