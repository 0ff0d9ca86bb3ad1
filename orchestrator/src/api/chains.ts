// Finding chains and asking them, for all routes that need one.
import { QubixError } from "@qubix/shared/runtime";
import type { Chain } from "../settlement/chain.ts";
import type { ApiContext } from "./context.ts";
import { notFound } from "./problems.ts";

export function addressInvalid(driver: string): QubixError {
  return new QubixError(
    "address_invalid",
    `This is no account on ${driver} that could be used: a letter is wrong, or it is the operator's or the contract's own. Copy it again from your wallet.`,
    { category: "user", status: 422 },
  );
}

/** The chain that is named. Throws 404. */
export function chainNamed(ctx: ApiContext, name: string): Chain {
  const chain = ctx.chains.list().find(({ terms }) => terms.driver === name);
  if (chain === undefined) throw notFound("chain", name);
  return chain;
}

/** What only the chain's node knows. Throws 503 where it does not answer. */
export async function askChain<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (cause) {
    throw new QubixError("chain_unreachable", "The chain's node does not answer now. Try again in a minute.", {
      category: "platform",
      status: 503,
      retryable: true,
      cause,
    });
  }
}
