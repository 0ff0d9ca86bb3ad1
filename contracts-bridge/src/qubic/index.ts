export * from "./driver.ts";
export * from "./identity.ts";
export * from "./rpc.ts";
