// What an escrow contract must do, in a hundred lines: every contract is driven beside this model, and after each step both must show the same.
import { unreachable } from "@qubix/shared/runtime";

export const PARTIES = ["payer", "rival", "alice", "bob", "operator", "arbiter", "stranger", "pool"] as const;
/** payer, rival: consumers. alice, bob: providers. pool: where slashed money goes. */
export type Party = (typeof PARTIES)[number];
export type Shares = readonly (readonly [Party, bigint])[];

export type Action =
  | { readonly kind: "deposit"; readonly job: string; readonly amount: bigint; readonly deadlineS: number }
  | { readonly kind: "topUp"; readonly job: string; readonly amount: bigint; readonly deadlineS: number }
  | { readonly kind: "settle"; readonly job: string; readonly shares: Shares }
  | { readonly kind: "refund"; readonly job: string }
  | { readonly kind: "dispute"; readonly job: string }
  | { readonly kind: "resolve"; readonly job: string; readonly shares: Shares }
  | { readonly kind: "stake"; readonly amount: bigint }
  | { readonly kind: "requestUnstake"; readonly amount: bigint }
  | { readonly kind: "unstake" }
  | {
      readonly kind: "proposeSlash";
      readonly slash: string;
      readonly provider: Party;
      readonly amount: bigint;
      readonly evidence: string | null;
    }
  | { readonly kind: "appeal"; readonly slash: string }
  | { readonly kind: "executeSlash"; readonly slash: string }
  | { readonly kind: "resolveSlash"; readonly slash: string; readonly execute: boolean }
  | { readonly kind: "dropSlash"; readonly slash: string }
  | { readonly kind: "payOut"; readonly owner: Party };

/** Somebody does something, `afterS` seconds (at least one) after the step before. Deadlines count from the first step's time 0. */
export interface Step {
  readonly by: Party;
  readonly act: Action;
  readonly afterS?: number;
}

export type EscrowStatus = "held" | "disputed" | "settled" | "refunded";
export type SlashStatus = "proposed" | "appealed" | "executed" | "dismissed";

export interface View {
  readonly escrows: Readonly<
    Record<string, { payer: Party; status: EscrowStatus; amount: bigint; paid: bigint; deadlineS: number }>
  >;
  readonly stakes: Readonly<Partial<Record<Party, { amount: bigint; locked: bigint; leaving: bigint }>>>;
  readonly slashes: Readonly<Record<string, SlashStatus>>;
  /** Credited and not paid out. */
  readonly owed: Readonly<Partial<Record<Party, bigint>>>;
  readonly wallets: Readonly<Record<Party, bigint>>;
  /** All that the contract holds. */
  readonly held: bigint;
}

/** What differs between contracts. Seconds. */
export interface Rules {
  readonly payeesMax: number;
  readonly disputeSMax: number;
  readonly appealS: number;
  readonly unstakeS: number;
  /** Whether what is owed waits until it is asked for, or goes to its owner in the same step. */
  readonly pays: "on demand" | "at once";
}

