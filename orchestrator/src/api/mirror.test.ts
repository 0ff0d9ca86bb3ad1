import { expect, test } from "vitest";
import { buildTree } from "../checkpoints/testing/trees.ts";
import { jobSpec, startTestApi, type TestApi } from "./testing/test-api.ts";

const MIRROR = { standby: "mirror", priceMaxPerHour: { amount: "200000", currency: "USD" } };

/** Two replicas that run, at two providers. */
async function mirrored(api: TestApi) {
  const consumer = await api.account("consumer", 10_000_000n);
  const workers = [
    await api.worker(await api.account("provider"), "a"),
    await api.worker(await api.account("provider"), "b"),
  ];
  const made = await consumer.call("POST /v1/jobs", jobSpec(MIRROR));
  const runs = await Promise.all(
    workers.map(async (worker) => {
      const attempt = await worker.nextAssign();
      await worker.start(attempt);
      return { worker, attempt };
    }),
  );
  runs.sort((a, b) => a.attempt.replica - b.attempt.replica);
  return { ...consumer, runs, path: `/v1/jobs/${String(made.body["id"])}` };
}

test("a mirror job shows both replicas, and in the end that their results agree", async () => {
  await using api = await startTestApi();
  const { call, runs, path } = await mirrored(api);
  const [first, second] = runs;
  expect((await call(`GET ${path}`)).body).toMatchObject({
    phase: "running",
    workerId: first?.worker.id,
    workAtRiskMs: 0,
    mirror: {
      verified: false,
      third: false,
      replicas: [
        { replica: 0, state: "running", epoch: 1, workerId: first?.worker.id, result: null },
        { replica: 1, state: "running", epoch: 1, workerId: second?.worker.id, result: null },
      ],
    },
  });
  await first?.worker.end(first.attempt, null);
  expect((await call(`GET ${path}`)).body).toMatchObject({
    phase: "running",
    workerId: second?.worker.id,
    mirror: {
      replicas: [
        { state: "ended", result: "no outputs" },
        { state: "running", result: null },
      ],
    },
  });
  await second?.worker.end(second.attempt, null);
  expect((await call(`GET ${path}`)).body).toMatchObject({ phase: "succeeded", mirror: { verified: true } });
});

test("of a replica that is gone the place is shown as sought, and the other speaks for the job", async () => {
  await using api = await startTestApi();
  const { call, runs, path } = await mirrored(api);
  const [first, second] = runs;
  const outcome = { kind: "worker_failed", code: "docker_error", message: "" } as const;
  if (first !== undefined) await first.worker.say({ kind: "ended", attempt: first.attempt, ranMs: 1, outcome });
  const { body } = await call(`GET ${path}`);
  expect(body).toMatchObject({ phase: "running" });
  // The same worker may try again: nobody else of another provider is there.
  expect(body["workerId"]).toBe(second?.worker.id);
  expect(body["mirror"]).toMatchObject({
    replicas: [{ replica: 0, state: "starting", epoch: 2 }, { state: "running" }],
  });
});

test("the logs have both replicas' lines, or those of the one that is asked for", async () => {
  await using api = await startTestApi();
  const { call, runs, path } = await mirrored(api);
  for (const { worker, attempt } of runs) await worker.log(attempt, `of ${attempt.replica}\n`);
  const read = async (query: string) =>
    (await call(`GET ${path}/logs${query}`)).text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as { readonly replica?: number; readonly text: string });
  expect((await read("")).map(({ replica, text }) => [replica, text])).toEqual([
    [undefined, "of 0\n"],
    [1, "of 1\n"],
  ]);
  expect((await read("?replica=0")).map(({ text }) => text)).toEqual(["of 0\n"]);
  expect((await read("?replica=1")).map(({ text }) => text)).toEqual(["of 1\n"]);
  expect((await call(`GET ${path}/logs?replica=2`)).body).toMatchObject({ status: 422 });
});

test("the checkpoints of the second replica are listed for whoever asks for them, and are none of the job's own", async () => {
  await using api = await startTestApi();
  const { call, runs, path } = await mirrored(api);
  for (const { worker, attempt } of runs) {
    for (let seq = 1; seq <= 1 + attempt.replica; seq += 1) {
      await worker.checkpoint(attempt, seq, buildTree({ step: `${seq} of ${attempt.replica}` }).ref);
    }
  }
  const list = async (query: string) => {
    const items = (await call(`GET ${path}/checkpoints${query}`)).body["items"] as { replica?: number; seq: number }[];
    return items.map(({ replica, seq }) => [replica, seq]);
  };
  expect(await list("")).toEqual([[undefined, 1]]);
  const ofSecond = [
    [1, 1],
    [1, 2],
  ];
  expect(await list("?replica=1")).toEqual(ofSecond);
  expect(await list("?replica=all")).toEqual([[undefined, 1], ...ofSecond]);
  expect((await call(`GET ${path}/checkpoints?replica=2`)).body).toMatchObject({ status: 422 });
  expect((await call(`GET ${path}/checkpoints/2/files`)).body).toMatchObject({ status: 404 });
  expect((await call(`DELETE ${path}/checkpoints/2`)).body).toMatchObject({ status: 404 });
});

test("a quote counts both, and offers of one provider once", async () => {
  await using api = await startTestApi();
  const { call } = await api.account("consumer");
  const provider = await api.account("provider");
  await api.worker(provider, "a");
  await api.worker(provider, "b");
  const quote = async () => (await call("POST /v1/quotes", { spec: jobSpec(MIRROR) })).body;
  expect(await quote()).toMatchObject({ offers: { matching: 2, standbys: 0 }, ratePerHour: { amount: "60000" } });
  await api.worker(await api.account("provider"), "c");
  expect(await quote()).toMatchObject({ offers: { matching: 3 }, ratePerHour: { amount: "120000" } });
});
