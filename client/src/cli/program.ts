// The command line: what commands there are and what they take. What they do is loaded only when one is called.
import { Command, Option } from "commander";
import type { AccountOptions, ApiKeyOptions } from "./commands/admin.ts";
import type { ReceiptOptions } from "./commands/receipt.ts";
import type { DepositOptions } from "./commands/wallet.ts";
import { CURRENCY_DEFAULT } from "./defaults.ts";
import { EXIT_CODES_HELP } from "./exit-codes.ts";
import { given, type Runner, withPages } from "./runner.ts";
import { addRatingCommands, addTrustCommands } from "./trust-program.ts";
import { URL_DEFAULT } from "./defaults.ts";

export type { Runner } from "./runner.ts";

const GROUP_JOBS = "Jobs:";
const GROUP_MARKET = "Market and money:";
const GROUP_ADMIN = "Administration:";

/** Builds the program; `run` is called for the command that was named. */
export function createProgram(version: string, run: Runner): Command {
  const program = new Command("qubix")
    .description("Runs jobs on other people's machines, and keeps its promises when those machines die.")
    .version(version)
    .option("--url <url>", `the orchestrator (QUBIX_URL) [${URL_DEFAULT}]`)
    .option("--api-key <key>", "the API key (QUBIX_API_KEY)")
    .option("--json", "print JSON: one object, or one a line for streams")
    .option("--no-color", "no colours (NO_COLOR)")
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    .showSuggestionAfterError()
    .addHelpText("after", `\n${EXIT_CODES_HELP}`)
    .addHelpText("after", EXAMPLES);
  addJobCommands(program, run);
  addMarketCommands(program, run);
  addStatsCommands(program, run);
  const wallet = addWalletCommands(program, run);
  addPayoutCommands(program, run);
  addBudgetCommands(program, run);
  addTrustCommands(program, run);
  program.commandsGroup(GROUP_ADMIN);
  addChainCommands(program, run);
  addAccountCommands(program, run);
  addDepositCommand(wallet, run);
  // The same under one word, for those who look for it there.
  const admin = program.command("admin").description("accounts, API keys, enrolments and credit in one place");
  addAccountCommands(admin, run);
  addDepositCommand(admin.command("wallet").description("credit of accounts"), run);
  return program;
}

const EXAMPLES = `
Examples:
  qubix run job.yaml --wait
  qubix run --image docker.io/library/python:3.12 --price-max 0.60/h --duration 1h --standby hot --wait -- python -c 'print(1)'
  qubix logs JOB -f
  qubix outputs JOB --to ./results`;

function addJobCommands(program: Command, run: Runner): void {
  program.commandsGroup(GROUP_JOBS);
  withSpecFlags(program.command("run").description("submit a job, from a file, from flags, or both (flags win)"))
    .argument("[file]", "specification, YAML or JSON; - for standard input")
    .usage("[options] [file] [-- command...]")
    .option("--image-file <archive>", "upload an image that docker save wrote, and run that")
    .option("--wait", "follow the job to its end; exit 0 only if it succeeded")
    .option("--logs", "print its log too (implies --wait)")
    .option("--output-dir <dir>", "fetch its outputs into this folder when it succeeded (implies --wait)")
    .option("--idempotency-key <key>", "the same key again submits nothing new (24 h)")
    .action((file: string | undefined, options: object) =>
      run(async () => (await import("./commands/run.ts")).run, given(file), options, true),
    );
  withPages(
    program
      .command("jobs")
      .description("list jobs, newest first; with an id, show that job")
      .argument("[id]")
      .addOption(new Option("--phase <phase>", "only jobs in this phase").choices(PHASES)),
  ).action((id: string | undefined, options: object) => run(listJobs, given(id), options, false));
  const one = (name: string, description: string) => program.command(name).description(description).argument("<id>");
  one("job", "show one job: attempts, checkpoint, standby, settlement").action((id: string, options: object) =>
    run(listJobs, [id], options, false),
  );
  one("logs", "print a job's log")
    .option("-f, --follow", "go on until the job has ended")
    .option("--after <cursor>", "only what comes after this cursor (see --json)")
    .option("--replica <n>", "of a mirror job: 0 or 1 [0]")
    .action((id: string, options: object) =>
      run(async () => (await import("./commands/streams.ts")).logs, [id], options, false),
    );
  one("events", "print a job's timeline")
    .option("-f, --follow", "go on until the job has ended")
    .action((id: string, options: object) =>
      run(async () => (await import("./commands/streams.ts")).events, [id], options, false),
    );
  one("outputs", "list a job's output files, print one, or fetch them")
    .argument("[path]", "one file, or with --to a folder")
    .option("--to <dir>", "fetch into this folder; each file is checked by its SHA-256")
    .action((id: string, path: string | undefined, options: object) =>
      run(
        async () => (await import("./commands/outputs.ts")).outputs,
        path === undefined ? [id] : [id, path],
        options,
        false,
      ),
    );
  addCheckpointCommands(program, run);
  one("cancel", "cancel a job; where it runs, it is stopped first").action((id: string, options: object) =>
    run(async () => (await import("./commands/jobs.ts")).cancel, [id], options, false),
  );
  one("move", "move a running job to another worker; it saves first and loses nothing")
    .option("--to <worker>", "to this one (any that fits)")
    .option("--force", "also where it does not save when it is asked to; what was not saved is lost")
    .action((id: string, options: object) =>
      run(async () => (await import("./commands/jobs.ts")).move, [id], options, false),
    );
  addRatingCommands(program, run);
  one("why", "say why a job waits, and what would help").action((id: string, options: object) =>
    run(async () => (await import("./commands/market.ts")).why, [id], options, false),
  );
}

