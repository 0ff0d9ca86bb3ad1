// Mutants of checks, slashes and disputes.
import { CORE, type Mutant } from "./mutant.ts";

export const TRUST_MUTANTS: readonly Mutant[] = [
  {
    name: "a check comes to a provider who had part in the job",
    patches: [
      {
        file: `${CORE}/check-places.ts`,
        find: "    if (others.has(machine.worker.providerId)) return true;\n",
        replace: "",
      },
    ],
  },
  {
    name: "one check that differs is believed",
    patches: [
      {
        file: `${CORE}/check-results.ts`,
        find: "  const pair = against.find((group) => group.length > 1);\n",
        replace: "  const pair = against[0];\n",
      },
    ],
  },
  {
    name: "a wrong result is paid",
    patches: [
      {
        file: `${CORE}/check-results.ts`,
        find: "  returnPay(state, verification);\n",
        replace: "  releasePay(state, verification);\n",
      },
    ],
  },
  {
    name: "a comparison is not asked for again after a start",
    patches: [
      {
        file: `${CORE}/step.ts`,
        find: "  for (const verification of state.rows.verifications.values()) askComparisons(state, verification);\n",
        replace: "",
      },
    ],
  },
  {
    name: "a slash needs no evidence",
    patches: [
      {
        file: `${CORE}/slashes.ts`,
        find: " || Object.keys(accusation.evidence).length === 0",
        replace: "",
      },
    ],
  },
  {
    name: "a slash takes all of a stake",
    patches: [
      {
        file: `${CORE}/slashes.ts`,
        find: "const amount = staked < due ? staked : due;",
        replace: "const amount = staked;",
      },
    ],
  },
  {
    name: "what a voided slash held is slashed all the same",
    patches: [
      {
        file: `${CORE}/slashes.ts`,
        find: 'const to: LedgerAccount = phase === "applied" ? "slashed" : `stake:${providerId}`;',
        replace: 'const to: LedgerAccount = providerId === "" ? `stake:${providerId}` : "slashed";',
      },
    ],
  },
  {
    name: "disputed pay is released too",
    patches: [
      {
        file: `${CORE}/disputes.ts`,
        find: "const isThere = takePending(state, { providerId, currency, amount, settledAtMs });",
        replace: 'const isThere = settledAtMs >= 0 && currency !== "" && takePending !== undefined;',
      },
    ],
  },
  {
    name: "a dispute that nobody decides stays open",
    patches: [{ file: `${CORE}/timers.ts`, find: "      return onCaseDue(state, id);", replace: "      return;" }],
  },
  {
    name: "a canary that nobody has proven accuses",
    patches: [
      {
        file: `${CORE}/canaries.ts`,
        find: 'const isHeld = verdict === "wrong" && right >= PROVEN_FROM && !isBroken({ right, wrong: wrong + 1 });',
        replace: 'const isHeld = verdict === "wrong" && right + wrong >= 0;',
      },
    ],
  },
  {
    name: "a canary comes to a provider again",
    patches: [
      {
        file: `${CORE}/canaries.ts`,
        find: "!seen.has(canary.name) && isOpenFor(",
        replace: "!(seen.has(canary.name) && seen.size < 0) && isOpenFor(",
      },
    ],
  },
];
