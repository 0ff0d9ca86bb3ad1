// The command line of `qubix-worker`.
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { assertNodeVersion, createLogger, loadConfig, QubixError, redactConfig } from "@qubix/shared/runtime";
import { createAgent } from "./agent.ts";
import { askAgent } from "./agent-socket.ts";
import { startConfigSchema } from "./config.ts";
import { enrol, loadIdentity } from "./identity.ts";
import type { AgentStatus } from "./requests.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** What SIGTERM may take; the bar is 10 s. */
const STOP_TIMEOUT_MS = 8_000;

type StartFlags = Record<string, unknown> & { readonly config?: string; readonly printConfig?: boolean };

interface CommonFlags {
  readonly dataDir?: string;
  readonly json?: boolean;
}

/** Runs one command; resolves with the exit code, for `start` when it has stopped. */
export async function main(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command("qubix-worker")
    .description("Sells this machine's time on a Qubix network.")
    .version(agentVersion())
    .exitOverride()
    .showHelpAfterError();

  program
    .command("enrol")
    .description("joins a network with a one-time token")
    .option("--url <url>", "the orchestrator, e.g. https://qubix.example (QUBIX_URL)", parseUrl)
    .option("--token <token>", "a one-time enrolment token (QUBIX_TOKEN)")
    .option("--name <name>", "what people call this worker (this machine's name; QUBIX_NAME)")
    .option("--data-dir <dir>", "where this worker keeps its key and journal (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action((flags: CommonFlags & { url?: string; token?: string; name?: string }) => runEnrol(flags));

  program
    .command("start")
    .description("connects and works until it is stopped; running jobs outlive a restart")
    .option("--data-dir <dir>", "where this worker keeps its key and journal")
    .option("--url <url>", "the orchestrator's address, where it is no longer the one enrolled with")
    .option("--price-per-cpu-hour <price>", "price of one core for one hour, fee included (0.10)")
    .option("--price-per-gpu-hour <price>", "price of one GPU for one hour; without it GPUs are not offered")
    .option("--currency <code>", "currency of the prices (USD)")
    .option("--standby-percent <n>", "share of the price that a standby pays (25)")
    .option("--region <region>", "where this machine is, e.g. eu-west")
    .option("--cpus <n>", "cores to offer (all)")
    .option("--memory-mib <n>", "memory to offer in MiB (all but a reserve)")
    .option("--disk-mib <n>", "disk to offer in MiB (what is free, but a reserve)")
    .option("--local-image <name>", "a local image (tag local) that jobs may run; repeatable", collect)
    .option("--registry <host>", "a registry to pull from, instead of the default list; repeatable", collect)
    .option("--docker-socket <path>", "the Docker Engine's socket (/var/run/docker.sock)")
    .option("--config <file>", "settings as JSON; flags and QUBIX_* variables win")
    .option("--print-config", "print the settings that hold, and end")
    .option("--json", "print one line of JSON when ready")
    .option("--log-level <level>", "trace, debug, info, warn, error or silent (info)")
    .addHelpText("after", "\nEvery flag can be a variable: QUBIX_DATA_DIR, QUBIX_PRICE_PER_CPU_HOUR, …")
    .action(async (flags: StartFlags) => {
      exitCode = await runStart(flags);
    });

  program
    .command("status")
    .description("what the running worker is doing")
    .option("--data-dir <dir>", "the worker's data directory (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action(async (flags: CommonFlags) => {
      show(flags, (await askAgent(dataDirOf(flags), { command: "status" })) as AgentStatus);
    });

  program
    .command("drain")
    .description("takes no new work; what runs goes on")
    .option("--undo", "take new work again")
    .option("--data-dir <dir>", "the worker's data directory (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action(async (flags: CommonFlags & { undo?: boolean }) => {
      const request = { command: "drain", draining: flags.undo !== true } as const;
      show(flags, (await askAgent(dataDirOf(flags), request)) as AgentStatus);
    });

  try {
    assertNodeVersion();
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    return reportFailure(error);
  }
}

