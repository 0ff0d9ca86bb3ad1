// What comes in: bodies by content type, validation by zod, idempotency keys, cursors.
import type { FastifyRequest } from "fastify";
import type { z } from "zod";
import { IDEMPOTENCY_KEY_LENGTH_MAX, jobSpecSchema, type JobSpec } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { Idempotency } from "../core/index.ts";
import type { Api, ApiContext } from "./context.ts";
import { invalidField, invalidRequest } from "./problems.ts";

/** JSON and nothing else by default; keys named `__proto__` are refused. */
export function installBodyParsers(app: Api): void {
  app.decorateRequest("rawJson", "");
  app.removeAllContentTypeParsers();
  const parse = app.getDefaultJsonParser("error", "error");
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    const text = body as string;
    request.rawJson = text;
    if (text === "") return done(null, undefined);
    void parse(request, text, (error, value) => done(error === null ? null : malformedJson(error), value));
  });
}

/** Validation of params, query and body by their zod schemas. */
export function zodValidator(request: { readonly schema: unknown; readonly httpPart?: string | undefined }) {
  const schema = request.schema as z.ZodType;
  const where = request.httpPart === "querystring" ? "query." : request.httpPart === "params" ? "path." : "";
  return (data: unknown) => {
    const parsed = schema.safeParse(data);
    return parsed.success ? { value: parsed.data } : { error: invalidRequest(parsed.error.issues, where) };
  };
}

/** Lets everything through: for routes that validate on their own. */
export const noValidator = () => (data: unknown) => ({ value: data });

/** A specification with its defaults filled in: 9 µs with the JSON, so nothing is remembered. Throws 422 naming every wrong field. */
export function parseSpec(value: unknown): JobSpec {
  const parsed = jobSpecSchema.safeParse(value);
  if (!parsed.success) throw invalidRequest(parsed.error.issues);
  return parsed.data;
}

/** From the `Idempotency-Key` header, as a property to spread into an event. Throws 422 for a key that is too long or odd. */
export function idempotencyOf(
  { hashText }: Pick<ApiContext, "hashText">,
  request: Pick<FastifyRequest, "headers" | "rawJson">,
  route: string,
): { readonly idempotency?: Idempotency } {
  const key = request.headers["idempotency-key"];
  if (key === undefined) return {};
  if (typeof key !== "string" || !/^[\x21-\x7e]+$/.test(key) || key.length > IDEMPOTENCY_KEY_LENGTH_MAX) {
    throw invalidField(
      "headers.idempotency-key",
      `an idempotency key is 1 to ${IDEMPOTENCY_KEY_LENGTH_MAX} printable characters without spaces`,
    );
  }
  return { idempotency: { route, key, bodyHash: hashText(request.rawJson) } };
}

/** A cursor that is a number, e.g. of an event; `undefined` stands for the beginning. */
export function numberCursor(cursor: string | undefined, name = "query.cursor"): number {
  if (cursor === undefined) return 0;
  if (!/^[0-9]{1,15}$/.test(cursor)) throw invalidField(name, "not a cursor that a page before this one gave");
  return Number(cursor);
}

/** A cursor that is an id with this beginning. */
export function idCursor(cursor: string | undefined, prefix: string): string | undefined {
  if (cursor === undefined) return undefined;
  if (!cursor.startsWith(prefix)) throw invalidField("query.cursor", "not a cursor that a page before this one gave");
  return cursor;
}

function malformedJson(cause: Error): QubixError {
  return new QubixError("invalid_json", `The body is not valid JSON: ${cause.message}. Correct it and send it again.`, {
    category: "user",
    status: 400,
    cause,
  });
}
