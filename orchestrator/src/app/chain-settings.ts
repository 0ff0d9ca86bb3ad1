// The operator's settings of chains: what belongs together is there, or none of it; and the drivers made of them. A driver is loaded only where it is wanted.
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ChainDriver } from "@qubix/contracts-bridge/port";
import { QubixError } from "@qubix/shared/runtime";
import type { CoreConfig } from "../core/index.ts";
import type { ChainTerms } from "../settlement/intents.ts";
import type { OrchestratorConfig } from "./config.ts";

/** Amounts of the ledger have so many decimals. */
const MICRO_DECIMALS = 6;
const WEI_PER_GWEI = 1_000_000_000n;
/** Rights that others than the owner have. */
const OTHERS = 0o077;

/** One chain as it is set up. */
export interface ChainSetUp {
  readonly driver: ChainDriver;
  readonly terms: ChainTerms;
  readonly outboxFile: string;
}

/** The drivers that are configured. Throws `config_invalid` for settings that do not belong together, `key_file_unsafe` for a key that others may read. */
export async function openChains(config: OrchestratorConfig): Promise<readonly ChainSetUp[]> {
  const found = await Promise.all([openEvm(config), openQubic(config)]);
  const chains = found.filter((chain) => chain !== undefined);
  if (new Set(chains.map(({ terms }) => terms.currency)).size < chains.length) {
    throw invalid("evmCurrency and qubicCurrency are the same: a currency lies on one chain");
  }
  return chains;
}

/** What the core must know of them. */
export function chainSettings(chains: readonly ChainSetUp[]): CoreConfig["chains"] {
  return Object.fromEntries(
    chains.map(({ driver, terms }) => {
      const { name, payeesMax } = driver.caps();
      return [terms.currency, { driver: name, payeesMax, feeApart: terms.feeTo !== null }];
    }),
  );
}

async function openEvm(config: OrchestratorConfig): Promise<ChainSetUp | undefined> {
  const { evmRpcUrl, evmChainId, evmContract, evmToken, evmKeyFile, evmCurrency, evmFeeTo, evmTokenDecimals } = config;
  const needed = { evmRpcUrl, evmChainId, evmContract, evmToken, evmKeyFile, evmCurrency };
  if (!isComplete(needed)) return undefined;
  const key = readKey(needed.evmKeyFile, /^(?:0x)?([0-9a-fA-F]{64})$/, "32 bytes in hex");
  const { createEvmDriver } = await import("@qubix/contracts-bridge/evm");
  const driver = createEvmDriver({
    url: needed.evmRpcUrl,
    chainId: needed.evmChainId,
    escrow: needed.evmContract as `0x${string}`,
    token: needed.evmToken as `0x${string}`,
    key: `0x${key}`,
    finality: config.evmConfirmations,
    feeMax: BigInt(config.evmGasPriceMaxGwei) * WEI_PER_GWEI,
    tokenDecimals: evmTokenDecimals,
  });
  const feeTo = evmFeeTo === undefined ? null : driver.account(evmFeeTo);
  if (evmFeeTo !== undefined && feeTo === null) {
    throw invalid(
      `evmFeeTo: ${evmFeeTo} is no address, or is the operator's or the contract's own; leave it out to keep fees with the operator`,
    );
  }
  const unitsPerMicro = 10n ** BigInt(evmTokenDecimals - MICRO_DECIMALS);
  const terms = { driver: driver.caps().name, currency: needed.evmCurrency, unitsPerMicro, feeTo };
  return { driver, terms, outboxFile: join(config.dataDir, "outbox-evm.db") };
}

async function openQubic(config: OrchestratorConfig): Promise<ChainSetUp | undefined> {
  const { qubicRpcUrl, qubicContractIndex, qubicSeedFile, qubicCurrency, qubicTickMs } = config;
  const needed = { qubicRpcUrl, qubicContractIndex, qubicSeedFile, qubicCurrency };
  if (!isComplete(needed)) return undefined;
  const seed = readKey(needed.qubicSeedFile, /^([a-z]{55})$/, "55 small letters");
  const { createQubicDriver, createQubicRpc } = await import("@qubix/contracts-bridge/qubic");
  const driver = createQubicDriver({
    rpc: createQubicRpc(needed.qubicRpcUrl),
    contractIndex: needed.qubicContractIndex,
    seed,
    clock: { wallMs: () => Date.now() },
    tickMs: qubicTickMs,
  });
  // A micro-unit is a qu: a whole unit of the currency is a million of them.
  const terms = { driver: driver.caps().name, currency: needed.qubicCurrency, unitsPerMicro: 1n, feeTo: null };
  return { driver, terms, outboxFile: join(config.dataDir, "outbox-qubic.db") };
}

type Complete<T> = { readonly [K in keyof T]: NonNullable<T[K]> };

/** Whether all are there; false for none. Throws for some. */
function isComplete<T extends Readonly<Record<string, unknown>>>(settings: T): settings is T & Complete<T> {
  const missing = Object.keys(settings).filter((key) => settings[key] === undefined);
  if (missing.length === Object.keys(settings).length) return false;
  if (missing.length === 0) return true;
  throw invalid(`${missing.join(", ")} missing: a chain needs ${Object.keys(settings).join(", ")} together`);
}

function readKey(file: string, form: RegExp, what: string): string {
  let text: string;
  try {
    if ((statSync(file).mode & OTHERS) !== 0) {
      const message = `Others than its owner may read the key file ${file}. Run: chmod 600 ${file}`;
      throw new QubixError("key_file_unsafe", message, { category: "user" });
    }
    text = readFileSync(file, "utf8").trim();
  } catch (cause) {
    if (cause instanceof QubixError) throw cause;
    throw invalid(`the key file ${file} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  const key = form.exec(text)?.[1];
  if (key === undefined) throw invalid(`the key file ${file} does not hold ${what}`);
  return key;
}

function invalid(why: string): QubixError {
  return new QubixError("config_invalid", `Configuration is not valid: ${why}.`, { category: "user" });
}
