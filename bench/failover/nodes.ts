// Three machines that fail: a Docker Engine each, in a network namespace of its own, on a switch of their own. The same three for Qubix and for Docker Swarm.
import { createLan } from "../../test/lib/machines.ts";
import { startTestEngine, whyNoTestEngine } from "../../test/lib/engine.ts";
import { monotonicMs } from "../harness/clock.ts";
import type { Cleanup } from "../harness/processes.ts";

export interface Node {
  /** In the network of the three. */
  readonly address: string;
  /** Path of its Engine's socket, which needs no network. */
  readonly socket: string;
  /** What to put before a command so that it runs on this machine. */
  readonly enter: readonly string[];
  docker(args: readonly string[]): Promise<string>;
  /** Pulls its cable. Resolves to the moment before. */
  cut(): Promise<Moment>;
  heal(): Promise<void>;
  /** SIGKILL to everything on it: Engine, containers, agent. Resolves to the moment before. */
  crash(): Promise<Moment>;
  /** Starts its Engine again. */
  revive(): Promise<void>;
}

/** One moment by both clocks: what containers write is stamped by the Engine with the wall clock. */
export interface Moment {
  readonly atMs: number;
  readonly wallMs: number;
}

export interface Nodes {
  readonly list: readonly Node[];
  /** Where they reach what listens outside of them. */
  readonly hostAddress: string;
}

export async function startNodes(cleanup: Cleanup, count: number, images: readonly string[]): Promise<Nodes> {
  const why = whyNoTestEngine();
  if (why !== undefined) throw new Error(why);
  const lan = await createLan();
  cleanup.add(() => lan.stop());
  const list: Node[] = [];
  for (let n = 0; n < count; n++) {
    const engine = await startTestEngine();
    cleanup.add(() => engine.stop());
    const machine = await lan.plug(engine.namespace);
    for (const image of images) await engine.loadImage(image);
    list.push({
      address: machine.address,
      socket: engine.socket,
      enter: engine.enter,
      docker: (args) => engine.docker(args),
      cut: async () => momentOf(await machine.cut()),
      heal: () => machine.heal(),
      crash: async () => momentOf(await engine.crash()),
      revive: () => engine.resume(),
    });
  }
  return { list, hostAddress: lan.address };
}

/** `at`: by `performance.now`. */
function momentOf(at: number): Moment {
  const agoMs = performance.now() - at;
  return { atMs: monotonicMs() - agoMs, wallMs: Date.now() - agoMs };
}

/** When a container wrote each of its steps, by the wall clock of its Engine; empty for a container that is not there. */
export async function stepTimes(node: Node, container: string): Promise<readonly number[]> {
  const text = await node.docker(["logs", "--timestamps", container]).catch(() => "");
  return text.split("\n").flatMap((line) => {
    const time = /^(\S+) step \d+\//.exec(line)?.[1];
    return time === undefined ? [] : [Date.parse(time)];
  });
}

/** Ids of the running containers that bear a label. */
export async function runningWith(node: Node, label: string): Promise<readonly string[]> {
  const list = await node.docker(["ps", "--quiet", "--no-trunc", "--filter", `label=${label}`]);
  return list.split("\n").filter((id) => id !== "");
}
