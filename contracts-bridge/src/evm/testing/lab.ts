// An escrow contract on an EVM node, as the shared scenario suite drives it. The node's own unlocked accounts are the parties.
import {
  type Abi,
  type Address,
  createPublicClient,
  createWalletClient,
  encodeFunctionData,
  type Hex,
  http,
  keccak256,
  toHex,
  zeroHash,
} from "viem";
import { hardhat } from "viem/chains";
import { unreachable } from "@qubix/shared/runtime";
import type { EscrowLab } from "../../testing/follow.ts";
import {
  type Action,
  type EscrowStatus,
  PARTIES,
  type Party,
  type Rules,
  type SlashStatus,
  type Shares,
} from "../../testing/model.ts";
import { FUNDS } from "../../testing/scenarios.ts";
import { type Artifact, compileTestToken } from "./compile.ts";
import type { EvmNode } from "./node.ts";

const DAY_S = 86_400;
export const EVM_RULES: Rules = {
  payeesMax: 8,
  disputeSMax: 30 * DAY_S,
  appealS: 7 * DAY_S,
  unstakeS: 14 * DAY_S,
  pays: "on demand",
};
/** Enough for any call; a fixed limit spares the estimate, which would refuse what the contract is to refuse. */
const GAS = 600_000n;
const ESCROW_STATUS: readonly (EscrowStatus | null)[] = [null, "held", "disputed", "settled", "refunded"];
const SLASH_STATUS: readonly (SlashStatus | null)[] = [null, "proposed", "appealed", "executed", "dismissed"];

export interface EvmLab extends EscrowLab {
  readonly escrow: Address;
  readonly token: Address;
  readonly address: Readonly<Record<Party, Address>>;
  /** Gas of the last step that was mined, whatever became of it. */
  gasUsed(): bigint;
}

