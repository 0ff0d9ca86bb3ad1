// From what came over the wire to the one error class.
import { type ErrorCategory, QubixError } from "@qubix/shared/errors";

/** One field that was not accepted, in the `details.errors` of an error. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

/** The error for an answer that is not 2xx: `code`, `status` and message of its problem document; its other fields are `details`. */
export function errorFromResponse(status: number, body: string): QubixError {
  const problem = problemIn(body);
  const { code, detail, type: _type, title, status: _status, ...details } = problem;
  const message =
    typeof detail === "string" && detail !== ""
      ? detail
      : `The server answered ${status}${typeof title === "string" ? ` (${title})` : ""}. Is the URL that of a Qubix orchestrator?`;
  return new QubixError(typeof code === "string" ? code : `http_${status}`, message, {
    category: categoryOf(status),
    status,
    retryable: isRetryable(status),
    details,
  });
}

/** The error for an exchange that gave no answer at all. */
export function errorFromTransport(url: string, cause: unknown): QubixError {
  const origin = originOf(url);
  return new QubixError(
    "cannot_connect",
    `Cannot reach the orchestrator at ${origin}: ${reasonOf(cause)}. Check that it runs and that the URL is right.`,
    { category: "platform", retryable: true, cause, details: { url: origin } },
  );
}

/** The error for an exchange that took longer than it may. */
export function errorFromTimeout(url: string, timeoutMs: number): QubixError {
  const origin = originOf(url);
  return new QubixError(
    "request_timeout",
    `The orchestrator at ${origin} gave no answer within ${timeoutMs / 1000} s. Try again; if it goes on, look at the orchestrator's own log.`,
    { category: "timeout", retryable: true, details: { url: origin } },
  );
}

/** Answers after which nothing was done, so that the same request may be sent again. */
export function isRetryable(status: number): boolean {
  return status === 503 || status === 429;
}

/** The fields an error names, or none. */
export function fieldErrorsOf(error: QubixError): readonly FieldError[] {
  const errors = error.details["errors"];
  return Array.isArray(errors) ? errors.filter(isFieldError) : [];
}

function isFieldError(value: unknown): value is FieldError {
  return typeof value === "object" && value !== null && "path" in value && "message" in value;
}

function problemIn(body: string): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(body);
    return typeof parsed === "object" && parsed !== null ? { ...parsed } : {};
  } catch {
    return {};
  }
}

function categoryOf(status: number): ErrorCategory {
  if (status === 409) return "conflict";
  if (status === 408 || status === 504) return "timeout";
  if (status === 502 || status === 503 || status === 429) return "platform";
  return status >= 500 ? "internal" : "user";
}

function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url;
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the connection was cut",
  UND_ERR_SOCKET: "the connection was cut",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "the name could not be looked up",
  ETIMEDOUT: "no answer",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
};

/** `fetch` hides the reason in `cause`, and several addresses give an AggregateError. */
function reasonOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return String(error);
  const code = "code" in error ? String(error.code) : "";
  if (REASONS[code] !== undefined) return REASONS[code];
  if ("errors" in error && Array.isArray(error.errors) && error.errors.length > 0) return reasonOf(error.errors[0]);
  if ("cause" in error && error.cause !== undefined && error.cause !== null) return reasonOf(error.cause);
  return "message" in error ? String(error.message) : code;
}
