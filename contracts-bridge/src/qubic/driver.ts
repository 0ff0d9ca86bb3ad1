// Moves value on Qubic, by the escrow contract, through the network's RPC. A transaction is bound to one tick; when that has passed without it, and the
// contract shows no effect, it can never come any more and is signed anew for a later one. A procedure answers nothing: the contract's state decides.
import type { JobId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import type { ChainDriver, EscrowState, Expectation, Intent, Observation, Prepared } from "../port/intents.ts";
import { hasHappened } from "../port/happened.ts";
import { compare } from "../port/reconcile.ts";
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
  sharesInput,
} from "./contract.ts";
import { identityOf, KEY_BYTES, publicKeyOf } from "./identity.ts";
import type { QubicRpc } from "./rpc.ts";
import { keyPairOf } from "./sign.ts";
import { contractAddress, type QubicCall, signTransaction } from "./transaction.ts";

/** Between signing and its tick: a transaction must have reached the computors by then. */
const TICKS_AHEAD = 12;
const TICK_MS = 1_000;
/** Of the answer to a question for a stake. */
const STAKE_BYTES = 24;

export interface QubicOptions {
  readonly rpc: QubicRpc;
  readonly contractIndex: number;
  /** 55 small letters. Nobody else may sign with them. */
  readonly seed: string;
  readonly clock: { readonly wallMs: () => number };
  /** How long a tick takes in the mean, to tell a deadline in ticks. */
  readonly tickMs?: number;
}

/** Does no I/O before the first call. Throws where the seed is none. */
export function createQubicDriver(options: QubicOptions): ChainDriver {
  const { rpc, contractIndex, clock, tickMs = TICK_MS } = options;
  const pair = keyPairOf(options.seed);
  const me = identityOf(pair.publicKey);
  const destination = contractAddress(contractIndex);

  /** A deadline's tick, from a tick that it is now: never before the deadline itself would be over. */
  const tickOf = (deadlineMs: number, nowTick: number) =>
    nowTick + Math.max(1, Math.ceil((deadlineMs - clock.wallMs()) / tickMs));
  const timeOf = (tick: number, nowTick: number) => clock.wallMs() + (tick - nowTick) * tickMs;

  async function readEscrow(jobId: JobId): Promise<EscrowState | null> {
    const row = readEscrowOutput(await rpc.query(contractIndex, FUNCTION.escrow, idOf(jobId)));
    if (row === null) return null;
    const { payer, deadlineTick, ...rest } = row;
    return { ...rest, payer: identityOf(payer), deadlineMs: timeOf(deadlineTick, await rpc.tick()) };
  }

  const readStake = async (owner: string) =>
    readStakeOutput(await rpc.query(contractIndex, FUNCTION.stake, keyOf(owner)));

  async function isTrue(intent: Intent): Promise<boolean> {
    switch (intent.kind) {
      // Qu are taken along by the call itself, and what is owed is paid in the same step.
      case "allow":
      case "payout":
        return true;
      case "stake":
        return (await readStake(me)).amount >= intent.total;
      case "unstake":
        return (await readStake(me)).leaving >= intent.total;
      case "slash": {
        const row = readSlashOutput(await rpc.query(contractIndex, FUNCTION.slash, idOf(intent.slashId)));
        return row !== null && row.amount === intent.amount && identityOf(row.provider) === intent.provider;
      }
      case "deposit":
      case "topUp":
      case "settle":
      case "refund":
      case "dispute":
      case "resolve": {
        const state = await readEscrow(intent.jobId);
        return state !== null && hasHappened(intent, state, me);
      }
      default:
        return unreachable(intent);
    }
  }

  async function observe(intent: Intent, tries: readonly Prepared[]): Promise<Observation> {
    const newest = tries.at(-1);
    if (newest === undefined) {
      return (await isTrue(intent)) ? { kind: "final", applied: true } : { kind: "pending", isKnown: false };
    }
    // In this order: had the tick been asked for last, the state could be from before it.
    const processed = await rpc.lastProcessedTick();
    const tick = await rpc.tick();
    if (tick <= newest.place) return { kind: "pending", isKnown: false };
    const applied = await isTrue(intent);
    // "Not found" means nothing until the archive has every transaction of that tick.
    if (processed < newest.place) return { kind: "pending", isKnown: true };
    if (await rpc.hasTransaction(newest.hash)) return { kind: "final", applied };
    return applied ? { kind: "final", applied } : { kind: "void" };
  }

  async function check(): Promise<string | null> {
    // Whether the seed is the operator's role can only be seen of what it does; that something answers under this index can be seen.
    return (await rpc.query(contractIndex, FUNCTION.stake, pair.publicKey)).length >= STAKE_BYTES
      ? null
      : `Contract ${contractIndex} does not answer as the escrow does. Correct its index.`;
  }

  /** The network has no view of one tick: what changes while it is read makes sums that cannot be compared. */
  async function reconcile(expected: Expectation) {
    const place = await rpc.tick();
    const escrows: (EscrowState | null)[] = [];
    for (const { jobId } of expected.jobs) escrows.push(await readEscrow(jobId));
    return compare(expected, { place, escrows, own: await rpc.balance(me), isOneState: false, signer: me });
  }

  return {
    signer: () => me,
    account(text) {
      const key = publicKeyOf(text);
      if (key === undefined || text === me || key.every((byte) => byte === 0)) return null;
      return identityOf(destination) === text ? null : text;
    },
    check,
    readCredit: async () => 0n,
    // Transfers between identities are not asked for: credit is granted by hand.
    payments: null,
    reconcile,
    caps: () => ({ name: "qubic", enforced: "contract", payeesMax: PAYEES_MAX }),
    async prepare(intent) {
      const nowTick = await rpc.tick();
      const tick = nowTick + TICKS_AHEAD;
      const call = callOf(intent, (deadlineMs) => tickOf(deadlineMs, nowTick));
      const { bytes, digest } = signTransaction(pair, { ...call, destination, tick });
      return { raw: Buffer.from(bytes).toString("hex"), hash: identityOf(digest).toLowerCase(), place: tick, fee: 0n };
    },
    bump: async () => null,
    submit: ({ raw }) => rpc.broadcast(Uint8Array.from(Buffer.from(raw, "hex"))),
    observe,
    readEscrow,
    readStake,
  };
}

