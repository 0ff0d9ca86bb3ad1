// `qubix-orchestrator`: the command line. `start` runs until SIGTERM or SIGINT; what goes wrong before that is one line and exit code 1, misuse is 2.
import { Command, CommanderError } from "commander";
import {
  QubixError,
  assertNodeVersion,
  createLogger,
  loadConfig,
  redactConfig,
  LOG_LEVELS,
  type Logger,
} from "@qubix/shared/runtime";
import { orchestratorConfigSchema, type OrchestratorConfig } from "./config.ts";
import type { Orchestrator } from "./orchestrator.ts";

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;
/** A clean stop takes at most 10 s; then the process ends anyway. What was accepted is durable, so nothing is lost by that. */
const STOP_MS_MAX = 9_500;
const VERSION = "0.1.0";

/** Runs the program for these arguments (as in `process.argv`). Sets the exit code; does not throw. */
export async function runCli(argv: readonly string[]): Promise<void> {
  // Whoever reads our output may stop reading (`| head`): no reason to end.
  process.stdout.on("error", () => {});
  try {
    assertNodeVersion();
    await buildProgram().parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
      return;
    }
    process.stderr.write(`qubix-orchestrator: ${oneLine(error)}\n`);
    process.exitCode = error instanceof QubixError && error.code === "config_invalid" ? EXIT_USAGE : EXIT_FAILURE;
  }
}