/** Deploys a token and `artifact`, and funds the parties. `operator`: another than the party of that name; funded as well. */
export async function deployLab(node: EvmNode, artifact: Artifact, operator?: Address): Promise<EvmLab> {
  const transport = http(node.url, { batch: true });
  const client = createPublicClient({ chain: hardhat, transport, cacheTime: 0 });
  const wallet = createWalletClient({ chain: hardhat, transport });
  const accounts = await node.rpc<Address[]>("eth_accounts");
  const address = Object.fromEntries(PARTIES.map((party, n) => [party, accounts[n]])) as Record<Party, Address>;
  const partyOf = (wanted: Address): Party =>
    // A broken contract may show anybody.
    PARTIES.find((party) => address[party].toLowerCase() === wanted.toLowerCase()) ?? (wanted as string as Party);
  const mined = async (hash: Hex) => client.waitForTransactionReceipt({ hash, pollingInterval: 5 });
  const deploy = async ({ abi, bytecode }: Artifact, args: readonly unknown[]): Promise<Address> => {
    const hash = await wallet.deployContract({ account: address.operator, abi: abi as Abi, bytecode, args });
    const { contractAddress } = await mined(hash);
    if (contractAddress === null || contractAddress === undefined) throw new Error("nothing was deployed");
    return contractAddress;
  };
  const tokenArtifact = compileTestToken();
  const token = await deploy(tokenArtifact, []);
  const escrow = await deploy(artifact, [
    token,
    address.stranger,
    operator ?? address.operator,
    address.arbiter,
    address.pool,
  ]);
  const send = (from: Address, to: Address, data: Hex) =>
    node.rpc<Hex>("eth_sendTransaction", { from, to, data, gas: toHex(GAS) });
  const tokenCall = (functionName: string, args: readonly unknown[]) =>
    encodeFunctionData({ abi: tokenArtifact.abi as Abi, functionName, args });
  await send(
    address.operator,
    token,
    tokenCall("mint", [[...Object.values(address), ...(operator === undefined ? [] : [operator])], FUNDS]),
  );
  const begunS = Number((await client.getBlock()).timestamp);
  const read = <T>(abi: readonly unknown[], at: Address, functionName: string, args: readonly unknown[]): Promise<T> =>
    client.readContract({ abi: abi as Abi, address: at, functionName, args }) as Promise<T>;
  let lastGas = 0n;

  return {
    rules: EVM_RULES,
    escrow,
    token,
    address,
    gasUsed: () => lastGas,
    async act({ by, act }, atS) {
      await node.rpc("evm_setNextBlockTimestamp", begunS + atS);
      const { name, args } = callOf(act, begunS, address);
      const data = encodeFunctionData({ abi: artifact.abi as Abi, functionName: name, args });
      // A refused call is mined as well; the node tells of it by an error.
      const hash = await send(address[by], escrow, data).catch((error: Error) => {
        if (!/revert/i.test(error.message)) throw error;
        return null;
      });
      if (hash !== null) lastGas = (await client.getTransactionReceipt({ hash })).gasUsed;
    },
    async view({ jobs, slashes }) {
      const [escrows, stakes, slashRows, owed, wallets, held] = await Promise.all([
        Promise.all(
          jobs.map((job) =>
            read<[Address, bigint, number, bigint, bigint]>(artifact.abi, escrow, "escrows", [idOf(job)]),
          ),
        ),
        Promise.all(PARTIES.map((party) => read<bigint[]>(artifact.abi, escrow, "stakes", [address[party]]))),
        Promise.all(slashes.map((id) => read<[Address, bigint, number]>(artifact.abi, escrow, "slashes", [idOf(id)]))),
        Promise.all(PARTIES.map((party) => read<bigint>(artifact.abi, escrow, "payable_", [address[party]]))),
        Promise.all(PARTIES.map((party) => read<bigint>(tokenArtifact.abi, token, "balanceOf", [address[party]]))),
        read<bigint>(tokenArtifact.abi, token, "balanceOf", [escrow]),
      ]);
      return {
        escrows: Object.fromEntries(
          escrows.flatMap(([payer, deadline, code, amount, paid], n) => {
            const status = ESCROW_STATUS[code] ?? null;
            const entry = { payer, status, amount, paid, deadlineS: Number(deadline) - begunS };
            return status === null ? [] : [[jobs[n], { ...entry, status, payer: partyOf(payer) }]];
          }),
        ),
        stakes: Object.fromEntries(
          stakes.flatMap(([amount = 0n, locked = 0n, leaving = 0n], n) =>
            amount === 0n ? [] : [[PARTIES[n], { amount, locked, leaving }]],
          ),
        ),
        slashes: Object.fromEntries(
          slashRows.flatMap(([, , code], n) => {
            const status = SLASH_STATUS[code] ?? null;
            return status === null ? [] : [[slashes[n], status]];
          }),
        ),
        owed: Object.fromEntries(owed.flatMap((amount, n) => (amount === 0n ? [] : [[PARTIES[n], amount]]))),
        wallets: Object.fromEntries(wallets.map((amount, n) => [PARTIES[n], amount])) as Record<Party, bigint>,
        held,
      };
    },
  };
}

/** A name as the contract's 32 bytes. */
export function idOf(name: string): Hex {
  return keccak256(toHex(name));
}

function callOf(
  act: Action,
  begunS: number,
  address: Readonly<Record<Party, Address>>,
): { readonly name: string; readonly args: readonly unknown[] } {
  const split = (job: string, shares: Shares) => [
    idOf(job),
    shares.map(([party]) => address[party]),
    shares.map(([, amount]) => amount),
  ];
  switch (act.kind) {
    case "deposit":
    case "topUp":
      return { name: act.kind, args: [idOf(act.job), act.amount, BigInt(begunS + act.deadlineS)] };
    case "settle":
    case "resolve":
      return { name: act.kind, args: split(act.job, act.shares) };
    case "refund":
    case "dispute":
      return { name: act.kind, args: [idOf(act.job)] };
    case "stake":
    case "requestUnstake":
      return { name: act.kind, args: [act.amount] };
    case "unstake":
      return { name: act.kind, args: [] };
    case "proposeSlash":
      return {
        name: act.kind,
        args: [
          idOf(act.slash),
          address[act.provider],
          act.amount,
          act.evidence === null ? zeroHash : idOf(act.evidence),
        ],
      };
    case "appeal":
    case "executeSlash":
    case "dropSlash":
      return { name: act.kind, args: [idOf(act.slash)] };
    case "resolveSlash":
      return { name: act.kind, args: [idOf(act.slash), act.execute] };
    case "payOut":
      return { name: act.kind, args: [address[act.owner]] };
    default:
      return unreachable(act);
  }
}
