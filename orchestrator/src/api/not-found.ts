// Addresses that are not there: 404, or 405 where only the method is wrong.
import { QubixError } from "@qubix/shared/runtime";
import type { Api } from "./context.ts";

/** To be called before the routes are added: it remembers them. */
export function installNotFound(app: Api): void {
  const routes = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();
  app.addHook("onRoute", ({ url, method }) => {
    const route = routes.get(url) ?? { pattern: patternOf(url), methods: new Set<string>() };
    for (const name of [method].flat()) route.methods.add(name);
    routes.set(url, route);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split("?")[0] ?? "";
    const methods = [...routes.values()]
      .filter(({ pattern }) => pattern.test(path))
      .flatMap((route) => [...route.methods]);
    if (methods.length === 0) {
      throw new QubixError("route_not_found", "There is nothing at this address. GET /openapi.json lists what is.", {
        category: "user",
        status: 404,
      });
    }
    const allowed = [...new Set(methods)].toSorted().join(", ");
    reply.header("allow", allowed);
    throw new QubixError("method_not_allowed", `This address takes ${allowed}, not ${request.method}.`, {
      category: "user",
      status: 405,
    });
  });
}

function patternOf(url: string): RegExp {
  const escaped = url.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replace(/:[A-Za-z]+/g, "[^/]+").replaceAll("*", ".*")}/?$`);
}
