// The Qubic contract with one of its checks taken away: the scenarios must notice each. A text that is not in the source exactly once is a mistake here.
import { type Mutant, mutantsOf } from "../../testing/mutant.ts";
import { contractSource } from "./build.ts";

const CHANGES: readonly (readonly [name: string, find: string, replace: string])[] = [
  [
    "anyone settles",
    "if (qpi.invocator() != state.operatorId || !state.escrows.get(input.job, locals.escrow))",
    "if (!state.escrows.get(input.job, locals.escrow))",
  ],
  [
    "anyone resolves a dispute",
    "if (qpi.invocator() != state.arbiter || !state.escrows.get(input.job, locals.escrow))",
    "if (!state.escrows.get(input.job, locals.escrow))",
  ],
  ["a dispute about a far deadline ends at once", "uint64 from;", "uint32 from;"],
  ["anyone refunds early", "else if (qpi.invocator() == state.operatorId)", "else"],
  ["nobody refunds early", "else if (qpi.invocator() == state.operatorId)", "else if (false)"],
  [
    "anyone tops up",
    "if (locals.escrow.status != QUBIX_HELD || locals.escrow.payer != qpi.invocator())",
    "if (locals.escrow.status != QUBIX_HELD)",
  ],
  [
    "what is not held is topped up",
    "if (locals.escrow.status != QUBIX_HELD || locals.escrow.payer != qpi.invocator())",
    "if (locals.escrow.payer != qpi.invocator())",
  ],
  [
    "anyone disputes",
    "if (qpi.invocator() != locals.escrow.payer && qpi.invocator() != state.operatorId)",
    "if (false)",
  ],
  [
    "the operator cannot dispute",
    "if (qpi.invocator() != locals.escrow.payer && qpi.invocator() != state.operatorId)",
    "if (qpi.invocator() != locals.escrow.payer)",
  ],
  [
    "anyone proposes to slash",
    "if (qpi.invocator() != state.operatorId || state.slashes.contains(input.slash))",
    "if (state.slashes.contains(input.slash))",
  ],
  [
    "a slash is proposed twice",
    "if (qpi.invocator() != state.operatorId || state.slashes.contains(input.slash))",
    "if (qpi.invocator() != state.operatorId)",
  ],
  [
    "anyone appeals",
    "if (locals.slash.status != QUBIX_PROPOSED || locals.slash.provider != qpi.invocator())",
    "if (locals.slash.status != QUBIX_PROPOSED)",
  ],
  [
    "what has ended is appealed",
    "if (locals.slash.status != QUBIX_PROPOSED || locals.slash.provider != qpi.invocator())",
    "if (locals.slash.provider != qpi.invocator())",
  ],
  [
    "anyone has the word on an appeal",
    "if (qpi.invocator() != state.arbiter || !state.slashes.get(input.slash, locals.slash))",
    "if (!state.slashes.get(input.slash, locals.slash))",
  ],
  ["what nobody appealed is resolved", "if (locals.slash.status != QUBIX_APPEALED)", "if (false)"],
  [
    "a deposit may be late already",
    "|| input.deadline <= qpi.tick() || state.escrows.contains(input.job))",
    "|| state.escrows.contains(input.job))",
  ],
  [
    "a job is deposited for twice",
    "|| input.deadline <= qpi.tick() || state.escrows.contains(input.job))",
    "|| input.deadline <= qpi.tick())",
  ],
  [
    "a top-up may be late already",
    "if (input.deadline < locals.escrow.deadline || input.deadline <= qpi.tick())",
    "if (input.deadline < locals.escrow.deadline)",
  ],
  [
    "a top-up brings the deadline nearer",
    "if (input.deadline < locals.escrow.deadline || input.deadline <= qpi.tick())",
    "if (input.deadline <= qpi.tick())",
  ],
  ["refunds come at any time", "if (qpi.tick() < locals.from)", "if (false)"],
  ["refunds come a tick late", "if (qpi.tick() < locals.from)", "if (qpi.tick() <= locals.from)"],
  ["a dispute does not hold a refund up", "locals.from += QUBIX_DISPUTE_TICKS_MAX;", ""],
  [
    "what is not held is refunded",
    "if (locals.escrow.status != QUBIX_HELD && locals.escrow.status != QUBIX_DISPUTED)",
    "if (false)",
  ],
  ["a refund leaves the job open", "locals.escrow.status = QUBIX_REFUNDED;", ""],
  ["a settlement leaves the job open", "locals.escrow.status = QUBIX_SETTLED;", ""],
  ["what was paid is not told", "locals.escrow.paid = locals.paid;", ""],
  ["more is paid than is held", "if (locals.paid > locals.escrow.amount)", "if (false)"],
  ["the rest stays", "if (locals.escrow.amount > locals.paid)", "if (false)"],
  ["a top-up is not added", "locals.escrow.amount += qpi.invocationReward();", ""],
  ["a top-up keeps the deadline", "locals.escrow.deadline = input.deadline;\n        state", "state"],
  ["an appeal comes late", "if (qpi.tick() >= locals.slash.executableFrom)", "if (false)"],
  [
    "a slash needs no wait",
    "if (locals.slash.status != QUBIX_PROPOSED || qpi.tick() < locals.slash.executableFrom)",
    "if (locals.slash.status != QUBIX_PROPOSED)",
  ],
  [
    "what was appealed is executed",
    "if (locals.slash.status != QUBIX_PROPOSED || qpi.tick() < locals.slash.executableFrom)",
    "if (qpi.tick() < locals.slash.executableFrom)",
  ],
  ["an appeal is dropped at once", "|| qpi.tick() < locals.slash.executableFrom + QUBIX_DISPUTE_TICKS_MAX)", ")"],
  [
    "an appeal is dropped a tick late",
    "qpi.tick() < locals.slash.executableFrom + QUBIX_DISPUTE_TICKS_MAX",
    "qpi.tick() <= locals.slash.executableFrom + QUBIX_DISPUTE_TICKS_MAX",
  ],
  ["what nobody appealed is dropped", "if (locals.slash.status != QUBIX_APPEALED || qpi.tick()", "if (qpi.tick()"],
  ["a dropped slash takes", "locals.end.execute = 0;", "locals.end.execute = 1;"],
  ["a stake leaves at once", "if (qpi.tick() < locals.stake.leavingFrom)", "if (false)"],
  [
    "a stake leaves a tick late",
    "if (qpi.tick() < locals.stake.leavingFrom)",
    "if (qpi.tick() <= locals.stake.leavingFrom)",
  ],
  [
    "asking for more keeps the old wait",
    "locals.stake.leavingFrom = qpi.tick() + QUBIX_UNSTAKE_TICKS;",
    "if (locals.stake.leavingFrom == 0) locals.stake.leavingFrom = qpi.tick() + QUBIX_UNSTAKE_TICKS;",
  ],
  [
    "more is asked back than is staked",
    "if (input.amount <= 0 || input.amount > locals.stake.amount - locals.stake.leaving)",
    "if (input.amount <= 0)",
  ],
  [
    "nothing is asked back",
    "if (input.amount <= 0 || input.amount > locals.stake.amount - locals.stake.leaving)",
    "if (input.amount > locals.stake.amount - locals.stake.leaving)",
  ],
  [
    "a locked stake leaves",
    "locals.amount = locals.stake.amount - locals.stake.locked;",
    "locals.amount = locals.stake.amount;",
  ],
  ["a stake that left stays", "locals.stake.amount -= locals.amount;", ""],
  ["a stake leaves again and again", "locals.stake.leaving -= locals.amount;", ""],
  ["a slash needs no evidence", "input.evidence == NULL_ID || ", ""],
  ["a slash of nothing", "if (input.amount <= 0 || input.evidence", "if (input.evidence"],
  [
    "a stake is locked twice",
    "|| input.amount > locals.stake.amount - locals.stake.locked)",
    "|| input.amount > locals.stake.amount)",
  ],
  ["a slash locks nothing", "locals.stake.locked += input.amount;", ""],
  ["a slash stays locked", "locals.stake.locked -= locals.slash.amount;", ""],
  ["a slash takes nothing", "locals.stake.amount -= locals.slash.amount;", ""],
  ["what was slashed comes back", "locals.stake.leaving = locals.stake.amount;", ""],
  ["what was slashed is nobody's", "qpi.transfer(state.slashPool, locals.slash.amount);", ""],
  ["a dismissed slash takes as well", "if (input.execute != 0)", "if (true)"],
  [
    "a refused settlement of what is not held",
    "        if (locals.escrow.status != QUBIX_HELD)\n        {\n            return;\n        }\n        locals.split",
    "        locals.split",
  ],
  [
    "what is not disputed is resolved",
    "        if (locals.escrow.status != QUBIX_DISPUTED)\n        {\n            return;\n        }\n        locals.split",
    "        locals.split",
  ],
  [
    "what is not held is disputed",
    "        if (locals.escrow.status != QUBIX_HELD)\n        {\n            return;\n        }\n        if (qpi.invocator() != locals.escrow.payer",
    "        if (qpi.invocator() != locals.escrow.payer",
  ],
  [
    "money of a refused deposit stays",
    "|| input.deadline <= qpi.tick() || state.escrows.contains(input.job))\n        {\n            qpi.transfer(qpi.invocator(), qpi.invocationReward());",
    "|| input.deadline <= qpi.tick() || state.escrows.contains(input.job))\n        {",
  ],
];

export function mutants(): readonly Mutant[] {
  return mutantsOf(contractSource(), CHANGES);
}
