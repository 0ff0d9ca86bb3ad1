// Accounts, API keys and enrolment tokens. Secrets are made here, shown in the answer once, and kept only as hashes.
import { createPublicKey, verify } from "node:crypto";
import {
  accountSchema,
  apiKeySchema,
  createAccountSchema,
  createApiKeySchema,
  createEnrolmentSchema,
  enrolRequestSchema,
  enrolResponseSchema,
  enrolText,
  enrolmentSchema,
  pageOf,
  pageQuerySchema,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import type { z } from "zod";
import { createApiKey, createEnrolmentToken, hashSecret } from "../../accounts/secrets.ts";
import { listAccounts, type AccountRecord } from "../../core/index.ts";
import { actorOf, type Api, type ApiContext } from "../context.ts";
import { idCursor, idempotencyOf } from "../input.ts";
import { pageOfRows } from "../pages.ts";
import { expectReply, invalidField } from "../problems.ts";
import { problems } from "../schemas.ts";

/** DER of a SubjectPublicKeyInfo up to the raw Ed25519 key (RFC 8410). */
const ED25519_SPKI_PREFIX = Buffer.from("302a300506032b6570032100", "hex");
const ED25519_KEY_BYTES = 32;
const MS_PER_S = 1000;

export function accountRoutes(app: Api, ctx: ApiContext): void {
  app.route({
    method: "POST",
    url: "/v1/accounts",
    config: { access: ["admin"] },
    schema: {
      tags: ["accounts"],
      summary: "Make an account",
      body: createAccountSchema,
      response: { 201: accountSchema, ...problems(400, 401, 403, 409, 413, 415, 503) },
    },
    handler: async (request, reply) => {
      const event = { kind: "account.create", actor: actorOf(request), ...request.body } as const;
      const created = await ctx.writer.submit({ ...event, ...idempotencyOf(ctx, request, "POST /v1/accounts") });
      reply.code(201);
      return viewAccount(ctx, expectReply(created, "account").account);
    },
  });

  app.route({
    method: "GET",
    url: "/v1/accounts",
    config: { access: "any" },
    schema: {
      tags: ["accounts"],
      summary: "Your account; an administrator sees all",
      querystring: pageQuerySchema.strict(),
      response: { 200: pageOf(accountSchema), ...problems(400, 401) },
    },
    handler: async (request) => {
      const { cursor, limit } = request.query;
      const actor = actorOf(request);
      const after = idCursor(cursor, "acc-");
      const all = [...listAccounts(ctx.writer.state())]
        .filter((account) => actor.role === "admin" || account.id === actor.accountId)
        .filter((account) => after === undefined || account.id > after)
        .toSorted((a, b) => (a.id < b.id ? -1 : 1));
      return pageOfRows(all, limit, (account) => [viewAccount(ctx, account)]);
    },
  });

  app.route({
    method: "POST",
    url: "/v1/api-keys",
    config: { access: ["admin"] },
    schema: {
      tags: ["accounts"],
      summary: "Make an API key; it is shown in this answer and never again",
      body: createApiKeySchema,
      response: { 201: apiKeySchema, ...problems(400, 401, 403, 404, 413, 415, 503) },
    },
    handler: async (request, reply) => {
      const made = createApiKey(ctx.random);
      const created = await ctx.writer.submit({
        kind: "apiKey.create",
        actor: actorOf(request),
        ...request.body,
        keyId: made.id,
        keyHash: made.hash,
      });
      const { apiKey } = expectReply(created, "apiKey");
      reply.code(201).header("cache-control", "no-store");
      return {
        id: apiKey.id,
        accountId: apiKey.accountId,
        name: apiKey.name,
        createdAt: ctx.wallOf(apiKey.createdAtMs),
        key: made.secret,
      };
    },
  });

  app.route({
    method: "POST",
    url: "/v1/enrolments",
    config: { access: ["provider", "admin"] },
    schema: {
      tags: ["workers"],
      summary: "A one-time token with which a new worker enrols; it is shown in this answer and never again",
      body: createEnrolmentSchema.nullish(),
      response: { 201: enrolmentSchema, ...problems(400, 401, 403, 404, 413, 415, 503) },
    },
    handler: async (request, reply) => {
      const actor = actorOf(request);
      const { ttlS, accountId = actor.accountId } = request.body ?? createEnrolmentSchema.parse({});
      const made = createEnrolmentToken(ctx.random);
      const created = await ctx.writer.submit({
        kind: "enrolment.create",
        actor,
        accountId,
        enrolmentId: made.id,
        tokenHash: made.hash,
        ttlMs: ttlS * MS_PER_S,
      });
      const { enrolment } = expectReply(created, "enrolment");
      reply.code(201).header("cache-control", "no-store");
      return { id: enrolment.id, accountId: enrolment.accountId, expiresInS: ttlS, token: made.secret };
    },
  });

  app.route({
    method: "POST",
    url: "/v1/enrolments/redeem",
    config: { access: "public" },
    schema: {
      tags: ["workers"],
      summary: "A new worker enrols with its token and its public key",
      body: enrolRequestSchema,
      response: { 201: enrolResponseSchema, ...problems(400, 403, 404, 409, 410, 413, 415, 422, 503) },
    },
    handler: async (request, reply) => {
      const { token, name, publicKey, signature } = request.body;
      checkKeyIsHeld(token, publicKey, signature);
      const tokenHash = hashSecret(token) ?? "";
      const redeemed = await ctx.writer.submit({ kind: "enrolment.redeem", tokenHash, name, publicKey });
      reply.code(201);
      return { workerId: expectReply(redeemed, "worker").worker.id, orchestratorId: ctx.orchestratorId };
    },
  });
}

function viewAccount(ctx: ApiContext, account: AccountRecord): z.output<typeof accountSchema> {
  return { id: account.id, name: account.name, role: account.role, createdAt: ctx.wallOf(account.createdAtMs) };
}

/** Whoever enrols a public key proves that he holds its other half, so that nobody can enrol another's worker. */
function checkKeyIsHeld(token: string, publicKey: string, signature: string): void {
  const raw = Buffer.from(publicKey, "base64url");
  if (raw.length !== ED25519_KEY_BYTES) throw invalidField("publicKey", "a raw Ed25519 public key has 32 bytes");
  const key = createPublicKey({ key: Buffer.concat([ED25519_SPKI_PREFIX, raw]), format: "der", type: "spki" });
  if (!verify(null, Buffer.from(enrolText(token)), key, Buffer.from(signature, "base64url"))) {
    throw new QubixError(
      "signature_invalid",
      "The signature is not of this public key over this token. Enrol again with the worker's own key.",
      { category: "user", status: 403 },
    );
  }
}
