// The limit beside an idle worker: the same Node that holds one WebSocket, answers its pings, and does nothing else.
import { WebSocket } from "ws";

const socket = new WebSocket(process.argv[2]);
socket.on("open", () => process.stdout.write('{"ready":true}\n'));
socket.on("error", (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
});
