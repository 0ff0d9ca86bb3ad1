// A machine of the lab: greets whoever comes by TCP or UDP at port 8080, answers names by UDP at port 53, and says who came.
//   node neighbour.ts NAMES ADDRESSES…   NAMES is JSON: the addresses it knows by name
import { createSocket } from "node:dgram";
import { createServer } from "node:net";

const PORT = 8080;
const DNS_PORT = 53;
const [names = "{}", ...addresses] = process.argv.slice(2);
const known = JSON.parse(names) as Readonly<Record<string, string>>;

function told(protocol: string, at: string, from: string | undefined, name?: string): void {
  process.stdout.write(`${JSON.stringify({ protocol, at, from, name })}\n`);
}

await Promise.all(addresses.map((address) => Promise.all([tcp(address), udp(address), dns(address)])));
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);

function tcp(address: string): Promise<void> {
  const server = createServer((socket) => {
    told("tcp", address, socket.remoteAddress);
    socket.on("error", () => undefined);
    socket.end(`hello from ${address}\n`);
  });
  return new Promise((resolve, reject) => server.once("error", reject).listen(PORT, address, resolve));
}

function udp(address: string): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (_data, from) => {
    told("udp", address, from.address);
    socket.send(`hello from ${address}\n`, from.port, from.address);
  });
  return new Promise((resolve) => socket.bind(PORT, address, resolve));
}

function dns(address: string): Promise<void> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  socket.on("message", (query, from) => {
    const { name, end } = questionOf(query);
    told("dns", address, from.address, name);
    socket.send(answerTo(query, end, known[name]), from.port, from.address);
  });
  return new Promise((resolve) => socket.bind(DNS_PORT, address, resolve));
}

function questionOf(query: Buffer): { readonly name: string; readonly end: number } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join(".").toLowerCase(), end: at + 5 };
}

/** RFC 1035: the question again, and one A record, none (another type), or "no such name". */
function answerTo(query: Buffer, end: number, address: string | undefined): Buffer {
  const isA = query.readUInt16BE(end - 4) === 1;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2);
  header.writeUInt16BE(address !== undefined && isA ? 1 : 0, 6);
  header.fill(0, 8);
  const question = query.subarray(12, end);
  if (address === undefined || !isA) return Buffer.concat([header, question]);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split(".").map(Number)]);
  return Buffer.concat([header, question, record]);
}