function addCheckpointCommands(program: Command, run: Runner): void {
  const checkpoints = program
    .command("checkpoints")
    .description("a job's committed checkpoints: list, fetch, export, remove");
  checkpoints
    .command("ls", { isDefault: true })
    .description("list them, a mirror job's with their replica; `qubix checkpoints JOB` is the same")
    .argument("<job>")
    .action((id: string, options: object) =>
      run(async () => (await import("./commands/checkpoints.ts")).listCheckpoints, [id], options, false),
    );
  checkpoints
    .command("get")
    .description("fetch the files of one; again, it fetches what is not there yet")
    .argument("<job[@seq]>", "without @SEQ the newest")
    .option("-o, --output <dir>", "into this folder [JOB-SEQ]")
    .action((name: string, options: object) =>
      run(async () => (await import("./commands/checkpoints.ts")).getCheckpoint, [name], options, false),
    );
  checkpoints
    .command("export")
    .description("write one to a CAR file, which any IPFS tool reads")
    .argument("<job[@seq]>", "without @SEQ the newest")
    .option("-o, --output <file>", "to this file [JOB-SEQ.car]")
    .option("--sealed", "the blocks as they are stored, encrypted: to keep them elsewhere")
    .action((name: string, options: object) =>
      run(async () => (await import("./commands/checkpoints.ts")).exportCheckpoint, [name], options, false),
    );
  checkpoints
    .command("rm")
    .description("remove one; the newest of a job that has not ended stays")
    .argument("<job[@seq]>", "without @SEQ all that can go")
    .action((name: string, options: object) =>
      run(async () => (await import("./commands/checkpoints.ts")).removeCheckpoints, [name], options, false),
    );
  program
    .command("storage")
    .description("what is stored for you, and how much may be")
    .action((options: object) =>
      run(async () => (await import("./commands/checkpoints.ts")).storage, [], options, false),
    );
}

async function listJobs() {
  return (await import("./commands/jobs.ts")).jobs;
}

const PHASES = ["queued", "starting", "running", "finishing", "succeeded", "failed", "cancelled"];

function addMarketCommands(program: Command, run: Runner): void {
  program.commandsGroup(GROUP_MARKET);
  withSpecFlags(program.command("quote").description("what a job would cost, and which offers match; creates nothing"))
    .argument("[file]", "specification, YAML or JSON; - for standard input")
    .usage("[options] [file] [-- command...]")
    .action((file: string | undefined, options: object) =>
      run(async () => (await import("./commands/market.ts")).quote, given(file), options, true),
    );
  program
    .command("offers")
    .description("what can be had now, at what price")
    .action((options: object) => run(async () => (await import("./commands/market.ts")).offers, [], options, false));
  const workers = program
    .command("workers")
    .description("your workers; with an id, one of them")
    .argument("[id]")
    .action((id: string | undefined, options: object) =>
      run(async () => (await import("./commands/workers.ts")).workers, given(id), options, false),
    );
  workers
    .command("drain")
    .description("give a worker no new jobs; what runs goes on, or moves")
    .argument("<id>")
    .option("--move", "move what runs there to other workers")
    .option("--off", "give it jobs again")
    .action((id: string, options: object) =>
      run(async () => (await import("./commands/workers.ts")).drain, [id], options, false),
    );
}

