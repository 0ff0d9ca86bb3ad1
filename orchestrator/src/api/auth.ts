// Who asks: an API key from `Authorization: Bearer KEY` or `X-API-Key`, looked up by its SHA-256. Every route names who may call it; one that names nobody is closed.
import type { IncomingHttpHeaders } from "node:http";
import { EVENTS_KEY_SUBPROTOCOL } from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { hashSecret } from "../accounts/secrets.ts";
import { findApiKey, type Actor, type CoreState } from "../core/index.ts";
import type { Access, Api, ApiWriter } from "./context.ts";

/** Sets `request.actor` before a route runs, or answers 401 or 403. */
export function installAuth(app: Api, writer: Pick<ApiWriter, "state">): void {
  app.decorateRequest("actor", null);
  app.addHook("onRequest", (request, _reply, done) => {
    const access = request.routeOptions.config.access;
    if (access === "public" || request.is404) return done();
    try {
      request.actor = authorise(authenticate(writer.state(), keyOf(request.headers, request.ws)), access);
      return done();
    } catch (error) {
      return done(error as Error);
    }
  });
}

/** The account behind a key. Throws 401 without one or with one that nobody has. */
export function authenticate(state: CoreState, key: string | undefined): Actor {
  if (key === undefined) {
    throw unauthorised(
      "This needs an API key. Send it as `Authorization: Bearer KEY`; an administrator makes one with POST /v1/api-keys.",
    );
  }
  const hash = hashSecret(key);
  const found = hash === undefined ? undefined : findApiKey(state, hash);
  if (found === undefined) {
    throw unauthorised(
      "This API key is not known here. Check that it is whole and belongs to this orchestrator, or ask an administrator for another.",
    );
  }
  return { accountId: found.account.id, role: found.account.role };
}

function authorise(actor: Actor, access: Access | undefined): Actor {
  if (access === "any") return actor;
  if (access !== undefined && access !== "public" && access.includes(actor.role)) return actor;
  const who = access === undefined || access === "public" ? "nobody" : access.join(" or ");
  throw new QubixError("forbidden", `This needs a key of role ${who}; yours is of role ${actor.role}.`, {
    category: "user",
    status: 403,
  });
}

function keyOf(headers: IncomingHttpHeaders, websocket: boolean): string | undefined {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  if (bearer !== undefined) return bearer;
  const header = headers["x-api-key"];
  if (typeof header === "string" && header !== "") return header;
  if (!websocket) return undefined;
  // A browser's WebSocket cannot set headers; it can name subprotocols.
  const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
  return offered.find((name) => name.startsWith(EVENTS_KEY_SUBPROTOCOL))?.slice(EVENTS_KEY_SUBPROTOCOL.length);
}

function unauthorised(message: string): QubixError {
  return new QubixError("unauthorized", message, { category: "user", status: 401 });
}
