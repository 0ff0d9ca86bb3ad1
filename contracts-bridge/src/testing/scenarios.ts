// The shared scenario suite: what every escrow contract is taken through. Each step is done to the contract and to the model; both must show the same
// afterwards, whether it was allowed or refused. Together they try each check of a contract at both of its sides.
import type { Action, Party, Rules, Step } from "./model.ts";

export interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
}

/** Every party begins with so much. */
export const FUNDS = 1_000_000n;
const DAY_S = 86_400;
const FAR_S = 10 * DAY_S;
/** The farthest deadline that every contract can say: ticks have 32 bits. */
const FARTHEST_S = 2 ** 32 - 1;

export function scenariosFor(rules: Rules): readonly Scenario[] {
  return [...escrowScenarios(rules), ...disputeScenarios(rules), ...stakeScenarios(rules), ...slashScenarios(rules)];
}

function does(by: Party, act: Action, afterS = 1): Step {
  return { by, act, afterS };
}

const deposit = (job = "job", amount = 1_000n, deadlineS = FAR_S): Action => ({
  kind: "deposit",
  job,
  amount,
  deadlineS,
});
const settle = (...shares: [Party, bigint][]): Action => ({ kind: "settle", job: "job", shares });
const resolve = (...shares: [Party, bigint][]): Action => ({ kind: "resolve", job: "job", shares });
const refund: Action = { kind: "refund", job: "job" };
const dispute: Action = { kind: "dispute", job: "job" };
const topUp = (amount: bigint, deadlineS = FAR_S): Action => ({ kind: "topUp", job: "job", amount, deadlineS });
const payOut = (owner: Party): Action => ({ kind: "payOut", owner });

function escrowScenarios({ payeesMax }: Rules): readonly Scenario[] {
  const everyone: Party[] = ["alice", "bob", "rival", "stranger", "pool", "arbiter", "payer", "operator"];
  const full = everyone.slice(0, payeesMax).map((party): [Party, bigint] => [party, 10n]);
  return [
    {
      name: "a settlement pays each payee, sends the rest back, and happens once",
      steps: [
        does("payer", deposit()),
        does("operator", settle(["alice", 600n], ["bob", 300n])),
        does("operator", settle(["alice", 1n])),
        does("operator", refund),
        does("payer", dispute),
        does("stranger", refund, FAR_S),
        ...(["alice", "bob", "payer", "alice"] as const).map((party) => does("stranger", payOut(party))),
      ],
    },
    {
      name: "a settlement of all that is held leaves nothing; of nothing sends all back",
      steps: [
        does("payer", deposit()),
        does("operator", settle(["alice", 1_000n])),
        does("payer", payOut("payer")),
        does("payer", deposit("other")),
        does("operator", { kind: "settle", job: "other", shares: [] }),
        does("payer", payOut("payer")),
      ],
    },
    {
      name: "only the operator settles, and no more than is held",
      steps: [
        does("payer", deposit()),
        ...(["payer", "alice", "stranger", "arbiter"] as const).map((by) => does(by, settle(["alice", 600n]))),
        does("operator", settle(["alice", 600n], ["bob", 401n])),
        does("operator", settle(["alice", 1_001n])),
        does("operator", settle(["alice", 600n], ["bob", 400n])),
      ],
    },
    {
      name: "a settlement has a bounded number of payees",
      steps: [
        does("payer", deposit()),
        does("operator", settle(...full, ["alice", 1n])),
        does("operator", settle(...full)),
      ],
    },
    {
      name: "what was never deposited is not settled, refunded, topped up or disputed",
      steps: [
        does("operator", settle()),
        does("operator", settle(["alice", 1n])),
        does("operator", refund),
        does("payer", refund),
        does("payer", topUp(1n)),
        does("operator", dispute),
        does("arbiter", resolve()),
      ],
    },
    {
      name: "a deposit is of something, in the future, with one's own money, once for a job",
      steps: [
        does("payer", deposit("job", 0n)),
        does("payer", deposit("job", FUNDS + 1n)),
        does("payer", deposit("late", 5n, 3)),
        does("payer", deposit("late", 5n, 3)),
        does("payer", deposit()),
        does("payer", deposit()),
        does("rival", deposit()),
        does("operator", settle()),
        does("rival", deposit()),
      ],
    },
    {
      name: "before the deadline the operator alone refunds; from it on anyone does, once",
      steps: [
        does("payer", deposit("job", 1_000n, DAY_S)),
        does("payer", refund),
        does("alice", refund),
        does("arbiter", refund),
        does("stranger", refund, DAY_S - 6),
        does("stranger", refund),
        does("stranger", refund),
        does("operator", settle(["alice", 1n])),
        does("payer", payOut("payer")),
        does("payer", deposit("early")),
        does("operator", { kind: "refund", job: "early" }),
        does("operator", { kind: "refund", job: "early" }),
      ],
    },
    {
      name: "a settlement that comes late still counts while nobody has refunded",
      steps: [does("payer", deposit("job", 1_000n, DAY_S)), does("operator", settle(["alice", 600n]), 2 * DAY_S)],
    },
    {
      name: "a payer tops up his own job, and the deadline only moves away",
      steps: [
        does("payer", deposit("job", 1_000n, DAY_S)),
        does("rival", topUp(500n, DAY_S)),
        does("operator", topUp(500n, DAY_S)),
        does("payer", topUp(500n, DAY_S - 1)),
        does("payer", topUp(0n, DAY_S)),
        does("payer", topUp(500n, DAY_S)),
        does("payer", topUp(500n, DAY_S), DAY_S),
        does("payer", topUp(500n, 2 * DAY_S)),
        does("stranger", refund),
        does("operator", settle(["alice", 2_000n])),
        does("payer", topUp(1n, 3 * DAY_S)),
      ],
    },
    {
      name: "two jobs of two payers do not touch each other",
      steps: [
        does("payer", deposit("job", 1_000n)),
        does("rival", deposit("other", 700n)),
        does("operator", settle(["alice", 1_001n])),
        does("operator", { kind: "settle", job: "other", shares: [["alice", 100n]] }),
        does("operator", refund),
        ...(["alice", "rival", "payer"] as const).map((party) => does("stranger", payOut(party))),
        does("stranger", payOut("stranger")),
      ],
    },
  ];
}

