// The contract with one of its checks taken away: the scenarios must notice each. A text that is not in the source exactly once is a mistake here.
import { type Mutant, mutantsOf } from "../../testing/mutant.ts";
import { escrowSource } from "./compile.ts";

const CHANGES: readonly (readonly [name: string, find: string, replace: string])[] = [
  // Authorisation
  [
    "anyone settles",
    "amounts) external onlyRole(OPERATOR_ROLE) {\n        if (escrows",
    "amounts) external {\n        if (escrows",
  ],
  ["anyone resolves a dispute", "amounts) external onlyRole(ARBITER_ROLE) {", "amounts) external {"],
  ["anyone refunds early", "&& hasRole(OPERATOR_ROLE, msg.sender);\n        if (!early", ";\n        if (!early"],
  [
    "nobody refunds early",
    "bool early = escrow.status == Status.Held && hasRole(OPERATOR_ROLE, msg.sender);",
    "bool early = false;",
  ],
  ["the operator refunds a disputed job", "bool early = escrow.status == Status.Held &&", "bool early ="],
  [
    "anyone tops up",
    "if (escrow.payer != msg.sender) revert NotTheirs();\n        if (deadline < escrow",
    "if (deadline < escrow",
  ],
  ["anyone disputes", "if (escrow.payer != msg.sender && !hasRole(OPERATOR_ROLE, msg.sender)) revert NotTheirs();", ""],
  [
    "the operator cannot dispute",
    "if (escrow.payer != msg.sender && !hasRole(OPERATOR_ROLE, msg.sender)) revert",
    "if (escrow.payer != msg.sender) revert",
  ],
  ["anyone proposes to slash", "bytes32 evidence) external onlyRole(OPERATOR_ROLE) {", "bytes32 evidence) external {"],
  ["anyone appeals", "if (slash.provider != msg.sender) revert NotTheirs();", ""],
  ["anyone has the word on an appeal", "bool execute) external onlyRole(ARBITER_ROLE) {", "bool execute) external {"],
  [
    "an appeal is dropped at once",
    "if (block.timestamp < slash.executableFrom + DISPUTE_S_MAX) revert TooEarly();",
    "",
  ],
  [
    "an appeal is dropped a second late",
    "if (block.timestamp < slash.executableFrom + DISPUTE_S_MAX)",
    "if (block.timestamp <= slash.executableFrom + DISPUTE_S_MAX)",
  ],
  ["what nobody appealed is dropped", "if (slash.status != SlashStatus.Appealed) revert WrongStatus();", ""],
  ["a dropped slash takes", "_endSlash(slashId, false);", "_endSlash(slashId, true);"],
  // Deadlines
  ["a deposit may be late already", "if (deadline <= block.timestamp) revert TooLate();\n        escrows", "escrows"],
  [
    "a top-up may be late already",
    "if (deadline < escrow.deadline || deadline <= block.timestamp) revert",
    "if (deadline < escrow.deadline) revert",
  ],
  ["a top-up brings the deadline nearer", "if (deadline < escrow.deadline || deadline", "if (deadline"],
  ["refunds come at any time", "if (!early && block.timestamp < from) revert TooEarly();", ""],
  ["refunds come a second late", "if (!early && block.timestamp < from)", "if (!early && block.timestamp <= from)"],
  [
    "a dispute does not hold a refund up",
    "if (escrow.status == Status.Disputed) from += DISPUTE_S_MAX;\n        else if",
    "if (escrow.status == Status.Disputed) {}\n        else if",
  ],
  ["a stake leaves at once", "if (block.timestamp < held.leavingFrom) revert TooEarly();", ""],
  [
    "a stake leaves a second late",
    "if (block.timestamp < held.leavingFrom)",
    "if (block.timestamp <= held.leavingFrom)",
  ],
  [
    "asking for more keeps the old wait",
    "held.leavingFrom = uint64(block.timestamp) + UNSTAKE_S;",
    "if (held.leavingFrom == 0) held.leavingFrom = uint64(block.timestamp) + UNSTAKE_S;",
  ],
  ["an appeal comes late", "if (block.timestamp >= slash.executableFrom) revert TooLate();", ""],
  ["a slash needs no wait", "if (block.timestamp < slash.executableFrom) revert TooEarly();", ""],
  // Status
  ["a job is deposited for twice", "if (escrows[jobId].status != Status.None) revert WrongStatus();", ""],
  [
    "a settled job is topped up",
    "if (escrow.status != Status.Held) revert WrongStatus();\n        if (escrow.payer != msg.sender) revert",
    "if (escrow.payer != msg.sender) revert",
  ],
  ["a job is settled twice", "if (escrows[jobId].status != Status.Held) revert WrongStatus();", ""],
  ["a settlement leaves the job open", "escrow.status = Status.Settled;", ""],
  ["a settled job is refunded", "else if (escrow.status != Status.Held) revert WrongStatus();", ""],
  ["a refund leaves the job open", "escrow.status = Status.Refunded;", ""],
  [
    "a settled job is disputed",
    "if (escrow.status != Status.Held) revert WrongStatus();\n        if (escrow.payer != msg.sender && ",
    "if (escrow.payer != msg.sender && ",
  ],
  ["what is not disputed is resolved", "if (escrows[jobId].status != Status.Disputed) revert WrongStatus();", ""],
  ["a slash is proposed twice", "if (slashes[slashId].status != SlashStatus.None) revert WrongStatus();", ""],
  [
    "what has ended is appealed",
    "if (slash.status != SlashStatus.Proposed) revert WrongStatus();\n        if (slash.provider",
    "if (slash.provider",
  ],
  [
    "what was appealed is executed",
    "if (slash.status != SlashStatus.Proposed) revert WrongStatus();\n        if (block.timestamp < slash",
    "if (block.timestamp < slash",
  ],
  [
    "what nobody appealed is resolved",
    "if (slashes[slashId].status != SlashStatus.Appealed) revert WrongStatus();",
    "",
  ],
  // Sums
  ["more is paid than is held", "if (paid > amount) revert WrongAmount();", "if (paid > amount) amount = paid;"],
  ["the rest stays", "if (paid < amount) payable_[escrow.payer] += amount - paid;", ""],
  ["what was paid is not told", "escrow.paid = uint128(paid);", ""],
  [
    "any number of payees",
    "if (count > PAYEES_MAX || count != amounts.length) revert",
    "if (count != amounts.length) revert",
  ],
  ["a top-up is not added", "escrow.amount += amount;", ""],
  ["a top-up keeps the deadline", "escrow.deadline = deadline;", ""],
  [
    "nothing is pulled",
    "TOKEN.safeTransferFrom(msg.sender, address(this), amount);\n        if (TOKEN.balanceOf(address(this)) - before != amount) revert WrongAmount();",
    "",
  ],
  ["nothing is deposited", "if (amount == 0) revert WrongAmount();\n        uint256 before", "uint256 before"],
  [
    "more is asked back than is staked",
    "if (amount == 0 || amount > held.amount - held.leaving) revert",
    "if (amount == 0) revert",
  ],
  [
    "nothing is asked back",
    "if (amount == 0 || amount > held.amount - held.leaving) revert",
    "if (amount > held.amount - held.leaving) revert",
  ],
  ["a locked stake leaves", "uint128 free = held.amount - held.locked;", "uint128 free = held.amount;"],
  ["a stake that left stays", "held.amount -= amount;\n        held.leaving", "held.leaving"],
  ["a stake leaves again and again", "held.leaving -= amount;", ""],
  ["a stake is locked twice", "amount > held.amount - held.locked) revert", "amount > held.amount) revert"],
  ["a slash locks nothing", "held.locked += amount;", "held.locked += 0;"],
  ["a slash needs no evidence", "|| evidence == bytes32(0) ", ""],
  ["a slash of nothing", "if (amount == 0 || evidence", "if (evidence"],
  ["a slash stays locked", "held.locked -= amount;", ""],
  ["a slash takes nothing", "held.amount -= amount;\n            if", "if"],
  ["what was slashed comes back", "if (held.leaving > held.amount) held.leaving = held.amount;", ""],
  ["what was slashed is nobody's", "payable_[SLASH_POOL] += amount;", ""],
  ["a dismissed slash takes as well", "        if (execute) {", "        if (true) {"],
  ["what is owed is paid twice", "payable_[owner] = 0;", ""],
];

export function mutants(): readonly Mutant[] {
  return mutantsOf(escrowSource(), CHANGES);
}