async function runEnrol(flags: CommonFlags & { url?: string; token?: string; name?: string }): Promise<void> {
  const url = flags.url ?? process.env["QUBIX_URL"];
  const token = flags.token ?? process.env["QUBIX_TOKEN"];
  if (url === undefined || token === undefined) {
    throw new QubixError(
      "usage",
      "enrol needs --url and --token; an admin makes a token with: qubix enrolments create",
      {
        category: "user",
      },
    );
  }
  const dataDir = dataDirOf(flags);
  const name = flags.name ?? process.env["QUBIX_NAME"] ?? hostname();
  const identity = await enrol({ url: parseUrl(url), token, name, dataDir });
  const line = `Enrolled as ${identity.workerId} (${identity.name}). Start it with: qubix-worker start --data-dir ${dataDir}`;
  print(flags.json === true ? JSON.stringify({ event: "enrolled", ...identity }) : line);
}

/** Works until a signal or a fatal error; resolves with the exit code. */
async function runStart(flags: StartFlags): Promise<number> {
  const config = loadConfig(startConfigSchema, { flags, env: process.env, file: flags.config });
  const dataDir = resolve(config.dataDir);
  if (flags.printConfig === true) {
    print(JSON.stringify(redactConfig({ ...config, dataDir }), null, 2));
    return 0;
  }
  // A job's user reads what the agent writes for it; what is secret has a mode of its own.
  process.umask(0o022);
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
  const onSignal = () => end(0);
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  try {
    await agent.start();
    const code = await ended;
    const force = setTimeout(() => process.exit(code), STOP_TIMEOUT_MS);
    force.unref();
    await agent.stop();
    return code;
  } finally {
    process.off("SIGTERM", onSignal);
    process.off("SIGINT", onSignal);
  }
}

function show(flags: CommonFlags, status: AgentStatus): void {
  if (flags.json === true) return print(JSON.stringify(status));
  const state = `${status.connected ? "connected" : "not connected"} to ${status.url}${status.draining ? ", draining" : ""}`;
  print(`${status.workerId} (${status.name}): ${state}`);
  const gpus = status.gpus.length === 0 ? "no GPUs" : status.gpus.join(", ");
  print(`offers ${gpus}, ${status.cpus} cores, ${status.memoryMiB} MiB memory, ${status.diskMiB} MiB disk`);
  if (status.slots.length === 0) print("nothing runs");
  for (const slot of status.slots) {
    const role = slot.epoch === null ? "standby" : `epoch ${slot.epoch}`;
    const progress = slot.progress === null ? "" : `, ${Math.round(slot.progress * 100)}%`;
    print(`  ${slot.jobId}  ${role}  ${slot.phase}${progress}, checkpoint ${slot.checkpointSeq}`);
  }
}

function dataDirOf(flags: CommonFlags): string {
  const dir = flags.dataDir ?? process.env["QUBIX_DATA_DIR"];
  if (dir !== undefined) return resolve(dir);
  throw new QubixError("usage", "--data-dir is missing: where this worker keeps its key and journal", {
    category: "user",
  });
}

function parseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new InvalidArgumentError(`"${text}" is no URL such as https://qubix.example or http://127.0.0.1:7070`);
  }
  return url.origin;
}

function collect(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

/** Says what went wrong, in one line unless it is a fault of the program; returns the exit code. */
function reportFailure(error: unknown): number {
  // Commander has said it, and help is no failure.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  process.stderr.write(`qubix-worker: ${failureText(error)}\n`);
  return error instanceof QubixError && ["usage", "config_invalid"].includes(error.code) ? EXIT_USAGE : EXIT_FAILURE;
}

function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isFileError = (error as NodeJS.ErrnoException).path !== undefined;
  return error instanceof QubixError || isFileError ? error.message : (error.stack ?? error.message);
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function agentVersion(): string {
  const file = new URL("../../package.json", import.meta.url);
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}
