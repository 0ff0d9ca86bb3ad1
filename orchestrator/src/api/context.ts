// What the routes need from around them, and what a request carries.
import type { FastifyInstance, FastifyRequest, RawServerDefault } from "fastify";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { FastifyBaseLogger } from "fastify";
import type { ZodTypeProvider } from "fastify-type-provider-zod";
import type { Role } from "@qubix/shared/protocol";
import { QubixError, type Logger, type RandomSource } from "@qubix/shared/runtime";
import type { Writer } from "../app/writer-port.ts";
import type { ChunkStore } from "../checkpoints/index.ts";
import type { Actor, CoreState } from "../core/index.ts";
import type { Chains } from "../settlement/chains.ts";
import type { Vault } from "../vault/index.ts";
import type { Watch } from "./watch.ts";

/** The single writer, as far as the API needs it; `state` is committed state, for reads that do not cross an await. */
export type ApiWriter = Pick<Writer, "submit" | "nowMs" | "onEvents" | "onLogs" | "healthy" | "metrics" | "store"> & {
  state(): CoreState;
};

/** The chunk store, as far as the API needs it. */
export type ApiChunks = Pick<
  ChunkStore,
  "missing" | "put" | "putManifest" | "admitTree" | "settleTree" | "readManifest" | "openFile" | "usage" | "blocks"
>;

export interface ApiContext {
  readonly writer: ApiWriter;
  readonly chunks: ApiChunks;
  readonly watch: Watch;
  readonly random: RandomSource;
  readonly vault: Pick<Vault, "put" | "settle" | "remove">;
  /** Tells bodies apart for idempotency keys; without the orchestrator's key nobody can try out what a body was. */
  readonly hashText: (text: string) => string;
  readonly logger: Logger;
  readonly orchestratorId: string;
  /** Which currency lies where. */
  readonly chains: Chains;
  /** A time on the orchestrator's clock as wall time (RFC 3339). */
  readonly wallOf: (clockMs: number) => string;
  /** Throws when the data folder cannot take more. */
  checkStorage(): Promise<void>;
  /** Further figures for `/metrics`, e.g. the gateway's. */
  gauges(): Readonly<Record<string, number>>;
}

/** Who may call a route: `public` needs no key; `any` any valid key; else one of the roles. */
export type Access = "public" | "any" | readonly Role[];

declare module "fastify" {
  interface FastifyContextConfig {
    /** Without it a route is closed to everybody: forgetting it cannot open one. */
    access?: Access;
  }
  interface FastifyRequest {
    actor: Actor | null;
    /** The JSON body as it came, for idempotency. */
    rawJson: string;
  }
}

export type Api = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** Who asks. Throws when the route is public: then nobody in particular does. */
export function actorOf(request: Pick<FastifyRequest, "actor">): Actor {
  if (request.actor === null) throw new QubixError("no_actor", "a public route has no actor", { category: "internal" });
  return request.actor;
}