function buildProgram(): Command {
  const program = new Command("qubix-orchestrator")
    .description("The control plane of Qubix: matches jobs with workers, watches them, fails over and settles.")
    .version(VERSION)
    .exitOverride()
    .addHelpText("after", "\nExit codes: 0 stopped as asked, 1 could not start or failed, 2 wrong usage.");
  program
    .command("start")
    .description(
      "Run the orchestrator until SIGTERM or SIGINT. The first start makes the database and prints the admin key, once.",
    )
    .option("--data-dir <dir>", "folder for the database and the chunks (QUBIX_DATA_DIR; default ./qubix-data)")
    .option(
      "--listen <host:port>",
      "address to listen on (QUBIX_LISTEN; default 127.0.0.1:8420; port 0 takes a free one)",
    )
    .option("--registry-allow <a,b>", "registries images may come from (QUBIX_REGISTRY_ALLOW)")
    .option(
      "--master-key-file <file>",
      "key that everything at rest is encrypted under, made at the first start (QUBIX_MASTER_KEY_FILE; default master.key in the data folder)",
    )
    .option(
      "--storage-max <size>",
      "what checkpoints, outputs and uploads of one account may take up, e.g. 500GiB (QUBIX_STORAGE_MAX; default 1TiB)",
    )
    .option(
      "--worker-proofs <what>",
      "what workers must prove before they get work: required (cores, memory and GPUs), gpus, or off: their word is taken, so anybody can sell GPUs he does not have (QUBIX_WORKER_PROOFS; default required)",
    )
    .option(
      "--check-share <share>",
      "share of the jobs with verification: spot-check that are run again at the network's expense, in the long run (QUBIX_CHECK_SHARE; default 0.05)",
    )
    .option(
      "--canaries <file>",
      "your own jobs with known results (JSON), given to workers like any other job; see docs/decisions/2026-11-28-canaries.md (QUBIX_CANARIES; default none)",
    )
    .option(
      "--canary-share <share>",
      "a canary after this share of all jobs that succeed, in the long run; more often where little is known of the worker (QUBIX_CANARY_SHARE; default 0.01)",
    )
    .option(
      "--check-referees <a,b>",
      "accounts of providers whose word decides where two runs differ, e.g. your own machines (QUBIX_CHECK_REFEREES; default none: those whose results others confirmed)",
    )
    .option(
      "--dispute-window-s <seconds>",
      "how long a provider's pay can be disputed before he may withdraw it; 0: not at all (QUBIX_DISPUTE_WINDOW_S; default 86400)",
    )
    .option(
      "--appeal-window-s <seconds>",
      "how long a provider may appeal a slash, and how long stake that he asks back stays at risk (QUBIX_APPEAL_WINDOW_S; default 604800)",
    )
    .option(
      "--decision-s <seconds>",
      "how long you have to decide a dispute or an appeal before it falls to the provider (QUBIX_DECISION_S; default 1209600)",
    )
    .option(
      "--ipfs-listen <multiaddr>",
      "serve what is stored, which is encrypted, to IPFS nodes from here, e.g. /ip4/127.0.0.1/tcp/4001 (QUBIX_IPFS_LISTEN; off)",
    )
    .option(
      "--ipfs-peer <multiaddr>",
      "IPFS node that what was lost on this disk is fetched from, with its /p2p/ id; may come again (QUBIX_IPFS_PEER=a,b)",
      (peer: string, peers: readonly string[] | undefined) => [...(peers ?? []), peer],
    )
    .option(
      "--storage <where>",
      "local, or kubo: what is stored is also put and pinned on a Kubo node, encrypted as it is (QUBIX_STORAGE; default local)",
    )
    .option("--kubo-url <url>", "of the Kubo node's RPC (QUBIX_KUBO_URL; default http://127.0.0.1:5001)")
    .option(
      "--relay-listen <multiaddress>",
      "relay checkpoints between workers that are both behind NAT, e.g. /ip4/0.0.0.0/tcp/4001 (QUBIX_RELAY_LISTEN; default none)",
    )
    .option(
      "--relay-announce <multiaddress>",
      "the relay's address as workers reach it, where that is another one (QUBIX_RELAY_ANNOUNCE)",
    )
    .option(
      "--evm-rpc-url <url>",
      "JSON-RPC of an EVM chain whose contract holds escrows; see docs/chains.md (QUBIX_EVM_RPC_URL; none)",
    )
    .option("--evm-chain-id <number>", "the chain's id (QUBIX_EVM_CHAIN_ID)")
    .option("--evm-contract <address>", "the deployed escrow (QUBIX_EVM_CONTRACT)")
    .option("--evm-token <address>", "its ERC-20 token (QUBIX_EVM_TOKEN)")
    .option(
      "--evm-key-file <file>",
      "the operator's private key, mode 0600; nobody else may sign with it (QUBIX_EVM_KEY_FILE)",
    )
    .option(
      "--evm-currency <name>",
      "what is paid in this currency lies in the contract, e.g. USDC (QUBIX_EVM_CURRENCY)",
    )
    .option("--evm-token-decimals <number>", "of the token, at least 6 (QUBIX_EVM_TOKEN_DECIMALS; default 18)")
    .option(
      "--evm-confirmations <blocks>",
      "blocks on top of one until it counts as final, or finalized: the chain's own word (QUBIX_EVM_CONFIRMATIONS; default finalized)",
    )
    .option(
      "--evm-gas-price-max-gwei <gwei>",
      "never offers more for a unit of gas (QUBIX_EVM_GAS_PRICE_MAX_GWEI; default 200)",
    )
    .option("--evm-fee-to <address>", "where the network's fee goes (QUBIX_EVM_FEE_TO; it stays with the operator)")
    .option("--qubic-rpc-url <url>", "Qubic's RPC; see docs/qubic.md (QUBIX_QUBIC_RPC_URL; none)")
    .option("--qubic-contract-index <number>", "the escrow's index (QUBIX_QUBIC_CONTRACT_INDEX)")
    .option("--qubic-seed-file <file>", "the operator's seed, mode 0600 (QUBIX_QUBIC_SEED_FILE)")
    .option("--qubic-currency <name>", "a currency of a million qu, which lies in the contract (QUBIX_QUBIC_CURRENCY)")
    .option("--qubic-tick-ms <ms>", "how long a tick takes in the mean (QUBIX_QUBIC_TICK_MS; default 1000)")
    .option(
      "--chain-poll-ms <ms>",
      "between two looks at what is under way on a chain (QUBIX_CHAIN_POLL_MS; default 1000)",
    )
    .option("--log-level <level>", `one of ${LOG_LEVELS.join(", ")} (QUBIX_LOG_LEVEL; default info)`)
    .option("--config <file>", "JSON file with any of these in camelCase (QUBIX_CONFIG)")
    .option("--json", "print one line of JSON when ready (QUBIX_JSON)")
    .option("--print-config", "print the configuration in force and exit")
    .exitOverride()
    .action(start);
  program
    .command("rotate-key")
    .description(
      "Put what is stored under another master key, while the orchestrator is stopped. Killed half-way: again.",
    )
    .requiredOption("--new-master-key-file <file>", "the new key; made where there is none")
    .option("--data-dir <dir>", "folder for the database and the chunks (QUBIX_DATA_DIR; default ./qubix-data)")
    .option("--master-key-file <file>", "the key in use (QUBIX_MASTER_KEY_FILE; default master.key in the data folder)")
    .option("--config <file>", "JSON file as for start (QUBIX_CONFIG)")
    .option("--json", "print one line of JSON (QUBIX_JSON)")
    .exitOverride()
    .action(rotate);
  return program;
}

