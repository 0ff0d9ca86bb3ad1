export * from "./artifact.ts";
export * from "./driver.ts";
