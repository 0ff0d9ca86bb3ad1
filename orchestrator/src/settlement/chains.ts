// All chains of an orchestrator: which currency lies where, and what users and admins are told of it.
import type { EscrowDriver } from "@qubix/contracts-bridge/port";
import type { Chain } from "./chain.ts";

/** What stands behind a currency. `custodial`: the operator's word. `contract`: a chain's rules. */
export interface Backing {
  readonly driver: string;
  readonly enforced: "custodial" | "contract";
}

export interface Chains {
  start(): void;
  stop(): Promise<void>;
  consider(id: string): void;
  considerAll(): void;
  readonly backing: (currency: string) => Backing;
  /** By the driver's name, or by a currency. */
  find(name: string): Chain | undefined;
  list(): readonly Chain[];
  gauges(): Readonly<Record<string, number>>;
}

/** `custodial`: what stands behind every currency that no chain has. */
export function createChains(chains: readonly Chain[], custodial: EscrowDriver): Chains {
  const find = (name: string) => chains.find(({ terms }) => terms.driver === name || terms.currency === name);
  return {
    start() {
      for (const chain of chains) chain.start();
    },
    async stop() {
      await Promise.all(chains.map((chain) => chain.stop()));
    },
    consider(id) {
      for (const chain of chains) chain.consider(id);
    },
    considerAll() {
      for (const chain of chains) chain.considerAll();
    },
    backing(currency) {
      const chain = chains.find(({ terms }) => terms.currency === currency);
      const { name: driver, enforced } = (chain?.driver ?? custodial).caps();
      return { driver, enforced };
    },
    find,
    list: () => chains,
    gauges: () => Object.fromEntries(chains.flatMap(gaugesOf)),
  };
}

function gaugesOf(chain: Chain): readonly (readonly [string, number])[] {
  const { driver, halted, underWay, refused, report } = chain.status();
  const name = (what: string) => `chain_${driver}_${what}`;
  return [
    [name("halted"), halted === null ? 0 : 1],
    [name("intents_under_way"), underWay],
    [name("intents_refused"), refused],
    [name("differences"), report?.differences.length ?? 0],
  ];
}
