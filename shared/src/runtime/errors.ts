// The error taxonomy. One base class; every error a person or a program meets carries a literal code, says who must act, and what to do next.

/** Who has to act: `user` mended input; `provider` the machine's owner; `platform` the operator; `conflict` retry with fresh state; `internal` a bug. */
export type ErrorCategory = "user" | "provider" | "platform" | "timeout" | "conflict" | "internal";

export interface QubixErrorOptions {
  readonly category: ErrorCategory;
  /** HTTP status under which the API shows it. */
  readonly status?: number;
  readonly retryable?: boolean;
  readonly cause?: unknown;
  /** Safe to show to the caller; no secrets, no paths of the host. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** An error with a stable `code`. The message says what happened, why, and what to do next. */
export class QubixError extends Error {
  readonly code: string;
  readonly category: ErrorCategory;
  readonly status: number;
  readonly retryable: boolean;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, options: QubixErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "QubixError";
    this.code = code;
    this.category = options.category;
    this.status = options.status ?? STATUS_BY_CATEGORY[options.category];
    this.retryable = options.retryable ?? false;
    this.details = options.details ?? {};
  }
}

const STATUS_BY_CATEGORY: Readonly<Record<ErrorCategory, number>> = {
  user: 400,
  provider: 502,
  platform: 503,
  timeout: 504,
  conflict: 409,
  internal: 500,
};

/** RFC 9457 problem document. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
  readonly [extension: string]: unknown;
}

/** The problem document for an error; `internal` errors show no details. */
export function toProblem(error: QubixError): Problem {
  return {
    type: `urn:qubix:problem:${error.code}`,
    title: error.code.replaceAll("_", " "),
    status: error.status,
    code: error.code,
    detail: error.message,
    ...(error.category === "internal" ? {} : error.details),
  };
}

/** For the `default` of an exhaustive switch: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new QubixError("unreachable", `unexpected value ${JSON.stringify(value)}`, { category: "internal" });
}

/** Stops the program with its reason when an invariant is broken. Stays on in production: where it is asked often, `message` is put together only when it is needed. */
export function assert(condition: boolean, message: string | (() => string)): asserts condition {
  if (condition) return;
  throw new QubixError("invariant_broken", typeof message === "string" ? message : message(), { category: "internal" });
}
