// Steps at random, of few jobs and parties so that they meet.
import fc from "fast-check";
import { type Action, type Party, PARTIES, type Rules, type Step } from "./model.ts";

const DAY_S = 86_400;
const STEPS_MAX = 30;

export function steps({ appealS, unstakeS, disputeSMax }: Rules): fc.Arbitrary<readonly Step[]> {
  const waits = fc.oneof(
    { weight: 6, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.constantFrom(DAY_S, appealS, unstakeS, disputeSMax) },
  );
  return fc.array(
    fc.oneof(
      // The right ones more often than others, or little would be allowed.
      ...LIKELY.map(([by, act]) => fc.record({ by: fc.constant(by), act, afterS: waits })),
      fc.record({ by: party, act: fc.oneof(...LIKELY.map(([, act]) => act)), afterS: waits }),
    ),
    { minLength: 5, maxLength: STEPS_MAX },
  );
}

const party = fc.constantFrom(...PARTIES);
const provider = fc.constantFrom<Party>("alice", "bob");
const job = fc.constantFrom("one", "two");
const slash = fc.constantFrom("fault", "other fault");
const amount = fc.integer({ min: 0, max: 1_200 }).map(BigInt);
const deadlineS = fc.constantFrom(1, DAY_S, 3 * DAY_S, 60 * DAY_S);
const shares = fc.array(fc.tuple(party, fc.integer({ min: 0, max: 700 }).map(BigInt)), { maxLength: 3 });

const LIKELY: readonly (readonly [Party, fc.Arbitrary<Action>])[] = [
  ["payer", fc.record({ kind: fc.constant("deposit" as const), job, amount, deadlineS })],
  ["payer", fc.record({ kind: fc.constant("topUp" as const), job, amount, deadlineS })],
  ["operator", fc.record({ kind: fc.constant("settle" as const), job, shares })],
  ["operator", fc.record({ kind: fc.constant("refund" as const), job })],
  ["payer", fc.record({ kind: fc.constant("dispute" as const), job })],
  ["arbiter", fc.record({ kind: fc.constant("resolve" as const), job, shares })],
  ["alice", fc.record({ kind: fc.constant("stake" as const), amount })],
  ["alice", fc.record({ kind: fc.constant("requestUnstake" as const), amount })],
  ["alice", fc.constant({ kind: "unstake" as const })],
  [
    "operator",
    fc.record({
      kind: fc.constant("proposeSlash" as const),
      slash,
      provider,
      amount,
      evidence: fc.constantFrom("proof", null),
    }),
  ],
  ["alice", fc.record({ kind: fc.constant("appeal" as const), slash })],
  ["stranger", fc.record({ kind: fc.constant("executeSlash" as const), slash })],
  ["arbiter", fc.record({ kind: fc.constant("resolveSlash" as const), slash, execute: fc.boolean() })],
  ["stranger", fc.record({ kind: fc.constant("dropSlash" as const), slash })],
  ["stranger", fc.record({ kind: fc.constant("payOut" as const), owner: party })],
];
