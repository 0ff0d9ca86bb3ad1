export { createCarExporter, type CarExport, type CarExporter } from "./car-export.ts";
export type { IpfsNode } from "./node.ts";
export type { KuboPins } from "./kubo-pins.ts";
