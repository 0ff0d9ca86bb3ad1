// Whose account a request is about.
import type { AccountId } from "@qubix/shared/domain";
import { QubixError } from "@qubix/shared/runtime";
import { findAccount } from "../core/index.ts";
import type { ApiContext } from "./context.ts";

/** The account that a request is about: the caller's own, or for an admin any. Throws 403 or 404. */
export function accountFor(ctx: ApiContext, actor: { accountId: AccountId; role: string }, wanted?: AccountId) {
  const id = wanted ?? actor.accountId;
  if (id !== actor.accountId && actor.role !== "admin") {
    throw new QubixError("forbidden", "Only an administrator may look at another account's money.", {
      category: "user",
      status: 403,
    });
  }
  const account = findAccount(ctx.writer.state(), id);
  if (account === undefined) {
    throw new QubixError("account_not_found", `There is no account ${id}. GET /v1/accounts lists them.`, {
      category: "user",
      status: 404,
    });
  }
  return account;
}
