// What a program loads that keeps copies on a Kubo node.
export { createKubo } from "./kubo-client.ts";
export { createKuboPins } from "./kubo-pins.ts";
