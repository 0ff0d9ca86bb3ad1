// `qubix canaries` against the real API.
import { jobSpecSchema } from "@qubix/shared/protocol";
import { expect, test } from "vitest";
import { jobSpec, startTestApi, type TestApi } from "../../../orchestrator/src/api/testing/test-api.ts";
import { runCli } from "./index.ts";

const CANARY = {
  name: "one",
  spec: jobSpecSchema.parse(jobSpec({ image: `docker.io/library/python@sha256:${"c".repeat(64)}` })),
  expected: { exitCode: 0, sum: "a".repeat(64) },
};

async function canaries(api: TestApi, ...args: readonly string[]) {
  const texts = { stdout: "", stderr: "" };
  const code = await runCli(["canaries", ...args], {
    stdout: { write: (text) => void (texts.stdout += text) },
    stderr: { write: (text) => void (texts.stderr += text) },
    env: { QUBIX_URL: api.url, QUBIX_API_KEY: api.adminKey },
    onInterrupt: () => () => {},
  });
  return { code, ...texts };
}

test("shows each with what it came to, as text and as JSON", async () => {
  await using api = await startTestApi({ canaries: [CANARY] });
  const shown = await canaries(api);
  expect(shown).toMatchObject({ code: 0, stderr: expect.stringContaining("100.00% of all jobs") });
  expect(shown.stdout).toMatch(/NAME +GPU +GIVEN +RIGHT +WRONG +STATE\none +- +0 +0 +0 +unproven/);
  const items = [{ name: "one", gpuModel: null, given: 0, right: 0, wrong: 0, state: "unproven" }];
  expect(JSON.parse((await canaries(api, "--json")).stdout)).toEqual({ share: 1, items });
});

test("says how to have some where there are none", async () => {
  await using api = await startTestApi();
  expect(await canaries(api)).toMatchObject({
    code: 0,
    stdout: "",
    stderr: expect.stringContaining("--canaries FILE"),
  });
});
