// dockerode loads gRPC with protocol buffers (BuildKit sessions) and an SSH client (engines on other machines), some 10 MB of memory. A worker builds
// no images and speaks to the Engine beside it: in place of these packages dockerode gets empty ones.
// To be imported before dockerode: modules are evaluated in the order of their imports.
import { createRequire, Module } from "node:module";

/** Each with the package that asks for it. */
const UNUSED = [
  ["dockerode", "@grpc/grpc-js"],
  ["dockerode", "@grpc/proto-loader"],
  ["docker-modem", "ssh2"],
] as const;

const own = createRequire(import.meta.url);
const dockerode = createRequire(own.resolve("dockerode"));
for (const [asker, name] of UNUSED) {
  const file = (asker === "dockerode" ? dockerode : createRequire(dockerode.resolve(asker))).resolve(name);
  if (own.cache[file] !== undefined) continue;
  const empty = new Module(file);
  empty.loaded = true;
  own.cache[file] = empty;
}
