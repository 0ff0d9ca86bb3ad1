// How fast a standby fetches straight from its primary, on the loopback, each in a process of its own. Beside it in the same run: a bare libp2p stream (what TCP, Noise
// and yamux give; nobody checks what comes), and the WebSocket way with a server that answers from memory.
import { join } from "node:path";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";
import { startRole } from "../harness/roles.ts";
import type { PeerHandlers } from "./peer-role.ts";
import type { SocketHandlers } from "./socket-role.ts";

const BAR_MB_PER_S = 200;
const MB_PER_MIB = 1.048576;
/** What fits into the primary's memory of what moved; the rest of it lies in its file, as with a large checkpoint. */
const WARM_MIB = 16;

export async function runDirect(
  report: Report,
  cleanup: Cleanup,
  options: { readonly mib: number; readonly runs: number },
): Promise<void> {
  const { mib } = options;
  const folder = await scratchFolder(cleanup, "direct");
  const peerUrl = new URL("peer-role.ts", import.meta.url);
  const [primary, standby] = [startRole<PeerHandlers>(cleanup, peerUrl), startRole<PeerHandlers>(cleanup, peerUrl)];
  const socket = startRole<SocketHandlers>(cleanup, new URL("socket-role.ts", import.meta.url));
  const primaryKey = await primary.open({ at: join(folder, "primary") });
  const standbyKey = await standby.open({ at: join(folder, "standby") });
  const at = await primary.name({ as: "primary", publicKey: standbyKey, at: [] });
  await standby.name({ as: "standby", publicKey: primaryKey, at });
  const bare = await primary.serveBare({ mib });
  const store = await socket.start({ publicKey: standbyKey, mib });
  const cids = await primary.ship({ mib });
  const warm = cids.slice(-WARM_MIB);

  const rates = { direct: [] as number[], bare: [] as number[], socket: [] as number[] };
  let cpuS = 0;
  await standby.fetchDirect({ cids: warm });
  for (let run = 0; run < options.runs; run += 1) {
    // In turn, so that a busy moment of the machine does not fall on one of them alone.
    const before = (await primary.cpu()) + (await standby.cpu());
    rates.direct.push(rate(mib, await standby.fetchDirect({ cids })));
    cpuS += (await primary.cpu()) + (await standby.cpu()) - before;
    rates.bare.push(rate(mib, await standby.fetchBare({ address: bare, mib })));
    rates.socket.push(rate(mib, await standby.fetchSocket({ ...store })));
    report.progress(
      `direct ${last(rates.direct)}, bare libp2p ${last(rates.bare)}, WebSocket ${last(rates.socket)} MB/s`,
    );
  }
  await Promise.all([primary.close(), standby.close()]);
  const n = options.runs;
  const best = (values: readonly number[]) => Math.max(...values);
  report.row(
    { system: "qubix", metric: "direct path, loopback, best run", value: best(rates.direct), unit: "MB/s", n },
    { atLeast: BAR_MB_PER_S },
  );
  report.row({
    system: "qubix",
    metric: "direct path, CPU of both ends together",
    value: (cpuS * 1000) / (n * mib * MB_PER_MIB),
    unit: "ms/MB",
    n,
  });
  report.row({ system: "limit", metric: "bare libp2p stream, best run", value: best(rates.bare), unit: "MB/s", n });
  report.row({
    system: "qubix",
    metric: "WebSocket way, answered from memory, best run",
    value: best(rates.socket),
    unit: "MB/s",
    n,
  });
}

function rate(mib: number, seconds: number): number {
  return (mib * MB_PER_MIB) / seconds;
}

function last(values: readonly number[]): string {
  return (values.at(-1) ?? 0).toFixed(0);
}
