// Machines for tests are reached until their cable is pulled, hear and speak one way while told so, and leave nothing behind.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { networkInterfaces } from "node:os";
import type { AddressInfo } from "node:net";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLan, type Lan, type Machine, whyNoMachines } from "./machines.ts";

const run = promisify(execFile);
const COMMAND_TIMEOUT_MS = 10_000;
const reason = whyNoMachines();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

let lan: Lan;
let machine: Machine;
let neighbour: Machine;
let server: Server;
let heard = 0;
beforeAll(async () => {
  if (reason !== undefined) return;
  lan = await createLan();
  machine = await lan.addMachine();
  neighbour = await lan.addMachine();
  server = createServer((socket) => {
    heard += 1;
    socket.on("error", () => undefined);
    socket.end("hello\n");
  });
  await new Promise<void>((resolve) => server.listen(0, lan.address, resolve));
});
afterAll(async () => {
  server?.close();
  await lan?.stop();
});

/** What a machine is told by the server; empty when nobody answers. */
async function ask({ enter }: Machine): Promise<string> {
  const { port } = server.address() as AddressInfo;
  const [file, ...args] = [...enter, "timeout", "1", "bash", "-c", `cat </dev/tcp/${lan.address}/${port}`];
  return run(file, args, { timeout: COMMAND_TIMEOUT_MS }).then(
    ({ stdout }) => stdout,
    () => "",
  );
}

describe.skipIf(reason !== undefined)("machines for tests", () => {
  it("reach the test until their cable is pulled, each its own, and again when it is plugged in", async () => {
    expect(await ask(machine)).toBe("hello\n");
    await machine.cut();
    expect(await ask(machine)).toBe("");
    expect(await ask(neighbour)).toBe("hello\n");
    await machine.heal();
    // It may ask for addresses anew first.
    await expect.poll(() => ask(machine), { timeout: COMMAND_TIMEOUT_MS }).toBe("hello\n");
  });

  it("hear nothing although they are heard, or the other way round", async () => {
    for (const direction of ["in", "out"] as const) {
      await machine.drop(direction);
      const before = heard;
      expect([direction, await ask(machine)]).toEqual([direction, ""]);
      // A connection needs both ways: the test is asked for one, and none is made.
      expect(heard).toBe(before);
      await machine.heal();
      await expect.poll(() => ask(machine), { timeout: COMMAND_TIMEOUT_MS, message: direction }).toBe("hello\n");
    }
  });

  it("are gone with what ran on them", async () => {
    const other = await createLan();
    const { namespace, enter } = await other.addMachine();
    const [file, ...args] = [...enter, "sleep", "600"];
    const sleeper = execFile(file, args, () => undefined);
    const ended = new Promise((resolve) => sleeper.once("exit", resolve));
    await expect.poll(() => existsSync(`/proc/${sleeper.pid}`)).toBe(true);
    await other.stop();
    await ended;
    expect(existsSync(`/run/netns/${namespace}`)).toBe(false);
    const addresses = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
    expect(addresses).not.toContain(other.address);
  });
});