function callOf(
  intent: Intent,
  tickOf: (deadlineMs: number) => number,
): Pick<QubicCall, "amount" | "inputType" | "input"> {
  const free = (inputType: number, input: Uint8Array) => ({ amount: 0n, inputType, input });
  switch (intent.kind) {
    case "deposit":
    case "topUp": {
      const input = jobInput(idOf(intent.jobId), tickOf(intent.deadlineMs));
      return { amount: intent.amount, inputType: PROCEDURE[intent.kind], input };
    }
    case "settle":
    case "resolve": {
      const shares = intent.shares.map(({ to, amount }) => ({ to: keyOf(to), amount }));
      return free(PROCEDURE[intent.kind], sharesInput(idOf(intent.jobId), shares));
    }
    case "refund":
    case "dispute":
      return free(PROCEDURE[intent.kind], jobInput(idOf(intent.jobId)));
    case "stake":
      return { amount: intent.amount, inputType: PROCEDURE.addStake, input: amountInput(0n) };
    case "unstake":
      return free(PROCEDURE.requestUnstake, amountInput(intent.amount));
    case "slash": {
      const { slashId, provider, evidence, amount } = intent;
      return free(PROCEDURE.proposeSlash, proposalInput(idOf(slashId), keyOf(provider), evidenceOf(evidence), amount));
    }
    case "allow":
    case "payout":
      // Always true: never signed.
      throw new RangeError(`nothing is to be signed for ${intent.kind}`);
    default:
      return unreachable(intent);
  }
}

function keyOf(identity: string): Uint8Array {
  const key = publicKeyOf(identity);
  if (key === undefined) throw new RangeError(`${identity} is no Qubic identity: a letter is wrong`);
  return key;
}

function evidenceOf(hash: string): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(hash.replace(/^0x/, ""), "hex"));
  if (bytes.length !== KEY_BYTES) throw new RangeError("evidence is a hash of 32 bytes, in hex");
  return bytes;
}
