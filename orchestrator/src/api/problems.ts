// Problem documents (RFC 9457): every error of the API as one, from zod issues, refusals of the core, errors of the HTTP layer and our own.
import type { FastifyError } from "fastify";
import type { z } from "zod";
import type { problemSchema } from "@qubix/shared/protocol";
import { QubixError, toProblem } from "@qubix/shared/runtime";
import type { Refusal, Reply } from "../core/index.ts";

export const PROBLEM_CONTENT_TYPE = "application/problem+json";
/** Understood as JSON, but not as what the route takes. */
const INVALID_STATUS = 422;
/** How many wrong fields one answer names. */
const ISSUES_MAX = 20;
/** Seconds after which an overloaded or briefly failing orchestrator is worth another try. */
export const RETRY_AFTER_S = 1;

export type ProblemDocument = z.output<typeof problemSchema>;

export interface FieldError {
  readonly path: string;
  readonly message: string;
}

/** The error for input that a schema refused; `where` is empty for the body, else `query.` and the like. */
export function invalidRequest(issues: readonly z.core.$ZodIssue[], where = ""): QubixError {
  const errors = issues.flatMap((issue) => fieldErrors(issue, where)).slice(0, ISSUES_MAX);
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return new QubixError(
    "invalid_request",
    `The request is not valid: ${first === undefined ? "see errors" : `${first.path || "body"}: ${first.message}`}${more}. Correct the named fields and send it again.`,
    { category: "user", status: INVALID_STATUS, details: { errors } },
  );
}

/** An error about one field that no schema covers. */
export function invalidField(path: string, message: string): QubixError {
  return new QubixError("invalid_request", `The request is not valid: ${path}: ${message}.`, {
    category: "user",
    status: INVALID_STATUS,
    details: { errors: [{ path, message }] },
  });
}

export function notFound(what: string, id: string): QubixError {
  const code = `${what.replaceAll(" ", "_")}_not_found`;
  return new QubixError(code, `There is no ${what} ${printable(id)} that this key may see. Check the id and the key.`, {
    category: "user",
    status: 404,
  });
}

/** A refusal of the core as an error to throw. */
export function refusalError(refusal: Refusal): QubixError {
  return new QubixError(refusal.code, refusal.message, {
    category: refusal.category,
    status: refusal.status,
    ...(refusal.details === undefined ? {} : { details: refusal.details }),
  });
}

/** The reply of the wanted kind; throws the refusal, or an internal error for another kind. */
export function expectReply<Kind extends Reply["kind"]>(reply: Reply, kind: Kind): Extract<Reply, { kind: Kind }> {
  if (reply.kind === kind) return reply as Extract<Reply, { kind: Kind }>;
  if (reply.kind === "refused") throw refusalError(reply.refusal);
  throw new QubixError("unexpected_reply", `expected ${kind}, got ${reply.kind}`, { category: "internal" });
}

/** Any thrown thing as an error of ours; what is unknown becomes `internal_error`, whose text tells nothing. */
export function toQubixError(error: unknown): QubixError {
  if (error instanceof QubixError) return error;
  const known = error instanceof Error ? fromFastify(error as FastifyError) : undefined;
  return (
    known ??
    new QubixError("internal_error", "Something went wrong on our side; nothing was done. Try again later.", {
      category: "internal",
      cause: error,
    })
  );
}

/** The document of an error; an internal one shows its code and no more than a general sentence. */
export function problemOf(error: QubixError): ProblemDocument {
  const problem = toProblem(error) as ProblemDocument;
  if (error.category !== "internal") return problem;
  return {
    ...problem,
    detail: `Something went wrong on our side (${error.code}). Try again later; the operator finds the cause in the log.`,
  };
}

function fromFastify(error: FastifyError): QubixError | undefined {
  const user = (code: string, status: number, message: string) =>
    new QubixError(code, message, { category: "user", status, cause: error });
  switch (error.code) {
    case "FST_ERR_CTP_BODY_TOO_LARGE":
      return user("body_too_large", 413, "The request body is larger than this route takes. Send less, or in parts.");
    case "FST_ERR_CTP_INVALID_MEDIA_TYPE":
      return user(
        "unsupported_media_type",
        415,
        "This content type is not understood here. Send application/json, or for chunks application/octet-stream.",
      );
    case "FST_ERR_CTP_EMPTY_JSON_BODY":
    case "FST_ERR_CTP_INVALID_CONTENT_LENGTH":
      return user("malformed_request", 400, "The body does not have the length the request says. Send it again.");
    case "FST_ERR_BAD_URL":
      return user("malformed_request", 400, "The URL is not valid. Percent-encode what is special in it.");
    default: {
      const status = error.statusCode ?? 500;
      return status >= 400 && status < 500 ? user("malformed_request", status, error.message) : undefined;
    }
  }
}

function fieldErrors(issue: z.core.$ZodIssue, where: string): readonly FieldError[] {
  const path = `${where}${pathText(issue.path)}`;
  const join = (name: string) => (path === "" || path.endsWith(".") ? `${path}${name}` : `${path}.${name}`);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: join(printable(key)), message: "unknown field" }));
  }
  if (issue.code === "invalid_union") {
    const nested = issue.errors.find((errors) => errors.length > 0)?.[0];
    if (nested !== undefined) return [{ path, message: nested.message }];
  }
  if (issue.code === "invalid_key" && issue.issues[0] !== undefined)
    return [{ path, message: issue.issues[0].message }];
  return [{ path: path.replace(/\.$/, ""), message: missing(issue) ? "is required" : issue.message }];
}

/** zod says "expected string, received undefined" of a field that is not there. */
function missing(issue: z.core.$ZodIssue): boolean {
  return issue.code === "invalid_type" && issue.message.endsWith("received undefined");
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((part) => (typeof part === "number" ? `[${part}]` : printable(String(part))))
    .join(".")
    .replaceAll(".[", "[");
}

/** What a caller wrote, cut short and without control characters. */
function printable(text: string): string {
  const safe = text.replace(/[\u0000-\u001f\u007f]/g, "?");
  return safe.length > 100 ? `${safe.slice(0, 100)}…` : safe;
}
