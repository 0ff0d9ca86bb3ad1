// Uploads and outputs: bytes in and out through the real chunk store.
import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { contentDisposition } from "./routes/outputs.ts";
import { jobSpec, startTestApi } from "./testing/test-api.ts";
import { cidOf, put, treeOf } from "./testing/trees.ts";

describe("uploads", () => {
  test("what is missing is asked, sent and committed; sent again it is the same upload", async () => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer", 10_000_000n);
    const { manifest, chunks } = treeOf({ "data/a.txt": Buffer.from("hello"), "b.bin": randomBytes(200_000) });
    const cids = chunks.map(({ cid }) => cid);
    expect((await call("POST /v1/uploads/missing", { cids })).body).toEqual({ cids });
    expect((await call("POST /v1/uploads", { manifest })).status).toBe(422);
    await put(call, chunks[0]);
    expect((await call("POST /v1/uploads/missing", { cids })).body).toEqual({ cids: cids.slice(1) });
    await put(call, chunks[1]);
    const made = await call("POST /v1/uploads", { manifest });
    expect(made.status).toBe(201);
    expect(made.body).toMatchObject({ files: 2, bytes: 200_005 });
    const again = await call("POST /v1/uploads", { manifest });
    expect(again.body["id"]).toBe(made.body["id"]);

    const job = await call("POST /v1/jobs", jobSpec({ inputs: [{ upload: made.body["id"], to: "/in" }] }));
    expect(job.status).toBe(201);
  });

  test("what another account stored is missing for me, and his upload is unknown", async () => {
    await using api = await startTestApi();
    const mine = await api.account("consumer", 10_000_000n);
    const other = await api.account("consumer", 10_000_000n);
    const { manifest, chunks } = treeOf({ a: Buffer.from("secret") });
    await put(mine.call, chunks[0]);
    const made = await mine.call("POST /v1/uploads", { manifest });
    const cids = chunks.map(({ cid }) => cid);
    expect((await other.call("POST /v1/uploads/missing", { cids })).body).toEqual({ cids });
    expect((await other.call("POST /v1/uploads", { manifest })).status).toBe(422);
    const job = await other.call("POST /v1/jobs", jobSpec({ inputs: [{ upload: made.body["id"], to: "/in" }] }));
    expect(job.body).toMatchObject({ status: 422, code: "upload_unknown" });
  });

  test.each([
    [
      "bytes that are not the chunk's",
      (cid: string) => [`/v1/uploads/chunks/${cid}`, Buffer.from("other")] as const,
      [400],
    ],
    ["a name that is no chunk id", () => ["/v1/uploads/chunks/bafynope", Buffer.from("x")] as const, [422]],
    ["no bytes", (cid: string) => [`/v1/uploads/chunks/${cid}`, Buffer.alloc(0)] as const, [422]],
    ["too many bytes", (cid: string) => [`/v1/uploads/chunks/${cid}`, Buffer.alloc(1_200_000)] as const, [413]],
  ])("%s are refused", async (_name, request, statuses) => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer");
    const [path, raw] = request(cidOf(Buffer.from("hello")));
    const answer = await call(`PUT ${path}`, undefined, {
      raw,
      headers: { "content-type": "application/octet-stream" },
    });
    expect(statuses).toContain(answer.status);
    expect(answer.body["code"]).toBeTruthy();
    const cids = [cidOf(Buffer.from("hello"))];
    expect((await call("POST /v1/uploads/missing", { cids })).body).toEqual({ cids });
  });

  test("JSON is no chunk, and a path that leaves its tree is refused", async () => {
    await using api = await startTestApi();
    const { call } = await api.account("consumer");
    expect((await call(`PUT /v1/uploads/chunks/${cidOf(Buffer.from("x"))}`, {})).status).toBe(415);
    const { manifest } = treeOf({ "../../etc/passwd": Buffer.from("x") });
    const refused = await call("POST /v1/uploads", { manifest });
    expect(refused.body).toMatchObject({ status: 422, code: "invalid_request" });
  });
});

describe("outputs", () => {
  test("are listed, and each downloads byte for byte", async () => {
    await using api = await startTestApi();
    const { call, key } = await api.account("consumer", 10_000_000n);
    const worker = await api.worker(await api.account("provider"), "runner");
    const made = await call("POST /v1/jobs", jobSpec());
    const path = `/v1/jobs/${String(made.body["id"])}`;
    expect((await call(`GET ${path}/outputs`)).body.items).toEqual([]);
    expect((await call(`GET ${path}/outputs/x`)).body).toMatchObject({ status: 409, code: "outputs_not_ready" });

    const big = randomBytes(2_500_000);
    const names = { "model.bin": big, 'odd/ä "b" %2F.txt': Buffer.from("odd"), empty: Buffer.alloc(0) };
    const { manifest, chunks } = treeOf(names);
    for (const chunk of chunks) await put(call, chunk);
    const upload = await call("POST /v1/uploads", { manifest });
    const tree = await api.treeOfUpload(String(upload.body["id"]));
    const attempt = await worker.nextAssign();
    await worker.start(attempt);
    await worker.end(attempt, tree);

    const listed = (await call(`GET ${path}/outputs`)).body.items ?? [];
    expect(listed.map((file) => file["path"]).toSorted()).toEqual(Object.keys(names).toSorted());
    for (const [name, bytes] of Object.entries(names)) {
      const url = `${api.url}${path}/outputs/${name.split("/").map(encodeURIComponent).join("/")}`;
      const response = await fetch(url, { headers: { authorization: `Bearer ${key}` } });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe(String(bytes.length));
      expect(response.headers.get("content-disposition")).toMatch(/^attachment; /);
      expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
    }
    for (const wrong of ["nothing", "../model.bin", "%2e%2e%2fmodel.bin", "/etc/passwd", "odd"]) {
      expect((await call(`GET ${path}/outputs/${wrong}`)).status).toBe(404);
    }
    const other = await api.account("consumer");
    expect((await other.call(`GET ${path}/outputs/model.bin`)).status).toBe(404);
  });

  test.each([
    ["a/b/model.bin", `attachment; filename="model.bin"; filename*=UTF-8''model.bin`],
    ['x/say "hi".txt', `attachment; filename="say _hi_.txt"; filename*=UTF-8''say%20%22hi%22.txt`],
    ["grüße\r\nx: y", `attachment; filename="gr__e__x: y"; filename*=UTF-8''gr%C3%BC%C3%9Fe%0D%0Ax%3A%20y`],
    ["\ud800", `attachment; filename="_"; filename*=UTF-8''%EF%BF%BD`],
  ])("the name %j cannot break out of its header", (path, header) => {
    expect(contentDisposition(path)).toBe(header);
  });
});
