// A machine of the lab that takes whatever comes by TCP, and says how much that was when a connection ends.
//   node sink.ts ADDRESS PORT [BYTES]   BYTES: so many go to whoever comes
import { createServer } from "node:net";

const [address = "", port = "", gives = "0"] = process.argv.slice(2);

createServer((socket) => {
  let bytes = 0;
  socket.on("data", (data) => {
    bytes += data.length;
  });
  socket.on("error", () => undefined);
  if (Number(gives) > 0) socket.end(Buffer.alloc(Number(gives)));
  socket.on("close", () => process.stdout.write(`${JSON.stringify({ bytes })}\n`));
}).listen(Number(port), address, () => process.stdout.write(`${JSON.stringify({ ready: true })}\n`));
