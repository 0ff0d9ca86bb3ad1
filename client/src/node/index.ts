// What the SDK can do more of in Node: keep-alive HTTP, uploads from and downloads to the disk.
export { cidOf } from "./cid.ts";
export * from "./download.ts";
export * from "./http-client.ts";
export { createHttpTransport, type HttpTransport } from "./http-transport.ts";
export { openNodeSocket } from "./socket.ts";
export * from "./upload.ts";