function addStatsCommands(program: Command, run: Runner): void {
  program
    .command("stats")
    .description("what the promises came to")
    .command("recovery")
    .description("how long your jobs took to go on after a fault, and what work that lost")
    .option("--window <duration>", "how far back to look [7d]")
    .action((options: object) => run(async () => (await import("./commands/stats.ts")).recovery, [], options, false));
  program
    .command("canaries")
    .description("for admins: the network's jobs with known results, and what workers came to")
    .action((options: object) =>
      run(async () => (await import("./commands/canaries.ts")).canaries, [], options, false),
    );
}

function addWalletCommands(program: Command, run: Runner): Command {
  const wallet = program
    .command("wallet")
    .description("your balances; with an account, its own (admin)")
    .argument("[account]")
    .action((account: string | undefined, options: object) =>
      run(async () => (await import("./commands/wallet.ts")).wallet, given(account), options, false),
    );
  withPages(
    wallet
      .command("entries")
      .description("every movement of your money, newest first")
      .option("--account <account>", "of another account (admin)"),
  ).action((options: object) => run(async () => (await import("./commands/wallet.ts")).entries, [], options, false));
  wallet
    .command("address")
    .description("where to send tokens, and from where yours come; with a driver and an address, say so")
    .argument("[driver]", "e.g. evm")
    .argument("[address]", "your own on the chain")
    .option("--signature <hex>", "of the text that is shown without it, by the address's key")
    .action((driver: string | undefined, address: string | undefined, options: { readonly signature?: string }) => {
      const args = given(driver, address);
      return run(async () => (await import("./commands/wallet.ts")).depositAddress, args, options, false);
    });
  addAccountingCommands(program, run);
  return wallet;
}

function addPayoutCommands(program: Command, run: Runner): void {
  const payouts = async () => import("./commands/payouts.ts");
  const payout = program.command("payout").description("a provider's money that leaves: asked for, listed, sent");
  withPages(
    payout.command("ls", { isDefault: true }).description("your payouts, newest first; all of them (admin)"),
  ).action((options: object) => run(async () => (await payouts()).listPayouts, [], options, false));
  payout
    .command("request")
    .description("ask for what is payable to you; the operator sends it")
    .argument("<amount>", "e.g. 25 or 25.50")
    .option("--currency <currency>", `[${CURRENCY_DEFAULT}]`)
    .option("--to <text>", "where to, in words that the operator understands")
    .option("--idempotency-key <key>", "the same key again asks for nothing more (24 h)")
    .action((amount: string, options: object) =>
      run(async () => (await payouts()).requestPayout, [amount], options, false),
    );
  payout
    .command("withdraw")
    .description("have what a chain's contract owes you sent to your address there")
    .argument("<currency>")
    .option("--idempotency-key <key>", "the same key again asks for nothing more (24 h)")
    .action((currency: string, options: object) =>
      run(async () => (await payouts()).withdraw, [currency], options, false),
    );
  payout
    .command("address")
    .description("where you are paid on chains; with a driver and an address, set it")
    .argument("[driver]", "e.g. evm")
    .argument("[address]")
    .action((driver: string | undefined, address: string | undefined, options: object) => {
      return run(async () => (await payouts()).payoutAddress, given(driver, address), options, false);
    });
  payout
    .command("complete")
    .description("say that a payout was sent (admin)")
    .argument("<payout>")
    .requiredOption("--reference <text>", "for the books: of the transfer that you made")
    .action((id: string, options: { readonly reference: string }) =>
      run(async () => (await payouts()).completePayout, [id], options, false),
    );
  payout
    .command("reject")
    .description("say why a payout is not sent; it is payable again (admin)")
    .argument("<payout>")
    .requiredOption("--reason <text>", "what the provider is told")
    .action((id: string, options: { readonly reason: string }) =>
      run(async () => (await payouts()).rejectPayout, [id], options, false),
    );
}

