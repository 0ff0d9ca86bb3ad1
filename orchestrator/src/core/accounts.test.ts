import { type AccountId, AMOUNT_MAX, type ApiKeyId, type EnrolmentId, type JobId } from "@qubix/shared/domain";
import { describe, expect, test } from "vitest";
import { balanceOf, findAccount, findApiKey, liveJob } from "./reads.ts";
import { ADMIN, Network, offerOf, specOf, treeOf } from "./testing/kit.ts";

const HOUR_MS = 3_600_000;

describe("accounts and keys", () => {
  test("the first start makes the admin, later ones do not", () => {
    const net = new Network();
    expect(findApiKey(net.state, "hash-of-admin")?.account).toMatchObject({ id: "acc-admin", role: "admin" });
    net.restart();
    net.do({ kind: "boot", admin: { keyId: "key-other" as ApiKeyId, keyHash: "hash-of-another" } });
    expect(findApiKey(net.state, "hash-of-another")).toBeUndefined();
    expect(findApiKey(net.state, "hash-of-admin")).toBeDefined();
  });

  test("only an admin makes accounts, keys and deposits", () => {
    const net = new Network();
    const actor = net.account("consumer", 1n);
    const { accountId } = actor;
    const forbidden = { kind: "refused", refusal: { status: 403, code: "forbidden" } };
    expect(net.do({ kind: "account.create", actor, name: "x", role: "admin" })).toMatchObject(forbidden);
    expect(
      net.do({ kind: "apiKey.create", actor, accountId, name: "k", keyId: "key-1" as ApiKeyId, keyHash: "h" }),
    ).toMatchObject(forbidden);
    expect(net.do({ kind: "deposit", actor, accountId, amount: 1n, currency: "USD", reference: "" })).toMatchObject(
      forbidden,
    );
    expect(balanceOf(net.state, `customer:${accountId}`, "USD")).toBe(1_000_000n);
  });

  test("a balance stays within what a 64-bit column and a request can name", () => {
    const net = new Network();
    const actor = net.account("consumer", 1n);
    expect(net.deposit(actor, AMOUNT_MAX)).toMatchObject({ refusal: { status: 422, code: "amount_too_large" } });
    expect(net.deposit(actor, 0n)).toMatchObject({ refusal: { status: 422, code: "amount_not_positive" } });
    expect(net.balance(`customer:${actor.accountId}`)).toBe(1_000_000n);
  });

  test("a key belongs to an account that exists", () => {
    const net = new Network();
    const { accountId } = net.account("consumer");
    const make = (id: AccountId) =>
      net.do({
        kind: "apiKey.create",
        actor: ADMIN,
        accountId: id,
        name: "k",
        keyId: "key-2" as ApiKeyId,
        keyHash: "h2",
      });
    expect(make("acc-nobody" as AccountId)).toMatchObject({ refusal: { status: 404, code: "account_not_found" } });
    expect(make(accountId)).toMatchObject({ kind: "apiKey", apiKey: { accountId } });
    expect(findApiKey(net.state, "h2")?.account).toEqual(findAccount(net.state, accountId));
  });
});

describe("enrolment", () => {
  function ask(net: Network, accountId: AccountId, actor = ADMIN, ttlMs = 1_000) {
    return net.do({
      kind: "enrolment.create",
      actor,
      accountId,
      enrolmentId: "enr-1" as EnrolmentId,
      tokenHash: "token",
      ttlMs,
    });
  }
  const redeem = (net: Network, publicKey: string, tokenHash = "token") =>
    net.do({ kind: "enrolment.redeem", tokenHash, name: "machine", publicKey });

  test("is for admins, and for providers themselves", () => {
    const net = new Network();
    const provider = net.account("provider");
    const other = net.account("provider");
    const consumer = net.account("consumer");
    expect(ask(net, provider.accountId, other)).toMatchObject({ refusal: { code: "forbidden" } });
    expect(ask(net, consumer.accountId, consumer)).toMatchObject({ refusal: { code: "forbidden" } });
    expect(ask(net, provider.accountId, provider)).toMatchObject({ kind: "enrolment" });
  });

  test("works once; the same machine may ask again", () => {
    const net = new Network();
    ask(net, net.account("provider").accountId);
    const first = redeem(net, "key-one");
    expect(first).toMatchObject({ kind: "worker" });
    expect(redeem(net, "key-one")).toEqual(first);
    expect(redeem(net, "key-two")).toMatchObject({ refusal: { status: 409, code: "enrolment_used" } });
    expect(redeem(net, "key-two", "no such token")).toMatchObject({ refusal: { code: "enrolment_unknown" } });
  });

  test("expires, and is forgotten a day later", () => {
    const net = new Network();
    ask(net, net.account("provider").accountId);
    net.pass(1_000);
    expect(redeem(net, "key-one")).toMatchObject({ refusal: { status: 410, code: "enrolment_expired" } });
    net.pass(25 * HOUR_MS);
    expect(redeem(net, "key-one")).toMatchObject({ refusal: { code: "enrolment_unknown" } });
    expect(net.kept.all("enrolments")).toHaveLength(0);
  });

  test("refuses a key that is enrolled already", () => {
    const net = new Network();
    const provider = net.account("provider");
    net.enrol(provider, "first");
    ask(net, provider.accountId);
    expect(redeem(net, "public-first")).toMatchObject({ refusal: { status: 409, code: "worker_exists" } });
  });
});