function disputeScenarios({ disputeSMax }: Rules): readonly Scenario[] {
  return [
    {
      name: "a dispute freezes what is held until the arbiter has spoken",
      steps: [
        does("payer", deposit()),
        ...(["rival", "alice", "stranger", "arbiter"] as const).map((by) => does(by, dispute)),
        does("arbiter", resolve(["alice", 1n])),
        does("payer", dispute),
        does("payer", dispute),
        does("operator", settle(["alice", 1_000n])),
        does("operator", refund),
        does("payer", topUp(1n)),
        does("stranger", refund, FAR_S),
        ...(["operator", "payer", "stranger"] as const).map((by) => does(by, resolve(["bob", 1_000n]))),
        does("arbiter", resolve(["alice", 1_001n])),
        does("arbiter", resolve(["alice", 400n])),
        does("arbiter", resolve(["alice", 400n])),
        does("operator", settle(["alice", 1n])),
      ],
    },
    {
      name: "an arbiter who never speaks does not lock money for ever",
      steps: [
        does("payer", deposit("job", 1_000n, DAY_S)),
        does("operator", dispute),
        does("stranger", refund, DAY_S + disputeSMax - 4),
        does("stranger", refund, 1),
        does("stranger", refund, 2),
        does("arbiter", resolve(["alice", 1n])),
      ],
    },
    {
      name: "a payer who moves his deadline as far as it goes, and disputes, does not get his money past the arbiter",
      steps: [
        does("payer", deposit()),
        does("payer", topUp(1n, FARTHEST_S)),
        does("payer", dispute),
        does("payer", refund, disputeSMax),
        does("stranger", refund),
        does("arbiter", resolve(["alice", 1_000n])),
      ],
    },
  ];
}

const stake = (amount: bigint): Action => ({ kind: "stake", amount });
const ask = (amount: bigint): Action => ({ kind: "requestUnstake", amount });
const unstake: Action = { kind: "unstake" };

function stakeScenarios({ unstakeS }: Rules): readonly Scenario[] {
  return [
    {
      name: "a stake comes back some time after it was asked for, as far as was asked",
      steps: [
        does("alice", stake(0n)),
        does("alice", unstake),
        does("alice", ask(1n)),
        does("alice", stake(500n)),
        does("alice", stake(200n)),
        does("alice", unstake),
        does("alice", ask(0n)),
        does("alice", ask(701n)),
        does("alice", ask(300n)),
        does("alice", ask(401n)),
        // Asking for nothing does not begin the wait anew.
        does("alice", ask(0n)),
        does("alice", unstake, unstakeS - 3),
        does("alice", unstake, 1),
        does("alice", unstake),
        does("alice", unstake),
        does("bob", unstake),
        does("alice", payOut("alice")),
      ],
    },
    {
      name: "asking for more begins the wait anew",
      steps: [
        does("alice", stake(500n)),
        does("alice", ask(100n)),
        does("alice", ask(100n), unstakeS - 1),
        does("alice", unstake),
        does("alice", unstake, unstakeS),
      ],
    },
  ];
}