function addChainCommands(program: Command, run: Runner): void {
  const chains = async () => import("./commands/chains.ts");
  const chain = program.command("chain").description("chains on which money lies: compared, resumed (admin)");
  chain
    .command("status", { isDefault: true })
    .description("which there are, and how it stands with them")
    .action((options: object) => run(async () => (await chains()).chainStatus, [], options, false));
  chain
    .command("reconcile")
    .description("compare what the ledger says with what the contract holds; exit 1 where they differ")
    .argument("[driver]", "only this one")
    .action((driver: string | undefined, options: object) =>
      run(async () => (await chains()).reconcileChains, given(driver), options, false),
    );
  chain
    .command("resume")
    .description("go on after a halt, and try again what the chain refused")
    .argument("[driver]", "only this one")
    .action((driver: string | undefined, options: object) =>
      run(async () => (await chains()).resumeChains, given(driver), options, false),
    );
  chain
    .command("release")
    .description("make a job's pay that the chain refused payable here, to be paid out by hand")
    .argument("<driver>")
    .argument("<job>")
    .action((driver: string, job: string, options: object) =>
      run(async () => (await chains()).releasePay, [driver, job], options, false),
    );
}

function addAccountingCommands(program: Command, run: Runner): void {
  program
    .command("receipt")
    .description(
      "a job's whole account, verified: signatures, charges, shares, sums, transfers; exit 6 if it does not add up",
    )
    .argument("[job]")
    .option("--verify <file>", "verify one that was saved, without the orchestrator")
    .option("-o, --output <file>", "save it to this file too")
    .option("--ticks", "show each line that a worker signed")
    .action((job: string | undefined, options: ReceiptOptions) =>
      run(
        async () => (await import("./commands/receipt.ts")).receipt,
        given(job),
        options,
        false,
        options.verify !== undefined,
      ),
    );
  const ranged = (name: string, description: string, by: readonly string[]) =>
    withPages(
      program
        .command(name)
        .description(description)
        .option("--from <day>", "first day of UTC, e.g. 2026-11-01 [30 days back]")
        .option("--to <day>", "last day of UTC [today]")
        .addOption(new Option("--by <what>", "one row for each").choices(by).default("day"))
        .option("--csv", "comma-separated values for a spreadsheet, the whole range")
        .option("--account <account>", "of another account (admin)"),
      " rows",
    );
  ranged("statement", "what moved on your account, or what each job cost", ["day", "job"]).action((options: object) =>
    run(async () => (await import("./commands/statements.ts")).statement, [], options, false),
  );
  ranged("earnings", "what your workers earned, and what of it is pending, payable, paid out", [
    "day",
    "worker",
    "job",
  ]).action((options: object) =>
    run(async () => (await import("./commands/statements.ts")).earnings, [], options, false),
  );
}

function addBudgetCommands(program: Command, run: Runner): void {
  const budget = program
    .command("budget")
    .description("hard limits for what your jobs may cost; one that would cost more is refused, or stopped in time");
  const one = (name: string, description: string) =>
    budget.command(name).description(description).option("--account <account>", "of another account (admin)");
  one("show", "what is spent, what your jobs may still cost, what is left").action((options: object) =>
    run(async () => (await import("./commands/budget.ts")).showBudgets, [], options, false),
  );
  one("set", "set one; what runs is brought within it")
    .argument("<amount>", "e.g. 25 or 25.50")
    .option("--month", "for each calendar month (UTC) [in all, from now on]")
    .option("--currency <currency>", `[${CURRENCY_DEFAULT}]`)
    .action((amount: string, options: object) =>
      run(async () => (await import("./commands/budget.ts")).setBudget, [amount], options, false),
    );
  one("clear", "take one away")
    .option("--month", "the one for each calendar month")
    .option("--currency <currency>", `[${CURRENCY_DEFAULT}]`)
    .action((options: object) =>
      run(async () => (await import("./commands/budget.ts")).clearBudget, [], options, false),
    );
}

function addDepositCommand(parent: Command, run: Runner): void {
  parent
    .command("deposit")
    .description("grant credit to an account (admin)")
    .requiredOption("--account <account>", "acc-…")
    .requiredOption("--amount <amount>", "e.g. 25 or 25.50")
    .option("--currency <currency>", `[${CURRENCY_DEFAULT}]`)
    .option("--reference <text>", "for the books")
    .option("--id <id>", "of the payment, say: the same deposit again, whenever, grants nothing more")
    .option("--idempotency-key <key>", "the same key again grants nothing more (24 h)")
    .action((options: DepositOptions) =>
      run(async () => (await import("./commands/wallet.ts")).deposit, [], options, false),
    );
}