describe("an idempotency key", () => {
  const key = (bodyHash: string) => ({ route: "POST /v1/jobs", key: "once", bodyHash });

  test("gives the first job again, refuses another body, and is forgotten after a day", () => {
    const net = new Network();
    const actor = net.account("consumer", 1_000n);
    const create = (bodyHash: string) =>
      net.do({ kind: "job.create", actor, spec: specOf({ queueS: 10 }), idempotency: key(bodyHash) });
    const first = create("a");
    const jobId = (first as { jobId: JobId }).jobId;
    expect(create("a")).toMatchObject({ kind: "job", jobId, repeated: true });
    expect(create("b")).toMatchObject({ refusal: { status: 409, code: "idempotency_key_reused" } });
    expect(net.kept.all("jobs")).toHaveLength(1);
    net.pass(20_000);
    expect(create("a")).toMatchObject({ jobId, job: null, repeated: true });
    net.pass(24 * HOUR_MS);
    expect(net.kept.all("idempotency")).toHaveLength(0);
    expect((create("a") as { jobId: JobId }).jobId).not.toBe(jobId);
  });

  test("is one account's own", () => {
    const net = new Network();
    const actors = [net.account("consumer", 100n), net.account("consumer", 100n)];
    const ids = actors.map((actor) => net.do({ kind: "job.create", actor, spec: specOf(), idempotency: key("a") }));
    expect(ids.every((reply) => reply.kind === "job" && !reply.repeated)).toBe(true);
  });

  test("makes a deposit happen once", () => {
    const net = new Network();
    const { accountId } = net.account("consumer");
    const give = () =>
      net.do({
        kind: "deposit",
        actor: ADMIN,
        accountId,
        amount: 5n,
        currency: "USD",
        reference: "",
        idempotency: { route: "POST /v1/wallet/deposits", key: "k", bodyHash: "h" },
      });
    expect(give()).toEqual(give());
    expect(net.balance(`customer:${accountId}`)).toBe(5n);
  });
});

describe("a specification", () => {
  function refusal(net: Network, input: Parameters<typeof specOf>[0], actor = net.account("consumer", 100n)) {
    const reply = net.do({ kind: "job.create", actor, spec: specOf(input) });
    return reply.kind === "refused" ? reply.refusal : undefined;
  }

  test("that names what is not built is refused by name", () => {
    const refused = refusal(new Network(), {
      inputs: [{ url: "https://example.org/a", to: "/in" }],
      isolation: "sandboxed",
      resources: { gpus: { count: 1 } },
    });
    expect(refused).toMatchObject({ status: 422, code: "not_available" });
    expect(refused?.message).toContain("inputs by url, isolation: sandboxed with GPUs");
  });

  test("is refused for providers, foreign registries and uploads of others", () => {
    const net = new Network();
    const owner = net.account("consumer", 100n);
    net.do({ kind: "upload.create", actor: owner, uploadId: "upl-1", tree: treeOf("upload") });
    expect(refusal(net, {}, net.account("provider"))).toMatchObject({ status: 403 });
    expect(refusal(net, { image: "evil.example:5000/x/y" })).toMatchObject({ code: "image_not_allowed" });
    const inputs = [{ upload: "upl-1", to: "/in" }];
    expect(refusal(net, { inputs })).toMatchObject({ status: 422, code: "upload_unknown" });
    expect(refusal(net, { inputs }, owner)).toBeUndefined();
  });

  test("may name an image by upload: one file, and its own", () => {
    const net = new Network();
    const owner = net.account("consumer", 100n);
    net.do({ kind: "upload.create", actor: owner, uploadId: "upl-1", tree: { ...treeOf("image"), files: 1 } });
    net.do({ kind: "upload.create", actor: owner, uploadId: "upl-2", tree: { ...treeOf("folder"), files: 2 } });
    expect(refusal(net, { image: "upload:upl-1" })).toMatchObject({ status: 422, code: "upload_unknown" });
    expect(refusal(net, { image: "upload:upl-9" }, owner)).toMatchObject({ status: 422, code: "upload_unknown" });
    expect(refusal(net, { image: "upload:upl-2" }, owner)).toMatchObject({ status: 422, code: "image_not_one_file" });
    const id = net.submit(owner, { image: "upload:upl-1" });
    expect(net.job(id)).toMatchObject({ phase: "queued", imageTree: treeOf("image").manifestCid });
    const provider = net.account("provider");
    net.worker(provider, "old");
    expect(net.job(id).phase).toBe("queued");
    const worker = net.worker(provider, "new", offerOf({ features: ["image-upload"] }));
    expect(net.last(worker, "assign")?.run).toMatchObject({
      image: "upload:upl-1",
      imageTree: { manifestCid: treeOf("image").manifestCid },
    });
  });

  test("resolves its inputs to trees", () => {
    const net = new Network();
    const owner = net.account("consumer", 100n);
    net.do({ kind: "upload.create", actor: owner, uploadId: "upl-1", tree: treeOf("upload") });
    const id = net.submit(owner, { inputs: [{ upload: "upl-1", to: "/in" }] });
    expect(liveJob(net.state, id)?.job.inputs).toEqual([{ manifestCid: treeOf("upload").manifestCid, to: "/in" }]);
  });
});
