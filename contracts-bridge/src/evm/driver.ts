// Moves value on an EVM chain, by the escrow contract, through one node's JSON-RPC. One key signs; its nonces are the places of the outbox.
import type { JobId } from "@qubix/shared/domain";
import { unreachable } from "@qubix/shared/runtime";
import {
  type Address,
  createPublicClient,
  encodeFunctionData,
  erc20Abi,
  getAddress,
  type Hex,
  http,
  isAddress,
  keccak256,
  parseTransaction,
  TransactionNotFoundError,
  TransactionReceiptNotFoundError,
  toHex,
  verifyMessage,
  zeroAddress,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import type { ChainDriver, EscrowState, Expectation, Intent, Observation, Prepared } from "../port/intents.ts";
import { hasHappened } from "../port/happened.ts";
import { compare } from "../port/reconcile.ts";
import { escrowAbi } from "./artifact.ts";

const PAYEES_MAX = 8;
/** More than any call of the contract takes (a settlement with eight payees: 290,000). */
const GAS_MAX = 400_000n;
/** What the chain's next blocks may cost more than the last one: eight full blocks in a row. */
const BASE_FEE_FACTOR = 2n;
/** A replacement must offer a tenth more of both its prices; nodes ask for that. */
const BUMP_PERCENT = 113n;
const TIMEOUT_MS = 15_000;
const MS_PER_S = 1_000;
/** Escrows that are read at a time. */
const READS_AT_ONCE = 16;
/**
 * What these bring about may be gone by the end of the same block: an account is credited again behind its withdrawal, and some tokens count every deposit
 * off what was allowed. That the call itself was not refused is all there is to see then.
 */
const TRACELESS: ReadonlySet<Intent["kind"]> = new Set(["allow", "payout"]);
/** What other calls take back later. */
const UNDONE_LATER: ReadonlySet<Intent["kind"]> = new Set(["dispute", "stake", "unstake"]);
const STATUS: readonly (EscrowState["status"] | null)[] = [null, "held", "disputed", "settled", "refunded"];

export interface EvmOptions {
  readonly url: string;
  readonly chainId: number;
  readonly escrow: Address;
  readonly token: Address;
  /** Private key of the signer, hex. Nobody else may sign with it. */
  readonly key: Hex;
  /** Blocks on top of one until it counts as final; or what the chain itself calls final. */
  readonly finality: number | "finalized";
  /** Never offers more for a unit of gas, in wei. */
  readonly feeMax: bigint;
  /** As the token should say them, to find a wrong setting before anything is signed. */
  readonly tokenDecimals?: number;
}

/** For a unit of gas, in wei. */
interface Offer {
  /** At most, in all. */
  readonly fee: bigint;
  /** Of that, what whoever includes it gets above the block's own price: he takes all of it, so it is what the node says is enough. */
  readonly tip: bigint;
}

/** Does no I/O before the first call. */
export function createEvmDriver(options: EvmOptions): ChainDriver {
  const { escrow, token, chainId, feeMax } = options;
  const account = privateKeyToAccount(options.key);
  const client = createPublicClient({
    transport: http(options.url, { timeout: TIMEOUT_MS, retryCount: 0 }),
    cacheTime: 0,
  });

  async function finalBlock(): Promise<bigint> {
    if (options.finality === "finalized") return (await client.getBlock({ blockTag: "finalized" })).number;
    return (await client.getBlockNumber()) + 1n - BigInt(options.finality);
  }

  async function sign(intent: Intent, nonce: number, { fee, tip }: Offer): Promise<Prepared> {
    const { to, data } = callOf(intent, escrow, token);
    const raw = await account.signTransaction({
      type: "eip1559",
      chainId,
      to,
      data,
      nonce,
      gas: GAS_MAX,
      maxFeePerGas: fee,
      maxPriorityFeePerGas: tip < fee ? tip : fee,
    });
    return { raw, hash: keccak256(raw), place: nonce, fee };
  }

  async function offer(): Promise<Offer> {
    const { baseFeePerGas } = await client.getBlock();
    const tip = await client.estimateMaxPriorityFeePerGas();
    const fee = (baseFeePerGas ?? 0n) * BASE_FEE_FACTOR + tip;
    return { fee: fee < feeMax ? fee : feeMax, tip };
  }

  async function readEscrow(jobId: JobId, blockNumber?: bigint): Promise<EscrowState | null> {
    const args = [idOf(jobId)] as const;
    const at = blockNumber === undefined ? {} : { blockNumber };
    const [payer, deadline, code, amount, paid] = await client.readContract({
      abi: escrowAbi,
      address: escrow,
      functionName: "escrows",
      args,
      ...at,
    });
    const status = STATUS[code] ?? null;
    return status === null
      ? null
      : { payer: payer.toLowerCase(), status, amount, paid, deadlineMs: Number(deadline) * MS_PER_S };
  }

  async function readStake(owner: string, blockNumber?: bigint) {
    const [amount, locked, leaving] = await client.readContract({
      abi: escrowAbi,
      address: escrow,
      functionName: "stakes",
      args: [owner as Address],
      ...(blockNumber === undefined ? {} : { blockNumber }),
    });
    return { amount, locked, leaving };
  }

  /** Whether what was intended is so after that block. */
  async function isTrue(intent: Intent, blockNumber: bigint): Promise<boolean> {
    switch (intent.kind) {
      case "allow": {
        const args = [account.address, escrow] as const;
        const call = { abi: erc20Abi, address: token, functionName: "allowance", args, blockNumber } as const;
        return (await client.readContract(call)) >= intent.total;
      }
      case "stake":
        return (await readStake(account.address, blockNumber)).amount >= intent.total;
      case "unstake":
        return (await readStake(account.address, blockNumber)).leaving >= intent.total;
      case "slash": {
        const args = [idOf(intent.slashId)] as const;
        const call = { abi: escrowAbi, address: escrow, functionName: "slashes", args, blockNumber } as const;
        const [provider, , status, amount] = await client.readContract(call);
        return status !== 0 && amount === intent.amount && provider.toLowerCase() === intent.provider.toLowerCase();
      }
      case "payout": {
        const args = [intent.owner as Address] as const;
        const call = { abi: escrowAbi, address: escrow, functionName: "payable_", args, blockNumber } as const;
        return (await client.readContract(call)) === 0n;
      }
      case "deposit":
      case "topUp":
      case "settle":
      case "refund":
      case "dispute":
      case "resolve": {
        const state = await readEscrow(intent.jobId, blockNumber);
        return state !== null && hasHappened(intent, state, account.address.toLowerCase());
      }
      default:
        return unreachable(intent);
    }
  }

  async function receiptOf({ hash }: Prepared) {
    try {
      return await client.getTransactionReceipt({ hash: hash as Hex });
    } catch (error) {
      if (error instanceof TransactionReceiptNotFoundError) return null;
      throw error;
    }
  }

  async function isKnown({ hash }: Prepared): Promise<boolean> {
    try {
      await client.getTransaction({ hash: hash as Hex });
      return true;
    } catch (error) {
      if (error instanceof TransactionNotFoundError) return false;
      throw error;
    }
  }

  async function observe(intent: Intent, tries: readonly Prepared[]): Promise<Observation> {
    const final = await finalBlock();
    const first = tries[0];
    if (first === undefined) {
      const isSo = intent.kind !== "payout" && final >= 0n && (await isTrue(intent, final));
      return isSo ? { kind: "final", applied: true } : { kind: "pending", isKnown: false };
    }
    for (const one of tries) {
      const receipt = await receiptOf(one);
      if (receipt === null) continue;
      if (receipt.blockNumber > final) {
        return { kind: "included", depth: Number((await client.getBlockNumber()) - receipt.blockNumber) + 1 };
      }
      const wasDone = receipt.status === "success" && TRACELESS.has(intent.kind);
      // What stays true is asked of a block whose state nodes still have, however long nobody looked.
      const at = UNDONE_LATER.has(intent.kind) ? receipt.blockNumber : final;
      return { kind: "final", applied: wasDone || (await isTrue(intent, at)) };
    }
    const used = final < 0n ? 0 : await client.getTransactionCount({ address: account.address, blockNumber: final });
    if (used > first.place) return { kind: "conflict", message: foreign(first.place) };
    const known = await Promise.all(tries.map(isKnown));
    return { kind: "pending", isKnown: known.includes(true) };
  }

  async function readCredit(owner: string, blockNumber?: bigint): Promise<bigint> {
    const call = { abi: escrowAbi, address: escrow, functionName: "payable_", args: [owner as Address] } as const;
    return client.readContract({ ...call, ...(blockNumber === undefined ? {} : { blockNumber }) });
  }

  async function check(): Promise<string | null> {
    const found = await client.getChainId();
    if (found !== chainId) return `The node is of chain ${found}, and the settings say ${chainId}.`;
    const code = await client.getCode({ address: escrow });
    if (code === undefined) return `There is no contract at ${escrow}. Deploy it, or correct its address.`;
    const at = { abi: escrowAbi, address: escrow } as const;
    const own = await client.readContract({ ...at, functionName: "TOKEN" });
    if (own !== getAddress(token)) return `The contract's token is ${own}, and the settings say ${token}.`;
    const role = await client.readContract({ ...at, functionName: "OPERATOR_ROLE" });
    const mayAct = await client.readContract({ ...at, functionName: "hasRole", args: [role, account.address] });
    if (!mayAct)
      return `${account.address} is not the contract's operator: its administrator has to grant it OPERATOR_ROLE.`;
    const decimals = await client.readContract({ abi: erc20Abi, address: token, functionName: "decimals" });
    if (options.tokenDecimals === undefined || decimals === options.tokenDecimals) return null;
    return `The token has ${decimals} decimals, and the settings say ${options.tokenDecimals}: every amount would be wrong.`;
  }

  async function reconcile(expected: Expectation) {
    const block = await finalBlock();
    const balance = { abi: erc20Abi, address: token, functionName: "balanceOf", args: [account.address] } as const;
    const own =
      (await client.readContract({ ...balance, blockNumber: block })) + (await readCredit(account.address, block));
    const escrows: (EscrowState | null)[] = [];
    for (let n = 0; n < expected.jobs.length; n += READS_AT_ONCE) {
      const some = expected.jobs.slice(n, n + READS_AT_ONCE);
      escrows.push(...(await Promise.all(some.map(({ jobId }) => readEscrow(jobId, block)))));
    }
    const signer = account.address.toLowerCase();
    return compare(expected, { place: Number(block), escrows, own, isOneState: true, signer });
  }

  function foreign(nonce: number): string {
    return (
      `A transaction that was not signed here has taken nonce ${nonce} of ${account.address}. Somebody else has the key, or the outbox is an old copy. ` +
      "Nothing more is signed. Find out who signed it, move the operator's role to a new key if need be, then resume."
    );
  }

  return {
    caps: () => ({ name: "evm", enforced: "contract", payeesMax: PAYEES_MAX }),
    signer: () => account.address,
    account(text) {
      if (!isAddress(text)) return null;
      const found = getAddress(text);
      const own: readonly string[] = [zeroAddress, account.address, getAddress(escrow), getAddress(token)];
      return own.includes(found) ? null : found;
    },
    check,
    async prepare(intent, last, accepts = false) {
      const used = await client.getTransactionCount({ address: account.address, blockTag: "latest" });
      const next = last === null ? used : last.place + 1;
      if (used > next && !accepts) return { conflict: foreign(next) };
      return sign(intent, Math.max(used, next), await offer());
    },
    async bump(intent, tries) {
      const newest = tries.at(-1);
      if (newest === undefined || newest.fee >= feeMax) return null;
      const now = await offer();
      const fee = larger(now.fee, dearer(newest.fee));
      const tip = larger(now.tip, dearer(parseTransaction(newest.raw as Hex).maxPriorityFeePerGas ?? 0n));
      return sign(intent, newest.place, { fee: fee < feeMax ? fee : feeMax, tip });
    },
    async submit({ raw }) {
      try {
        await client.sendRawTransaction({ serializedTransaction: raw as Hex });
      } catch (error) {
        if (!SENT_BEFORE.test((error as Error).message)) throw error;
      }
    },
    observe,
    readEscrow: (jobId) => readEscrow(jobId),
    readStake: (owner) => readStake(owner),
    readCredit: (owner) => readCredit(owner),
    reconcile,
    payments: {
      place: async () => Math.max(0, Number(await finalBlock())),
      async between(after, upTo) {
        const logs = await client.getContractEvents({
          abi: erc20Abi,
          address: token,
          eventName: "Transfer",
          args: { to: account.address },
          fromBlock: BigInt(after) + 1n,
          toBlock: BigInt(upTo),
          strict: true,
        });
        return logs.map(({ args, transactionHash, logIndex }) => ({
          id: `${transactionHash}:${logIndex}`,
          from: getAddress(args.from),
          amount: args.value,
        }));
      },
      proves: async (address, message, signature) =>
        verifyMessage({ address: address as Address, message, signature: signature as Hex }).catch(() => false),
    },
  };
}

function dearer(price: bigint): bigint {
  return (price * BUMP_PERCENT) / 100n + 1n;
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

/** What nodes say of a transaction that they have, or that is included already. */
const SENT_BEFORE =
  /already known|known transaction|already imported|nonce too low|replacement transaction underpriced/i;

/** The contract's 32 bytes for a name. */
export function idOf(name: string): Hex {
  return keccak256(toHex(name));
}

function callOf(intent: Intent, escrow: Address, token: Address): { readonly to: Address; readonly data: Hex } {
  if (intent.kind === "allow") {
    const args = [escrow, intent.total] as const;
    return { to: token, data: encodeFunctionData({ abi: erc20Abi, functionName: "approve", args }) };
  }
  return { to: escrow, data: dataOf(intent) };
}

function dataOf(intent: Exclude<Intent, { kind: "allow" }>): Hex {
  const abi = escrowAbi;
  switch (intent.kind) {
    case "deposit":
    case "topUp": {
      const args = [idOf(intent.jobId), intent.amount, secondsOf(intent.deadlineMs)] as const;
      return encodeFunctionData({ abi, functionName: intent.kind, args });
    }
    case "settle":
    case "resolve": {
      const args = [
        idOf(intent.jobId),
        intent.shares.map(({ to }) => to as Address),
        intent.shares.map(({ amount }) => amount),
      ] as const;
      return encodeFunctionData({ abi, functionName: intent.kind, args });
    }
    case "refund":
    case "dispute":
      return encodeFunctionData({ abi, functionName: intent.kind, args: [idOf(intent.jobId)] });
    case "stake":
      return encodeFunctionData({ abi, functionName: "stake", args: [intent.amount] });
    case "unstake":
      return encodeFunctionData({ abi, functionName: "requestUnstake", args: [intent.amount] });
    case "slash": {
      const args = [idOf(intent.slashId), intent.provider as Address, intent.amount, intent.evidence as Hex] as const;
      return encodeFunctionData({ abi, functionName: "proposeSlash", args });
    }
    case "payout":
      return encodeFunctionData({ abi, functionName: "payOut", args: [intent.owner as Address] });
    default:
      return unreachable(intent);
  }
}

/** The first second that is not before it. */
function secondsOf(ms: number): bigint {
  return BigInt(Math.ceil(ms / MS_PER_S));
}
