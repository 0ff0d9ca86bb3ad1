// The commands of `commands/trust.ts`: ratings, disputes, stakes, slashes.
import { type Command, Option } from "commander";
import type { AccuseOptions, StakeOptions } from "./commands/trust.ts";
import { CURRENCY_DEFAULT } from "./defaults.ts";
import { given, type Runner, withPages } from "./runner.ts";
import type { Handler } from "./session.ts";

const commands = () => import("./commands/trust.ts");

/** What a consumer says of a job of his. */
export function addRatingCommands(program: Command, run: Runner): void {
  program
    .command("rate")
    .description("rate an ended job; it may be changed for a day. Without --stars: how it was rated")
    .argument("<job>")
    .option("--stars <n>", "from 1 to 5")
    .option("--comment <text>", "for its provider")
    .action((id: string, options: object) => run(async () => (await commands()).rate, [id], options, false));
  program
    .command("dispute")
    .description("dispute an ended job while its pay is pending: it is frozen until the operator decides")
    .argument("<job>")
    .requiredOption("--reason <text>", "what is wrong with it")
    .action((id: string, options: { readonly reason: string }) =>
      run(async () => (await commands()).dispute, [id], options, false),
    );
}

export function addTrustCommands(program: Command, run: Runner): void {
  addDisputes(program, run);
  addStakes(program, run);
  addSlashes(program, run);
}

function addDisputes(program: Command, run: Runner): void {
  const disputes = withList(
    program.command("disputes").description("disputes about your jobs or your pay; with an id, one"),
  )
    .argument("[id]")
    .action((id: string | undefined, options: object) =>
      run(async () => (await commands()).disputes, given(id), options, false),
    );
  disputes
    .command("resolve")
    .description("decide one (admin)")
    .argument("<id>")
    .requiredOption("--consumer-percent <n>", "how much goes back to the consumer; the rest goes to the providers")
    .option("--note <text>", "why")
    .action((id: string, options: { readonly consumerPercent: string }) =>
      run(async () => (await commands()).resolveDispute, [id], options, false),
    );
}

function addStakes(program: Command, run: Runner): void {
  const stake = program
    .command("stake")
    .description("what you have at risk, and what of it you have asked back")
    .option("--account <account>", "of another account (admin)")
    .action((options: object) => run(async () => (await commands()).stakes, [], options, false));
  const change = (name: string, description: string, handler: () => Promise<Handler<StakeOptions>>) =>
    stake
      .command(name)
      .description(description)
      .argument("<amount>", "e.g. 25 or 25.50")
      .option("--currency <currency>", `[${CURRENCY_DEFAULT}]`)
      .option("--idempotency-key <key>", "the same key again moves nothing more (24 h)")
      .action((amount: string, options: object) => run(handler, [amount], options, false));
  change("add", "put money at risk", async () => (await commands()).addStake).option(
    "--from <source>",
    "payable: what you earned; spendable: what you deposited [payable]",
  );
  change("remove", "ask for some back; it is paid after an appeal window", async () => (await commands()).removeStake);
}

function addSlashes(program: Command, run: Runner): void {
  const slashes = withList(
    program.command("slashes").description("slashes of your stake; with an id, one, its evidence checked here"),
  )
    .argument("[id]")
    .action((id: string | undefined, options: object) =>
      run(async () => (await commands()).slashes, given(id), options, false),
    );
  slashes
    .command("appeal")
    .description("say no to a slash of your stake, while it is proposed")
    .argument("<id>")
    .requiredOption("--text <text>", "why it is wrong")
    .action((id: string, options: { readonly text: string }) =>
      run(async () => (await commands()).appeal, [id], options, false),
    );
  slashes
    .command("resolve")
    .description("uphold an appealed slash, or dismiss one (admin)")
    .argument("<id>")
    .argument("<decision>", "uphold, or dismiss")
    .option("--note <text>", "why")
    .action((id: string, decision: string, options: object) =>
      run(async () => (await commands()).resolveSlash, [id, decision], options, false),
    );
  slashes
    .command("propose")
    .description("accuse a worker, with evidence; its provider may appeal (admin)")
    .requiredOption("--worker <worker>", "wrk-…")
    .requiredOption("--job <job>", "job-…")
    .addOption(
      new Option("--offence <offence>", "what it did")
        .choices(["contradiction", "failed_proof", "wrong_result"])
        .makeOptionMandatory(),
    )
    .requiredOption("--evidence <file>", "JSON")
    .action((options: AccuseOptions) => run(async () => (await commands()).accuse, [], options, false));
}

function withList(command: Command): Command {
  return withPages(command.option("--open", "only those that are not decided yet"));
}
