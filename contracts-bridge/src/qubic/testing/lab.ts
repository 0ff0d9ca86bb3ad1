// The compiled contract, as the shared scenario suite drives it. A tick is a second.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { unreachable } from "@qubix/shared/runtime";
import type { EscrowLab } from "../../testing/follow.ts";
import { type Action, PARTIES, type Party, type Rules, type Shares } from "../../testing/model.ts";
import { FUNDS } from "../../testing/scenarios.ts";
import {
  amountInput,
  FUNCTION,
  idOf,
  jobInput,
  PAYEES_MAX,
  PROCEDURE,
  proposalInput,
  readEscrowOutput,
  readSlashOutput,
  readStakeOutput,
  rolesInput,
  sharesInput,
  slashInput,
} from "../contract.ts";
import { KEY_BYTES } from "../identity.ts";

const DAY_S = 86_400;
export const QUBIC_RULES: Rules = {
  payeesMax: PAYEES_MAX,
  disputeSMax: 30 * DAY_S,
  appealS: 7 * DAY_S,
  unstakeS: 14 * DAY_S,
  pays: "at once",
};
/** Whom the contract's source names as its first administrator in tests. */
const ADMIN = Uint8Array.from({ length: KEY_BYTES }, (_, n) => (n === 0 ? 1 : 0));

export interface QubicLab extends EscrowLab {
  /** Lets an epoch end, and so removes what ended before it. */
  endEpoch(): Promise<void>;
  /** A command of the program, as contracts/qubic/testing/harness.cpp lists them. */
  raw(command: string): Promise<Record<string, unknown>>;
  stop(): Promise<void>;
}

/** `operator`: another than the party of that name, funded as well. */
export async function startLab(program: string, variant = 0, operator?: Uint8Array): Promise<QubicLab> {
  const child = spawn(program, [String(variant)], { stdio: ["pipe", "pipe", "inherit"] });
  const ask = lines(child);
  const keys = Object.fromEntries(PARTIES.map((party) => [party, idOf(party)])) as Record<Party, Uint8Array>;
  const partyOf = (key: Uint8Array): Party =>
    PARTIES.find((party) => hex(keys[party]) === hex(key)) ?? (hex(key) as Party);
  const call = (procedure: number, caller: Uint8Array, reward: bigint, input: Uint8Array) =>
    ask(`call ${procedure} ${hex(caller)} ${reward} ${hex(input)}`);
  const output = async (number: number, input: Uint8Array) =>
    Uint8Array.from(Buffer.from(String((await ask(`ask ${number} ${hex(input)}`))["output"]), "hex"));
  const balance = async (of: string) => BigInt(String((await ask(`balance ${of}`))["balance"]));
  for (const party of PARTIES) await ask(`fund ${hex(keys[party])} ${FUNDS}`);
  if (operator !== undefined) await ask(`fund ${hex(operator)} ${FUNDS}`);
  const { stranger: admin, arbiter, pool: slashPool } = keys;
  await call(
    PROCEDURE.setRoles,
    ADMIN,
    0n,
    rolesInput({ admin, operator: operator ?? keys.operator, arbiter, slashPool }),
  );

  return {
    rules: QUBIC_RULES,
    async act({ by, act }, atS) {
      await ask(`tick ${atS}`);
      const made = callOf(act, keys);
      if (made !== null) await call(made.procedure, keys[by], made.reward, made.input);
    },
    async view({ jobs, slashes }) {
      const escrows: [string, object][] = [];
      for (const job of jobs) {
        const row = readEscrowOutput(await output(FUNCTION.escrow, idOf(job)));
        if (row === null) continue;
        const { payer, deadlineTick, ...rest } = row;
        escrows.push([job, { ...rest, payer: partyOf(payer), deadlineS: deadlineTick }]);
      }
      const stakes: [Party, object][] = [];
      for (const party of PARTIES) {
        const row = readStakeOutput(await output(FUNCTION.stake, keys[party]));
        if (row.amount !== 0n) stakes.push([party, row]);
      }
      const ended: [string, string][] = [];
      for (const slash of slashes) {
        const row = readSlashOutput(await output(FUNCTION.slash, idOf(slash)));
        if (row !== null) ended.push([slash, row.status]);
      }
      const wallets: [Party, bigint][] = [];
      for (const party of PARTIES) wallets.push([party, await balance(hex(keys[party]))]);
      return {
        escrows: Object.fromEntries(escrows),
        stakes: Object.fromEntries(stakes),
        slashes: Object.fromEntries(ended),
        owed: {},
        wallets: Object.fromEntries(wallets),
        held: await balance("self"),
      } as Awaited<ReturnType<EscrowLab["view"]>>;
    },
    raw: ask,
    endEpoch: async () => void (await ask("end-epoch")),
    async stop() {
      if (child.exitCode !== null) return;
      const exit = new Promise((go) => child.once("exit", go));
      child.stdin?.end();
      await exit;
    },
  };
}

/** `null` for what the contract has no call for, as it has none for paying out. */
function callOf(
  act: Action,
  keys: Readonly<Record<Party, Uint8Array>>,
): { readonly procedure: number; readonly reward: bigint; readonly input: Uint8Array } | null {
  const shared = (job: string, shares: Shares) => {
    // More than fit an input cannot even be said: nothing arrives.
    if (shares.length > PAYEES_MAX) return null;
    return sharesInput(
      idOf(job),
      shares.map(([party, amount]) => ({ to: keys[party], amount })),
    );
  };
  const free = (procedure: number, input: Uint8Array | null) =>
    input === null ? null : { procedure, reward: 0n, input };
  switch (act.kind) {
    case "deposit":
    case "topUp":
      return { procedure: PROCEDURE[act.kind], reward: act.amount, input: jobInput(idOf(act.job), act.deadlineS) };
    case "settle":
    case "resolve":
      return free(PROCEDURE[act.kind], shared(act.job, act.shares));
    case "refund":
    case "dispute":
      return free(PROCEDURE[act.kind], jobInput(idOf(act.job)));
    case "stake":
      return { procedure: PROCEDURE.addStake, reward: act.amount, input: amountInput(0n) };
    case "requestUnstake":
      return free(PROCEDURE.requestUnstake, amountInput(act.amount));
    case "unstake":
      return free(PROCEDURE.unstake, amountInput(0n));
    case "proposeSlash": {
      const evidence = act.evidence === null ? new Uint8Array(KEY_BYTES) : idOf(act.evidence);
      return free(PROCEDURE.proposeSlash, proposalInput(idOf(act.slash), keys[act.provider], evidence, act.amount));
    }
    case "appeal":
    case "executeSlash":
    case "dropSlash":
      return free(PROCEDURE[act.kind], slashInput(idOf(act.slash)));
    case "resolveSlash":
      return free(PROCEDURE.resolveSlash, slashInput(idOf(act.slash), act.execute));
    case "payOut":
      return null;
    default:
      return unreachable(act);
  }
}

function lines(child: ChildProcess): (command: string) => Promise<Record<string, unknown>> {
  const waiting: {
    readonly resolve: (answer: Record<string, unknown>) => void;
    readonly reject: (error: Error) => void;
  }[] = [];
  if (child.stdout === null) throw new Error("the contract's program has no output");
  createInterface({ input: child.stdout }).on("line", (line) => waiting.shift()?.resolve(JSON.parse(line)));
  child.once("exit", (code) => {
    for (const { reject } of waiting.splice(0)) reject(new Error(`the contract's program ended with ${code}`));
  });
  return (command) =>
    new Promise((resolve, reject) => {
      waiting.push({ resolve, reject });
      child.stdin?.write(`${command}\n`);
    });
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