export interface Model {
  /** Whether it was allowed; a refused step changes nothing. */
  apply(step: Step, atS: number): boolean;
  view(): View;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Escrow = Mutable<View["escrows"][string]>;
interface Stake {
  amount: bigint;
  locked: bigint;
  leaving: bigint;
  leavingFromS: number;
}
interface Slash {
  readonly provider: Party;
  readonly amount: bigint;
  readonly executableFromS: number;
  status: SlashStatus;
}

export function createModel(rules: Rules, funds: bigint): Model {
  const escrows = new Map<string, Escrow>();
  const stakes = new Map<Party, Stake>();
  const slashes = new Map<string, Slash>();
  const owed = new Map<Party, bigint>();
  const wallets = new Map<Party, bigint>(PARTIES.map((party) => [party, funds]));
  const credit = (party: Party, amount: bigint) => {
    const to = rules.pays === "at once" ? wallets : owed;
    to.set(party, (to.get(party) ?? 0n) + amount);
  };
  const stakeOf = (party: Party): Stake =>
    stakes.get(party) ?? { amount: 0n, locked: 0n, leaving: 0n, leavingFromS: 0 };
  const pull = (party: Party, amount: bigint): boolean => {
    const has = wallets.get(party) ?? 0n;
    if (amount <= 0n || amount > has) return false;
    wallets.set(party, has - amount);
    return true;
  };

  const split = (escrow: Escrow, shares: Shares): boolean => {
    const paid = shares.reduce((sum, [, amount]) => sum + amount, 0n);
    if (shares.length > rules.payeesMax || paid > escrow.amount) return false;
    for (const [party, amount] of shares) credit(party, amount);
    credit(escrow.payer, escrow.amount - paid);
    Object.assign(escrow, { status: "settled", paid });
    return true;
  };

  const endSlash = (slash: Slash, execute: boolean): boolean => {
    const stake = stakeOf(slash.provider);
    stake.locked -= slash.amount;
    slash.status = execute ? "executed" : "dismissed";
    if (!execute) return true;
    stake.amount -= slash.amount;
    if (stake.leaving > stake.amount) stake.leaving = stake.amount;
    credit("pool", slash.amount);
    return true;
  };

  const act = (by: Party, action: Action, atS: number): boolean => {
    switch (action.kind) {
      case "deposit": {
        const { job, amount, deadlineS } = action;
        if (escrows.has(job) || deadlineS <= atS || !pull(by, amount)) return false;
        escrows.set(job, { payer: by, status: "held", amount, paid: 0n, deadlineS });
        return true;
      }
      case "topUp": {
        const escrow = escrows.get(action.job);
        if (escrow?.status !== "held" || escrow.payer !== by) return false;
        if (action.deadlineS < escrow.deadlineS || action.deadlineS <= atS || !pull(by, action.amount)) return false;
        escrow.amount += action.amount;
        escrow.deadlineS = action.deadlineS;
        return true;
      }
      case "settle": {
        const escrow = escrows.get(action.job);
        return by === "operator" && escrow?.status === "held" && split(escrow, action.shares);
      }
      case "resolve": {
        const escrow = escrows.get(action.job);
        return by === "arbiter" && escrow?.status === "disputed" && split(escrow, action.shares);
      }
      case "refund": {
        const escrow = escrows.get(action.job);
        if (escrow?.status !== "held" && escrow?.status !== "disputed") return false;
        const fromS = escrow.deadlineS + (escrow.status === "disputed" ? rules.disputeSMax : 0);
        const isEarly = by === "operator" && escrow.status === "held";
        if (!isEarly && atS < fromS) return false;
        escrow.status = "refunded";
        credit(escrow.payer, escrow.amount);
        return true;
      }
      case "dispute": {
        const escrow = escrows.get(action.job);
        if (escrow?.status !== "held" || (by !== escrow.payer && by !== "operator")) return false;
        escrow.status = "disputed";
        return true;
      }
      case "stake": {
        if (!pull(by, action.amount)) return false;
        const stake = stakeOf(by);
        stakes.set(by, { ...stake, amount: stake.amount + action.amount });
        return true;
      }
      case "requestUnstake": {
        const stake = stakeOf(by);
        if (action.amount <= 0n || action.amount > stake.amount - stake.leaving) return false;
        stake.leaving += action.amount;
        stake.leavingFromS = atS + rules.unstakeS;
        return true;
      }
      case "unstake": {
        const stake = stakeOf(by);
        const free = stake.amount - stake.locked;
        const amount = stake.leaving < free ? stake.leaving : free;
        if (amount === 0n || atS < stake.leavingFromS) return false;
        stake.amount -= amount;
        stake.leaving -= amount;
        credit(by, amount);
        return true;
      }
      case "proposeSlash": {
        const { slash, provider, amount, evidence } = action;
        const stake = stakeOf(provider);
        if (by !== "operator" || slashes.has(slash) || evidence === null) return false;
        if (amount <= 0n || amount > stake.amount - stake.locked) return false;
        stake.locked += amount;
        slashes.set(slash, { provider, amount, executableFromS: atS + rules.appealS, status: "proposed" });
        return true;
      }
      case "appeal": {
        const slash = slashes.get(action.slash);
        if (slash?.status !== "proposed" || slash.provider !== by || atS >= slash.executableFromS) return false;
        slash.status = "appealed";
        return true;
      }
      case "executeSlash": {
        const slash = slashes.get(action.slash);
        return slash?.status === "proposed" && atS >= slash.executableFromS && endSlash(slash, true);
      }
      case "resolveSlash": {
        const slash = slashes.get(action.slash);
        return by === "arbiter" && slash?.status === "appealed" && endSlash(slash, action.execute);
      }
      case "dropSlash": {
        const slash = slashes.get(action.slash);
        if (slash?.status !== "appealed" || atS < slash.executableFromS + rules.disputeSMax) return false;
        return endSlash(slash, false);
      }
      case "payOut": {
        const amount = owed.get(action.owner) ?? 0n;
        if (amount === 0n) return false;
        owed.delete(action.owner);
        wallets.set(action.owner, (wallets.get(action.owner) ?? 0n) + amount);
        return true;
      }
      default:
        return unreachable(action);
    }
  };

  return {
    apply: ({ by, act: action }, atS) => act(by, action, atS),
    view: () => {
      const held =
        sum(
          [...escrows.values()].map(({ status, amount }) => (status === "held" || status === "disputed" ? amount : 0n)),
        ) +
        sum([...stakes.values()].map(({ amount }) => amount)) +
        sum([...owed.values()]);
      return {
        escrows: Object.fromEntries([...escrows].map(([job, escrow]) => [job, { ...escrow }])),
        stakes: Object.fromEntries(
          [...stakes]
            .filter(([, { amount }]) => amount > 0n)
            .map(([party, { amount, locked, leaving }]) => [party, { amount, locked, leaving }]),
        ),
        slashes: Object.fromEntries([...slashes].map(([id, { status }]) => [id, status])),
        owed: Object.fromEntries([...owed].filter(([, amount]) => amount > 0n)),
        wallets: Object.fromEntries(wallets) as Record<Party, bigint>,
        held,
      };
    },
  };
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n);
}
