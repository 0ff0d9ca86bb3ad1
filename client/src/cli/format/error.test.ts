import { QubixError } from "@qubix/shared/errors";
import pc from "picocolors";
import { expect, test } from "vitest";
import { errorFromResponse, errorFromTransport } from "../../sdk/problem.ts";
import { exitCodeOf, usageError } from "../exit-codes.ts";
import { errorJson, formatError } from "./error.ts";

const plain = pc.createColors(false);
const problem = (status: number, fields: object) => errorFromResponse(status, JSON.stringify({ status, ...fields }));

test("field errors are listed when there are several", () => {
  const errors = [
    { path: "image", message: "not an image reference" },
    { path: "resources.cpus", message: "at least 0.1" },
  ];
  const error = problem(400, { code: "invalid_request", detail: "The request is not valid.", errors });
  expect(formatError(error, plain)).toBe(
    "error: The request is not valid.\n  image: not an image reference\n  resources.cpus: at least 0.1",
  );
  expect(errorJson(error)).toEqual({
    error: { code: "invalid_request", message: "The request is not valid.", status: 400, errors },
  });
});

test("one wrong field stands in the message already", () => {
  const errors = [{ path: "image", message: "bad" }];
  const error = problem(400, { code: "invalid_request", detail: "image: bad", errors });
  expect(formatError(error, plain)).toBe("error: image: bad");
});

test("no answer: says where, why, and what to do", () => {
  const cause = Object.assign(new TypeError("fetch failed"), { cause: { code: "ECONNREFUSED" } });
  const text = formatError(errorFromTransport("http://127.0.0.1:1/v1/jobs?x=1", cause), plain);
  expect(text).toMatch(/^error: Cannot reach the orchestrator at http:\/\/127\.0\.0\.1:1: connection refused\./);
  expect(text).toContain("--url or QUBIX_URL");
});

test("an answer that is no problem document is explained", () => {
  const error = errorFromResponse(502, "<html>nginx</html>");
  expect(error.code).toBe("http_502");
  expect(error.message).toContain("Is the URL that of a Qubix orchestrator?");
});

test.each([
  [usageError("x"), 2],
  [problem(400, { code: "invalid_request" }), 2],
  [problem(422, { code: "invalid_request" }), 2],
  [problem(401, { code: "api_key_unknown" }), 3],
  [problem(403, { code: "forbidden" }), 3],
  [problem(404, { code: "job_not_found" }), 4],
  [problem(402, { code: "insufficient_funds" }), 1],
  [problem(422, { code: "not_available" }), 1],
  [problem(500, { code: "internal_error" }), 1],
  [errorFromTransport("http://x", new Error("gone")), 5],
  [new QubixError("url_invalid", "x", { category: "user" }), 2],
  [new Error("anything"), 1],
])("exit code %#", (error, code) => expect(exitCodeOf(error)).toBe(code));
