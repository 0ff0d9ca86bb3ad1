export type * from "./events.ts";
export type * from "./model.ts";
