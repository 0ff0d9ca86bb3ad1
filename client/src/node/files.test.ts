import { createHash, randomBytes } from "node:crypto";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, sep } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import { treeManifestSchema } from "@qubix/shared/protocol";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ScriptedServer, startScriptedServer } from "../sdk/testing/scripted-server.ts";
import { cidOf } from "./cid.ts";
import { downloadCheckpoint, downloadOutputs, safeJoin } from "./download.ts";
import { createNodeClient, type NodeClient } from "./http-client.ts";
import { uploadPath } from "./upload.ts";

let folder: string;
let server: ScriptedServer | undefined;
let client: NodeClient | undefined;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "qubix-files-"));
});
afterEach(async () => {
  client?.close();
  await server?.stop();
  await rm(folder, { recursive: true });
});

test("chunk ids are those of the specification", () => {
  expect(cidOf(new Uint8Array())).toBe("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku");
  expect(cidOf(Buffer.from("hello world"))).toBe("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
});

/** Keeps chunks as an orchestrator does: by id, asked for first. Fails the `failAt`th PUT once. */
function startChunkServer(stored: Map<string, string>, failAt = 0) {
  let puts = 0;
  return startScriptedServer([
    (response, { path, body, method }) => {
      const answer = (status: number, value: unknown) =>
        response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
      if (path === "/v1/uploads/missing") {
        const { cids } = JSON.parse(body) as { cids: string[] };
        answer(200, { cids: cids.filter((cid) => !stored.has(cid)) });
      } else if (method === "PUT") {
        puts += 1;
        if (puts === failAt) {
          answer(507, { code: "storage_full", detail: "Full.", status: 507 });
          return;
        }
        stored.set(path.slice(path.lastIndexOf("/") + 1), path);
        response.writeHead(204).end();
      } else answer(201, { id: "upl-1", files: 2, bytes: 3, createdAt: "", manifest: JSON.parse(body) });
    },
  ]);
}

test("a folder is cut into chunks, and only what is missing is sent; a cut upload goes on where it was", async () => {
  const tree = join(folder, "data");
  await mkdir(join(tree, "sub"), { recursive: true });
  const big = Buffer.concat([Buffer.alloc(1024 * 1024, 1), Buffer.alloc(1024 * 1024, 1), randomBytes(5_000)]);
  await writeFile(join(tree, "big.bin"), big);
  await writeFile(join(tree, "sub", "empty"), "");
  await writeFile(join(tree, "sub", "run.sh"), "#!/bin/sh\n");
  await chmod(join(tree, "sub", "run.sh"), 0o755);
  const stored = new Map<string, string>();
  server = await startChunkServer(stored, 2);
  client = createNodeClient({ url: server.url, retries: 0 });
  await expect(uploadPath(client, tree)).rejects.toMatchObject({ code: "storage_full" });
  const before = server.seen.filter((seen) => seen.method === "PUT").length;
  const progress: number[] = [];
  const upload = await uploadPath(client, tree, { onProgress: ({ bytes }) => progress.push(bytes) });
  expect(upload.id).toBe("upl-1");
  expect(progress.at(-1)).toBe(big.length + 10);

  const last = server.seen.at(-1);
  const manifest = treeManifestSchema.parse((JSON.parse(last?.body ?? "") as { manifest: unknown }).manifest);
  expect(manifest.entries.map((entry) => `${entry.kind} ${entry.path} ${entry.mode.toString(8)}`)).toEqual([
    "file big.bin 644",
    "directory sub 755",
    "file sub/empty 644",
    "file sub/run.sh 755",
  ]);
  const file = manifest.entries[0];
  if (file?.kind !== "file") throw new Error("the first entry is a file");
  expect(file.chunks.map((chunk) => chunk.bytes)).toEqual([1024 * 1024, 1024 * 1024, 5_000]);
  // Two equal MiB are one chunk: three different chunks in all, of which one had arrived before the fault.
  expect(stored.size).toBe(3);
  expect(file.sha256).toBe(createHash("sha256").update(big).digest("hex"));
  const after = server.seen.filter((seen) => seen.method === "PUT").length - before;
  expect(after).toBeLessThan(3);
});

test("what goes over the line is the chunk that its id names", async () => {
  const sent = new Map<string, Buffer>();
  await writeFile(join(folder, "a.txt"), "hello");
  const { createServer } = await import("node:http");
  const http = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      if (request.method === "PUT") sent.set(request.url?.split("/").at(-1) ?? "", body);
      const missing = request.url?.endsWith("/missing") === true ? body.toString() : JSON.stringify({ id: "upl-1" });
      response.end(missing);
    });
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  const { port } = http.address() as { port: number };
  client = createNodeClient({ url: `http://127.0.0.1:${port}` });
  await uploadPath(client, join(folder, "a.txt"));
  http.closeAllConnections();
  http.close();
  server = undefined;
  expect(sent.size).toBe(1);
  for (const [cid, bytes] of sent) {
    expect(cidOf(bytes)).toBe(cid);
    expect(zstdDecompressSync(bytes).toString()).toBe("hello");
  }
});