function configFrom({ config: file, ...flags }: Record<string, unknown>): OrchestratorConfig {
  return loadConfig(orchestratorConfigSchema, {
    flags,
    env: process.env,
    file: typeof file === "string" ? file : process.env["QUBIX_CONFIG"],
  });
}

async function start(flags: Record<string, unknown>): Promise<void> {
  const { printConfig, ...others } = flags;
  const config = configFrom(others);
  if (printConfig === true) {
    process.stdout.write(`${JSON.stringify(redactConfig(config), null, 2)}\n`);
    return;
  }
  const logger = createLogger("qubix-orchestrator", config.logLevel);
  endOnFaults(logger);
  // Loaded only now: help and mistakes answer at once.
  const { startOrchestrator } = await import("./orchestrator.ts");
  let made: string | undefined;
  const starting = startOrchestrator(config, {
    logger,
    onAdminKey: (key) => {
      made = key;
    },
  });
  stopOnSignals(starting, logger);
  try {
    announce(config, await starting);
  } catch (error) {
    // It is durable already, and no later start would show it.
    if (made !== undefined) showAdminKey(config, made);
    throw error;
  }
}

async function rotate(flags: Record<string, unknown>): Promise<void> {
  const { newMasterKeyFile, ...others } = flags;
  const config = configFrom(others);
  const { rotateKey } = await import("./rotate-key.ts");
  const { keys, from, to } = rotateKey({ ...config, newMasterKeyFile: String(newMasterKeyFile) });
  process.stdout.write(
    config.json
      ? `${JSON.stringify({ event: "rotated", keys, from, to })}\n`
      : `${keys} keys are under ${to} now. Start with --master-key-file ${to}, keep a copy of it, and destroy ${from}.\n`,
  );
}

/** Here alone the admin key is ever shown, and where the first start fails once it is made. */
function announce(config: OrchestratorConfig, { url, adminKey }: Orchestrator): void {
  if (config.json) {
    const line = { event: "ready", url, ...(adminKey === undefined ? {} : { adminKey }) };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    return;
  }
  process.stdout.write(`Qubix orchestrator is ready at ${url}\n`);
  if (adminKey === undefined) return;
  process.stdout.write(
    `Admin key, shown only this once: ${adminKey}\nUse it with: export QUBIX_URL=${url} QUBIX_API_KEY=${adminKey}\n`,
  );
}

function showAdminKey(config: OrchestratorConfig, adminKey: string): void {
  process.stdout.write(
    config.json
      ? `${JSON.stringify({ event: "admin_key", adminKey })}\n`
      : `Admin key, shown only this once: ${adminKey}\nIt counts from the next start on.\n`,
  );
}

/** From before the start is done: one that is stopped meanwhile is first announced, so that its admin key is seen. */
function stopOnSignals(starting: Promise<Orchestrator>, logger: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    if (stopping) return;
    stopping = true;
    logger.info({ event: "stopping", signal }, "stopping");
    const late = setTimeout(() => {
      logger.error({ event: "stop_late", afterMs: STOP_MS_MAX }, "the stop took too long, ending now");
      process.exit(EXIT_FAILURE);
    }, STOP_MS_MAX);
    const stopped = starting.then((orchestrator) => orchestrator.stop());
    stopped.then(
      () => {
        clearTimeout(late);
        logger.info({ event: "stopped" }, "stopped");
        // Whatever an idle handle may still hold: all is closed, all is durable.
        process.exit(0);
      },
      (error: unknown) => {
        logger.error({ event: "stop_failed", err: error }, "stopping failed");
        process.exit(EXIT_FAILURE);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}

/** A fault that nobody caught leaves memory in doubt: end, and let the supervisor start afresh from what is durable. */
function endOnFaults(logger: Logger): void {
  const end = (error: unknown) => {
    logger.fatal({ event: "fault", err: error }, "a fault that nobody handled; ending");
    process.exit(EXIT_FAILURE);
  };
  process.on("uncaughtException", end);
  process.on("unhandledRejection", end);
}

function oneLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s*\n\s*/g, " ");
}
