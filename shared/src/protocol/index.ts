export * from "./bulk.ts";
export * from "./common.ts";
export * from "./http.ts";
export * from "./image-ref.ts";
export * from "./job-spec.ts";
export * from "./limits.ts";
export * from "./manifest.ts";
export * from "./worker-messages.ts";
