// `qubix-worker start`: works until a signal or a fatal error.
import { hostname } from "node:os";
import { resolve } from "node:path";
import { createLogger, loadConfig, redactConfig } from "@qubix/shared/runtime";
import { createAgent } from "../agent.ts";
import { type StartConfig, startConfigSchema } from "../config.ts";
import { enrol, isEnrolled, loadIdentity } from "../identity.ts";
import { agentVersion, print, reportFailure } from "./common.ts";

/** What SIGTERM may take; the bar is 10 s. */
const STOP_TIMEOUT_MS = 8_000;
/** After the end nothing is waited for: a call to an Engine that hangs would keep the program for ever, and whoever supervises it from starting it again. */
const LINGER_MS = 500;

export type StartFlags = Record<string, unknown> & { readonly config?: string; readonly printConfig?: boolean };

/** Resolves with the exit code when it has stopped. */
export async function runStart(flags: StartFlags): Promise<number> {
  const config = loadConfig(startConfigSchema, { flags, env: process.env, file: flags.config });
  const dataDir = resolve(config.dataDir);
  if (flags.printConfig === true) {
    print(JSON.stringify(redactConfig({ ...config, dataDir }), null, 2));
    return 0;
  }
  // A job's user reads what the agent writes for it; what is secret has a mode of its own.
  process.umask(0o022);
  await enrolAtFirst(config, dataDir);
  const { identity, key } = loadIdentity(dataDir, config.url);
  const logger = createLogger("qubix-worker", config.logLevel);
  let end: (code: number) => void = () => undefined;
  const ended = new Promise<number>((resolveEnd) => {
    end = resolveEnd;
  });
  const agent = createAgent(
    {
      identity,
      key,
      agentVersion: agentVersion(),
      logger,
      ready() {
        const event = { event: "ready", workerId: identity.workerId, name: identity.name, url: identity.url };
        print(
          config.json
            ? JSON.stringify(event)
            : `${identity.workerId} (${identity.name}) is connected to ${identity.url}`,
        );
      },
      fatal: (error) => end(reportFailure(error)),
    },
    { ...config, dataDir },
  );
  // From the moment that the end is wanted, though the start may still be under way.
  void ended.then((code) => setTimeout(() => process.exit(code), STOP_TIMEOUT_MS).unref());
  const onSignal = () => end(0);
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    await agent.start();
    const code = await ended;
    await agent.stop();
    return code;
  } finally {
    setTimeout(() => process.exit(), LINGER_MS).unref();
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  }
}

/** A token is redeemed where there is no identity yet; afterwards it may stay in the unit file, and is not looked at. */
async function enrolAtFirst({ url, token, name }: StartConfig, dataDir: string): Promise<void> {
  if (token === undefined || url === undefined || isEnrolled(dataDir)) return;
  const identity = await enrol({ url, token, name: name ?? hostname(), dataDir });
  process.stderr.write(`Enrolled as ${identity.workerId} (${identity.name}).\n`);
}
