// The OpenAPI 3.1 document, made from the schemas that validate the requests, and a page to read it with.
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { createJsonSchemaTransform } from "fastify-type-provider-zod";
import { z } from "zod";
import type { Api } from "./context.ts";

const OPENAPI_URL = "/openapi.json";
const DOCS_PREFIX = "/docs";

/** To be called before the routes are added. */
export async function installOpenapi(app: Api): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: {
        title: "Qubix",
        version: "1",
        description:
          "GPU time on other people's machines, with promises kept when those machines die. Errors are RFC 9457 problem documents with a stable `code`. " +
          "Lists are cursor-paged: pass `nextCursor` back as `cursor`. `Idempotency-Key` makes a repeated POST give its first result. Amounts are decimal strings of micro-units.",
      },
      components: { securitySchemes: { key: { type: "http", scheme: "bearer" } } },
      security: [{ key: [] }],
    },
    transform: createJsonSchemaTransform({ skipList: [], zodToJsonConfig: { unrepresentable: "any" } }),
  });
  app.addHook("onRoute", (route) => {
    if (route.url === DOCS_PREFIX || route.url.startsWith(`${DOCS_PREFIX}/`)) {
      route.config = { ...route.config, access: "public" };
    }
  });
  await app.register(swaggerUi, { routePrefix: DOCS_PREFIX });
}

export function openapiRoute(app: Api): void {
  app.route({
    method: "GET",
    url: OPENAPI_URL,
    config: { access: "public" },
    schema: { tags: ["health"], summary: "This document", response: { 200: z.record(z.string(), z.unknown()) } },
    handler: async () => ({ ...app.swagger() }),
  });
}