test("what cannot be uploaded is named", async () => {
  server = await startChunkServer(new Map());
  client = createNodeClient({ url: server.url });
  await expect(uploadPath(client, join(folder, "nowhere"))).rejects.toMatchObject({ code: "input_not_found" });
  await symlink("/etc", join(folder, "link"));
  await expect(uploadPath(client, folder)).rejects.toMatchObject({ code: "input_unsupported" });
});

/** Without the rights of root, where the test has them: root may write anywhere. */
async function asNobody(work: () => Promise<void>): Promise<void> {
  const isRoot = process.geteuid?.() === 0;
  if (isRoot) process.seteuid?.(65_534);
  try {
    await work();
  } finally {
    if (isRoot) process.seteuid?.(0);
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** A job with these outputs; the second item is what really comes. */
function startOutputServer(files: Readonly<Record<string, readonly [string, string]>>) {
  const items = Object.entries(files).map(([path, [text]]) => ({ path, bytes: text.length, sha256: sha256(text) }));
  return startScriptedServer([
    (response, { path }) => {
      const file = files[decodeURIComponent(path.split("/outputs/")[1] ?? "")];
      response.end(file === undefined ? JSON.stringify({ items }) : file[1]);
    },
  ]);
}

test("outputs are fetched with their paths, one folder of them, or one", async () => {
  server = await startOutputServer({ "a.txt": ["A", "A"], "sub/b c.txt": ["B", "B"], "sub2/d": ["D", "D"] });
  client = createNodeClient({ url: server.url });
  const to = join(folder, "to");
  expect((await downloadOutputs(client, "job-1", to)).map((file) => file.path)).toEqual([
    "a.txt",
    "sub/b c.txt",
    "sub2/d",
  ]);
  expect(await readFile(join(to, "sub", "b c.txt"), "utf8")).toBe("B");
  expect(await downloadOutputs(client, "job-1", to, { path: "sub/" })).toHaveLength(1);
  expect(await downloadOutputs(client, "job-1", to, { path: "a.txt" })).toHaveLength(1);
  await expect(downloadOutputs(client, "job-1", to, { path: "su" })).rejects.toMatchObject({
    code: "output_not_found",
  });
});

test("a file that arrives damaged is not kept", async () => {
  server = await startOutputServer({ "a.txt": ["right", "wrong"] });
  client = createNodeClient({ url: server.url });
  await expect(downloadOutputs(client, "job-1", folder)).rejects.toMatchObject({ code: "output_damaged" });
  await expect(readFile(join(folder, "a.txt"))).rejects.toThrow(/ENOENT/);
  expect((await readdir(folder)).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("a checkpoint is fetched with its folders and modes; what is there is not fetched again, and nothing damaged is kept", async () => {
  const sha256 = createHash("sha256").update("right").digest("hex");
  const entries = [
    { kind: "directory", path: "empty", mode: 0o755, bytes: 0, sha256: null },
    { kind: "file", path: "a b/run.sh", mode: 0o104755, bytes: 5, sha256 },
    { kind: "file", path: "pieces", mode: 0o644, bytes: 5, sha256: null },
  ];
  const files = new Map([
    ["/v1/jobs/job-1/checkpoints/3/files/a%20b/run.sh", "right"],
    ["/v1/jobs/job-1/checkpoints/3/files/pieces", "cut"],
  ]);
  server = await startScriptedServer([
    (response, { path }) => {
      const text = files.get(path);
      if (text === undefined) {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ items: entries }));
      } else response.writeHead(200, { "content-type": "application/octet-stream" }).end(text);
    },
  ]);
  client = createNodeClient({ url: server.url });
  const to = join(folder, "to");
  await expect(downloadCheckpoint(client, "job-1", 3, to)).rejects.toMatchObject({ code: "checkpoint_damaged" });
  expect(await readdir(to)).toEqual(["a b", "empty"]);
  expect((await stat(join(to, "a b", "run.sh"))).mode & 0o7777).toBe(0o755);
  files.set("/v1/jobs/job-1/checkpoints/3/files/pieces", "whole");
  const fetched = await downloadCheckpoint(client, "job-1", 3, to);
  expect(fetched.map(({ path, wasThere }) => [path, wasThere])).toEqual([
    ["a b/run.sh", true],
    ["pieces", false],
  ]);
  expect(server.seen.filter(({ path }) => path.endsWith("run.sh"))).toHaveLength(1);
  expect(await readFile(join(to, "pieces"), "utf8")).toBe("whole");
});

test("a file is fetched beside others, and never through a link that lies in its way", async () => {
  server = await startOutputServer({
    a: ["A", "A"],
    "a.part": ["B", "B"],
    "a.part-1": ["C", "C"],
    "bad.part": ["D", "D"],
  });
  client = createNodeClient({ url: server.url });
  const to = join(folder, "to");
  await mkdir(to);
  await writeFile(join(folder, "elsewhere"), "mine");
  await symlink(join(folder, "elsewhere"), join(to, "bad.part.part"));
  await downloadOutputs(client, "job-1", to);
  // Fetched again, it takes nothing away from the others.
  await downloadOutputs(client, "job-1", to, { path: "a" });
  const names = await readdir(to);
  expect(names).toEqual(["a", "a.part", "a.part-1", "bad.part"]);
  expect(await Promise.all(names.map((name) => readFile(join(to, name), "utf8")))).toEqual(["A", "B", "C", "D"]);
  expect(await readFile(join(folder, "elsewhere"), "utf8")).toBe("mine");
});

test("a file may have the longest name there is", async () => {
  const name = "é".repeat(127);
  server = await startOutputServer({ [name]: ["A", "A"] });
  client = createNodeClient({ url: server.url });
  await downloadOutputs(client, "job-1", join(folder, "to"));
  expect(await readdir(join(folder, "to"))).toEqual([name]);
});

test("folders get their modes when what is in them is there, also those that may not be written to", async () => {
  const sum = sha256("right");
  const entries = [
    { kind: "directory", path: "d", mode: 0o40500, bytes: 0, sha256: null },
    { kind: "directory", path: "d/empty", mode: 0o40750, bytes: 0, sha256: null },
    { kind: "file", path: "d/a", mode: 0o100000, bytes: 5, sha256: sum },
    { kind: "file", path: "d/b", mode: 0o100644, bytes: 5, sha256: sum },
  ];
  let isCut = true;
  server = await startScriptedServer([
    (response, { path }) => {
      if (!path.includes("/files/")) response.end(JSON.stringify({ items: entries }));
      else response.end(isCut && path.endsWith("/b") ? "cut" : "right");
    },
  ]);
  const own = createNodeClient({ url: server.url });
  client = own;
  const to = join(folder, "to");
  await chmod(folder, 0o777);
  await asNobody(async () => {
    await expect(downloadCheckpoint(own, "job-1", 3, to)).rejects.toMatchObject({ code: "checkpoint_damaged" });
    isCut = false;
    await downloadCheckpoint(own, "job-1", 3, to);
    // A folder and a file as they should be are no obstacle to the next time.
    await downloadCheckpoint(own, "job-1", 3, to);
  });
  const modes = await Promise.all(
    ["d", "d/empty", "d/a", "d/b"].map(async (path) => (await stat(join(to, path))).mode),
  );
  expect(modes.map((mode) => mode & 0o7777)).toEqual([0o500, 0o750, 0, 0o644]);
});

test.each(["../x", "/../../x", "a/../../x", "x\u0000", ""])("the path %j never leaves the folder", (path) => {
  expect(() => safeJoin("/tmp/folder", path)).toThrow(/would lie outside/);
});

test("an output may have the longest name that a disk takes, and lie beside any other", async () => {
  const long = "l".repeat(255);
  const names = ["a", "a.part", long];
  const contents = new Map(names.map((name) => [name, Buffer.from(name.slice(0, 7))]));
  const items = names.map((path) => {
    const content = contents.get(path) as Buffer;
    return { path, bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
  });
  server = await startScriptedServer([
    (response, { path }) => {
      if (path.endsWith("/outputs")) {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify({ items }));
      } else response.writeHead(200).end(contents.get(path.slice(path.lastIndexOf("/") + 1)));
    },
  ]);
  client = createNodeClient({ url: server.url });
  await mkdir(join(folder, "out"));
  // The reader's own.
  await writeFile(join(folder, "out", `b.part`), "kept");
  await downloadOutputs(client, "job-1", join(folder, "out"), { path: "a.part" });
  await downloadOutputs(client, "job-1", join(folder, "out"), { path: "a" });
  await downloadOutputs(client, "job-1", join(folder, "out"), { path: long });
  expect((await readdir(join(folder, "out"))).toSorted()).toEqual(["a", "a.part", "b.part", long]);
  expect(await readFile(join(folder, "out", "a.part"), "utf8")).toBe("a.part");
});

test("a backslash is a letter where it parts no names", () => {
  const path = "a\\..\\x";
  const joined = () => safeJoin("/tmp/folder", path);
  if (sep === "/") expect(joined()).toBe(`/tmp/folder/${path}`);
  else expect(joined).toThrow(/would lie outside/);
});
