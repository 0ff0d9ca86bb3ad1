// A SIMULATOR of the few RPC commands of a Kubo node that are used here, for tests only: it is no Kubo, and knows no network. Commands, arguments and
// answers are those of the published reference, https://docs.ipfs.tech/reference/kubo/rpc/ (of Kubo 0.26 and later); an argument that is not there is refused.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { code as CBOR_CODEC, decode as decodeCbor } from "@ipld/dag-cbor";
import { CID } from "multiformats/cid";
import { code as RAW_CODEC } from "multiformats/codecs/raw";
import { sha256 } from "multiformats/hashes/sha2";

/** What each command takes, global options of every command aside. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  version: ["number", "commit", "repo", "all"],
  "block/put": ["cid-codec", "mhtype", "mhlen", "pin", "allow-big-block", "format"],
  "block/get": ["arg"],
  "block/stat": ["arg"],
  "pin/add": ["arg", "recursive", "name", "progress"],
  "pin/rm": ["arg", "recursive"],
  "pin/ls": ["arg", "type", "quiet", "name", "stream", "names"],
};
const GLOBAL = ["offline", "timeout", "encoding", "stream-channels", "stream"];
const CODECS: ReadonlyMap<string, number> = new Map([
  ["raw", RAW_CODEC],
  ["dag-cbor", CBOR_CODEC],
]);
const BLOCK_BYTES_MAX = 1024 * 1024;

export interface KuboSimulator extends AsyncDisposable {
  readonly url: string;
  readonly blocks: ReadonlyMap<string, Uint8Array>;
  /** Roots by name. */
  pins(): Readonly<Record<string, string>>;
  /** How often each command was called. */
  readonly calls: Readonly<Record<string, number>>;
  /** Commands that fail from now on, as a node in trouble answers. */
  fail(commands: readonly string[]): void;
  /** As when somebody else unpins everything. */
  unpinAll(): void;
  /** Deletes what no pin keeps, as `ipfs repo gc` does. */
  collectGarbage(): void;
}

export async function startKuboSimulator(port = 0): Promise<KuboSimulator> {
  const blocks = new Map<string, Uint8Array>();
  const pinned = new Map<string, string | undefined>();
  const calls: Record<string, number> = {};
  let failing: readonly string[] = [];

  const block = (cid: string): Uint8Array => {
    const bytes = blocks.get(cid);
    if (bytes === undefined) throw new Refused(`block was not found locally (offline): ipld: could not find ${cid}`);
    return bytes;
  };
  const below = (cid: string): readonly string[] => {
    const found = new Set<string>([cid]);
    for (const each of found) for (const link of linksOf(each, block(each))) found.add(link);
    return [...found];
  };

  const commands: Record<string, (query: URLSearchParams, body: Buffer) => Promise<Uint8Array | object[]>> = {
    version: async () => [{ Version: "0.39.0", Commit: "", Repo: "18", System: "simulated", Golang: "none" }],
    async "block/put"(query, body) {
      const codec = CODECS.get(query.get("cid-codec") ?? "raw");
      if (codec === undefined || (query.get("mhtype") ?? "sha2-256") !== "sha2-256") throw new Refused("unknown codec");
      if (body.length > BLOCK_BYTES_MAX && query.get("allow-big-block") !== "true") {
        throw new Refused("produced block is over 1MiB: big blocks can't be exchanged with other peers.");
      }
      const cid = CID.createV1(codec, await sha256.digest(body)).toString();
      blocks.set(cid, body);
      return [{ Key: cid, Size: body.length }];
    },
    "block/get": async (query) => block(query.get("arg") ?? ""),
    "block/stat": async (query) => [{ Key: query.get("arg"), Size: block(query.get("arg") ?? "").length }],
    async "pin/add"(query) {
      const root = query.get("arg") ?? "";
      // Of a call that is not `offline` a real node would look for what is missing in the network.
      below(root);
      pinned.set(root, query.get("name") ?? undefined);
      return [{ Pins: [root] }];
    },
    async "pin/rm"(query) {
      const root = query.get("arg") ?? "";
      if (!pinned.delete(root)) throw new Refused(`not pinned or pinned indirectly`);
      return [{ Pins: [root] }];
    },
    async "pin/ls"(query) {
      const wanted = query.get("name") ?? "";
      const isNamed = wanted !== "" || query.get("names") === "true";
      return [...pinned]
        .filter(([, name]) => (name ?? "").includes(wanted))
        .map(([Cid, Name]) => ({ Cid, Type: "recursive", ...(isNamed && Name !== undefined ? { Name } : {}) }));
    },
  };

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://kubo");
    const name = pathname.replace(/^\/api\/v0\//, "");
    const command = commands[name];
    const body = await bodyOf(request);
    if (request.method !== "POST") return void response.writeHead(405).end();
    if (command === undefined) return void response.writeHead(404).end();
    calls[name] = (calls[name] ?? 0) + 1;
    const strange = [...searchParams.keys()].find((key) => ![...(ARGUMENTS[name] ?? []), ...GLOBAL].includes(key));
    if (strange !== undefined) return void response.writeHead(400).end(`no such argument: ${strange}`);
    try {
      if (failing.includes(name)) throw new Refused("the datastore is closed");
      const result = await command(searchParams, body);
      if (result instanceof Uint8Array)
        return void response.writeHead(200, { "content-type": "text/plain" }).end(result);
      response.writeHead(200, { "content-type": "application/json" });
      response.end(result.map((each) => `${JSON.stringify(each)}\n`).join(""));
    } catch (error) {
      response.writeHead(500, { "content-type": "application/json" });
      response.end(JSON.stringify({ Message: (error as Error).message, Code: 0, Type: "error" }));
    }
  };
  const server = createServer((request, response) => void answer(request, response).catch(() => response.destroy()));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    blocks,
    pins: () => Object.fromEntries([...pinned].map(([root, name]) => [name ?? "", root])),
    calls,
    fail: (names) => void (failing = names),
    unpinAll: () => pinned.clear(),
    collectGarbage() {
      const kept = new Set([...pinned.keys()].flatMap(below));
      for (const cid of blocks.keys()) if (!kept.has(cid)) blocks.delete(cid);
    },
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

class Refused extends Error {}

function linksOf(cid: string, bytes: Uint8Array): readonly string[] {
  return CID.parse(cid).code === CBOR_CODEC ? linksIn(decodeCbor(bytes)) : [];
}

function linksIn(value: unknown): readonly string[] {
  const link = CID.asCID(value);
  if (link !== null) return [link.toString()];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(linksIn) : [];
}

/** The bytes sent; of a form with one file, those of the file. */
async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const body = Buffer.concat(parts);
  const boundary = /boundary=(.+)$/.exec(request.headers["content-type"] ?? "")?.[1];
  if (boundary === undefined) return body;
  const from = body.indexOf("\r\n\r\n") + 4;
  return body.subarray(from, body.lastIndexOf(`\r\n--${boundary}--`));
}
