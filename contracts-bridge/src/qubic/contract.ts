// The calls of contracts/qubic/QubixEscrow.h as bytes, and its answers: the layout of C++ structures on the network's machines, little-endian, each
// number at a multiple of its size.
import { KEY_BYTES } from "./identity.ts";
import { k12 } from "./sign.ts";

/** Payees of one settlement: what one input has room for. */
export const PAYEES_MAX = 4;
/** Numbers of the procedures. */
export const PROCEDURE = {
  deposit: 1,
  topUp: 2,
  settle: 3,
  refund: 4,
  dispute: 5,
  resolve: 6,
  addStake: 7,
  requestUnstake: 8,
  unstake: 9,
  proposeSlash: 10,
  appeal: 11,
  executeSlash: 12,
  resolveSlash: 13,
  setRoles: 14,
  dropSlash: 15,
} as const;
/** Numbers of the functions. */
export const FUNCTION = { escrow: 1, stake: 2, slash: 3 } as const;

const AMOUNT_BYTES = 8;
const WORD_BYTES = 4;

export interface QubicShare {
  readonly to: Uint8Array;
  readonly amount: bigint;
}

/** A name as the contract's 32 bytes. */
export function idOf(name: string): Uint8Array {
  return k12(new TextEncoder().encode(name), KEY_BYTES);
}

export function jobInput(job: Uint8Array, deadlineTick = 0): Uint8Array {
  return joined(job, words(deadlineTick, 0));
}

/** Throws a RangeError for more than {@link PAYEES_MAX} shares. */
export function sharesInput(job: Uint8Array, shares: readonly QubicShare[]): Uint8Array {
  if (shares.length > PAYEES_MAX) throw new RangeError(`a settlement has at most ${PAYEES_MAX} payees`);
  const slots = Array.from(
    { length: PAYEES_MAX },
    (_, n) => shares[n] ?? { to: new Uint8Array(KEY_BYTES), amount: 0n },
  );
  return joined(job, ...slots.map(({ to }) => to), ...slots.map(({ amount }) => amounts(amount)));
}

export function amountInput(amount: bigint): Uint8Array {
  return amounts(amount);
}

export function proposalInput(
  slash: Uint8Array,
  provider: Uint8Array,
  evidence: Uint8Array,
  amount: bigint,
): Uint8Array {
  return joined(slash, provider, evidence, amounts(amount));
}

export function slashInput(slash: Uint8Array, execute = false): Uint8Array {
  return joined(slash, Uint8Array.of(execute ? 1 : 0, 0, 0, 0, 0, 0, 0, 0));
}

export function rolesInput(
  roles: Readonly<Record<"admin" | "operator" | "arbiter" | "slashPool", Uint8Array>>,
): Uint8Array {
  return joined(roles.admin, roles.operator, roles.arbiter, roles.slashPool);
}

const ESCROW_STATUS = [null, "held", "disputed", "settled", "refunded"] as const;
const SLASH_STATUS = [null, "proposed", "appealed", "executed", "dismissed"] as const;

/** `null` for a job that nobody deposited for. */
export function readEscrowOutput(bytes: Uint8Array) {
  const view = viewOf(bytes);
  const status = ESCROW_STATUS[view.getUint8(54)] ?? null;
  if (status === null) return null;
  return {
    status,
    payer: bytes.slice(0, KEY_BYTES),
    amount: view.getBigInt64(32, true),
    paid: view.getBigInt64(40, true),
    deadlineTick: view.getUint32(48, true),
  };
}

export function readStakeOutput(bytes: Uint8Array) {
  const view = viewOf(bytes);
  return {
    amount: view.getBigInt64(0, true),
    locked: view.getBigInt64(8, true),
    leaving: view.getBigInt64(16, true),
  };
}

/** `null` for one that nobody proposed. */
export function readSlashOutput(bytes: Uint8Array) {
  const view = viewOf(bytes);
  const status = SLASH_STATUS[view.getUint8(78)] ?? null;
  return status === null ? null : { status, provider: bytes.slice(0, KEY_BYTES), amount: view.getBigInt64(64, true) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function amounts(amount: bigint): Uint8Array {
  const bytes = new Uint8Array(AMOUNT_BYTES);
  viewOf(bytes).setBigInt64(0, amount, true);
  return bytes;
}

function words(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * WORD_BYTES);
  values.forEach((value, n) => viewOf(bytes).setUint32(n * WORD_BYTES, value, true));
  return bytes;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(Buffer.concat(parts));
}
