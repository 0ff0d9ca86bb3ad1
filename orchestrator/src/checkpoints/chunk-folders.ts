// Where the file of a chunk lies: `ROOT/ACCOUNT/XX/CID`, by the end of its CID. What is being written lies in `ROOT/ACCOUNT/.tmp`.
import { join } from "node:path";
import type { AccountId } from "@qubix/shared/domain";
import type { StoredCid } from "./port.ts";

export const TEMP_FOLDER = ".tmp";
const ACCOUNT_PATTERN = /^acc-[a-z0-9-]{1,64}$/;

export function isAccountFolder(name: string): name is AccountId {
  return ACCOUNT_PATTERN.test(name);
}

/** Of the account, and in it that of the file. Throws for what is no account's id. */
export function foldersOf(
  root: string,
  accountId: AccountId,
  stored: StoredCid,
): { readonly account: string; readonly temp: string; readonly folder: string } {
  if (!ACCOUNT_PATTERN.test(accountId)) throw new TypeError(`${accountId} is not an account id`);
  const account = join(root, accountId);
  return { account, temp: join(account, TEMP_FOLDER), folder: join(account, stored.slice(-2)) };
}
