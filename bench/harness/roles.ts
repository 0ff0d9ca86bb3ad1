// A benchmark's parts run in processes of their own: the main process calls named functions of a child over Node's IPC channel.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Cleanup } from "./processes.ts";

type Call = { readonly id: number; readonly name: string; readonly argument: unknown };
type Answer = { readonly id: number; readonly result?: unknown; readonly error?: string };
type Handlers = Readonly<Record<string, (argument: never) => unknown>>;

/** What {@link startRole} gives for the handlers a role serves: the same functions, asynchronous. */
export type Role<H extends Handlers> = {
  readonly [Name in keyof H]: (...argument: Parameters<H[Name]>) => Promise<Awaited<ReturnType<H[Name]>>>;
} & { readonly pid: number };

/** Called in the child: answers calls until the parent goes away. */
export function serveRole(handlers: Handlers): void {
  process.on("message", (call: Call) => {
    void answer(handlers, call).then((message) => process.send?.(message));
  });
  process.on("disconnect", () => process.exit(0));
}

async function answer(handlers: Handlers, call: Call): Promise<Answer> {
  try {
    const handler = handlers[call.name] as ((argument: unknown) => unknown) | undefined;
    if (handler === undefined) throw new Error(`no handler ${call.name}`);
    return { id: call.id, result: await handler(call.argument) };
  } catch (error) {
    return { id: call.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** Starts the module at `url` as a role; its process ends with ours. */
export function startRole<H extends Handlers>(
  cleanup: Cleanup,
  url: URL,
  options: { readonly execArgv?: readonly string[] } = {},
): Role<H> {
  const child = fork(fileURLToPath(url), [], {
    execArgv: ["--conditions=qubix-source", ...(options.execArgv ?? [])],
    serialization: "advanced",
  });
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let calls = 0;
  child.on("message", (message) => {
    const { id, result, error } = message as Answer;
    const call = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) call?.resolve(result);
    else call?.reject(new Error(error));
  });
  const closed = new Promise<void>((resolve) => {
    child.once("exit", (code) => {
      for (const call of waiting.values()) call.reject(new Error(`${url.pathname} ended with ${code}`));
      resolve();
    });
  });
  cleanup.add(async () => {
    if (child.connected) child.disconnect();
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
    await closed;
  });
  const invoke = (name: string) => (argument: unknown) =>
    new Promise((resolve, reject) => {
      const id = calls++;
      waiting.set(id, { resolve, reject });
      child.send({ id, name, argument } satisfies Call);
    });
  return new Proxy({} as Role<H>, {
    get: (_, name) => (name === "pid" ? child.pid : name === "then" ? undefined : invoke(String(name))),
  });
}