function slashScenarios({ appealS, unstakeS, disputeSMax }: Rules): readonly Scenario[] {
  const propose = (amount: bigint, slash = "fault", evidence: string | null = "proof"): Action => ({
    kind: "proposeSlash",
    slash,
    provider: "alice",
    amount,
    evidence,
  });
  const execute: Action = { kind: "executeSlash", slash: "fault" };
  const appeal: Action = { kind: "appeal", slash: "fault" };
  const drop: Action = { kind: "dropSlash", slash: "fault" };
  const word = (executes: boolean): Action => ({ kind: "resolveSlash", slash: "fault", execute: executes });
  return [
    {
      name: "a slash needs the operator, evidence, and a stake that is not locked already",
      steps: [
        does("operator", propose(1n)),
        does("alice", stake(500n)),
        ...(["payer", "arbiter", "stranger", "alice"] as const).map((by) => does(by, propose(100n))),
        does("operator", propose(100n, "fault", null)),
        does("operator", propose(0n)),
        does("operator", propose(501n)),
        does("operator", propose(300n)),
        does("operator", propose(100n)),
        does("operator", propose(201n, "second")),
        does("operator", propose(200n, "second")),
      ],
    },
    {
      name: "a slash that nobody appeals is carried out after its time, by anyone, once",
      steps: [
        does("alice", stake(500n)),
        does("operator", propose(300n)),
        does("arbiter", word(true)),
        does("operator", execute),
        does("stranger", execute, appealS - 3),
        does("stranger", execute, 1),
        does("stranger", execute),
        does("alice", appeal),
        does("stranger", payOut("pool")),
      ],
    },
    {
      name: "an appeal in time leaves the word to the arbiter, who may take or leave it",
      steps: [
        does("alice", stake(500n)),
        does("operator", propose(300n)),
        does("bob", appeal),
        does("operator", appeal),
        does("alice", appeal, 5),
        does("alice", appeal),
        does("stranger", execute, appealS),
        ...(["operator", "alice", "stranger"] as const).map((by) => does(by, word(true))),
        does("arbiter", word(false)),
        does("arbiter", word(true)),
        does("operator", propose(500n, "second")),
        does("alice", { kind: "appeal", slash: "second" }),
        does("arbiter", { kind: "resolveSlash", slash: "second", execute: true }),
        does("stranger", { kind: "executeSlash", slash: "second" }, appealS),
        does("alice", unstake, unstakeS),
      ],
    },
    {
      name: "an appeal that was dismissed is not made again",
      steps: [
        does("alice", stake(500n)),
        does("operator", propose(300n)),
        does("alice", appeal),
        does("arbiter", word(false)),
        does("alice", appeal),
        does("arbiter", word(true)),
      ],
    },
    {
      name: "an arbiter who never speaks on an appeal does not lock a stake for ever",
      steps: [
        does("stranger", drop),
        does("alice", stake(500n)),
        does("operator", propose(300n)),
        does("alice", appeal),
        does("alice", drop, appealS + disputeSMax - 3),
        does("alice", drop, 1),
        does("stranger", drop),
        does("stranger", drop),
        does("arbiter", word(true)),
        does("operator", propose(500n, "second")),
        does("stranger", { kind: "dropSlash", slash: "second" }, appealS + disputeSMax),
        does("stranger", { kind: "executeSlash", slash: "second" }),
        does("stranger", { kind: "dropSlash", slash: "second" }, disputeSMax),
      ],
    },
    {
      name: "an appeal that comes too late is none",
      steps: [
        does("alice", stake(500n)),
        does("operator", propose(300n)),
        does("alice", appeal, appealS),
        does("stranger", execute),
      ],
    },
    {
      name: "nobody takes his stake out from under a slash",
      steps: [
        does("alice", stake(500n)),
        does("alice", ask(500n)),
        does("operator", propose(300n), unstakeS - 3),
        does("alice", unstake, 3),
        does("alice", unstake),
        does("stranger", execute, appealS),
        does("alice", unstake, unstakeS),
        does("alice", ask(1n)),
      ],
    },
    {
      name: "what was asked back and slashed meanwhile does not come back",
      steps: [
        does("alice", stake(500n)),
        does("alice", ask(400n)),
        does("operator", propose(300n)),
        does("stranger", execute, appealS),
        does("alice", unstake, unstakeS),
        does("alice", unstake),
        does("alice", ask(1n)),
        does("bob", stake(50n)),
      ],
    },
  ];
}