function addAccountCommands(parent: Command, run: Runner): void {
  const accounts = parent
    .command("accounts")
    .description("list accounts")
    .action((options: object) => run(async () => (await import("./commands/admin.ts")).accounts, [], options, false));
  accounts
    .command("create")
    .description("make an account (admin)")
    .requiredOption("--name <name>", "to know it by")
    .addOption(
      new Option("--role <role>", "what it may do").choices(["consumer", "provider", "admin"]).makeOptionMandatory(),
    )
    .action((options: AccountOptions) =>
      run(async () => (await import("./commands/admin.ts")).createAccount, [], options, false),
    );
  parent
    .command("api-keys")
    .description("API keys of accounts")
    .command("create")
    .description("make an API key; it is shown once (admin)")
    .requiredOption("--account <account>", "acc-…")
    .option("--name <name>", "to know it by")
    .action((options: ApiKeyOptions) =>
      run(async () => (await import("./commands/admin.ts")).createApiKey, [], options, false),
    );
  parent
    .command("enrolments")
    .description("one-time tokens for new workers")
    .command("create")
    .description("make a token with which one worker can enrol; it is shown once")
    .option("--account <account>", "the provider it will belong to [your own account]")
    .option("--ttl <duration>", "how long it may be used [1h]")
    .action((options: object) =>
      run(async () => (await import("./commands/admin.ts")).createEnrolment, [], options, false),
    );
}

function withSpecFlags(command: Command): Command {
  return command
    .option("--image <reference>", "container image")
    .option("--name <name>", "to know the job by")
    .option("--env <KEY=VALUE>", "environment variable; repeat for more", append)
    .option(
      "--secret <NAME=SOURCE>",
      "file /run/secrets/NAME; SOURCE is @FILE, env:VARIABLE or -; repeat for more",
      append,
    )
    .option("--registry-user <name>", "for an image of a private registry")
    .option("--registry-password-file <file>", "its password or token; - for standard input")
    .option("--cpus <n>", "cores [1]")
    .option("--memory <size>", "e.g. 512MiB [1GiB]")
    .option("--disk <size>", "e.g. 10GiB [4GiB]")
    .option("--gpus <n>", "GPUs [0]")
    .option("--gpu-model <model>", "only this model")
    .option("--gpu-memory <size>", "memory of each GPU, at least")
    .option("--price-max <price>", "highest price for the whole job, standby and fee included, e.g. 0.60/h")
    .option("--duration <time>", "longest paid time, e.g. 1h30m")
    .option("--budget <amount>", "all that it may cost, e.g. 5 or 2.50: it is asked to save before, and stopped there")
    .option(
      "--standby <kind>",
      "cold; hot: another machine takes over within a second; mirror: two run at once, results compared",
    )
    .option(
      "--verify <mode>",
      "none; spot-check: now and then run again elsewhere; majority: always, by three; adaptive: by the machine's history [none]",
    )
    .option("--verify-runs <n>", "of a majority, its own run among them: 3, 5, 7 or 9 [3]")
    .option("--verify-tolerance <REL[,ABS]>", "by how much numbers in outputs may differ, e.g. 1e-5 or 1e-5,1e-8 [0]")
    .option("--network <kind>", "none, or egress: the internet, and nothing else [none]")
    .option(
      "--egress-max <size>",
      "how much of what it sends is paid for where that has a price of its own, e.g. 10GiB",
    )
    .option("--egress-price-max <price>", "highest price for each GiB that it sends, e.g. 0.05; goes with --egress-max")
    .option(
      "--failover <kind>",
      "exclusive: nobody goes on while a silent machine may still be acting, 17 s later [with egress]; speculative: at once",
    )
    .option("--checkpoint-interval <time>", "how often a checkpoint is taken [30s]")
    .option("--checkpoint-keep <n>", "how many are kept [3]")
    .option("--from-checkpoint <JOB[@SEQ]>", "begin from a checkpoint of another job of yours, its newest without SEQ")
    .option("--input <LOCAL:/to>", "upload a file or folder; repeat for more", append)
    .option("--output <pattern>", "what is kept at the end [/out/**]; repeat for more", append)
    .option("--region <region>", "only there; repeat for more", append)
    .option("--worker <id>", "only on this worker; repeat for more", append)
    .option("--provider <account>", "only on workers of this provider; repeat for more", append)
    .option("--avoid <id>", "never on this worker or provider; repeat for more", append)
    .option("--queue-for <time>", "how long it may wait for a place [1h]")
    .option("--retries <n>", "how often it is tried again when it fails by itself [3]")
    .option("--failovers <n>", "how many lost machines it survives [10]")
    .option("--shm <size>", "shared memory [64MiB]")
    .option("--stop-grace <time>", "between asking it to stop and killing it [10s]");
}

function append(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}
