// Accounts, API keys, enrolment tokens. Secrets go to standard output alone, so that they can be captured.
import type { Role } from "@qubix/shared/protocol";
import { collect } from "../../sdk/paging.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import { formatDuration } from "../format/units.ts";
import { parseDurationS } from "../parse/values.ts";
import type { Handler } from "../session.ts";

export const accounts: Handler<object> = async (session) => {
  const items = await collect(session.client.accounts.listAll());
  if (session.json) session.printJson({ items, nextCursor: null });
  else {
    session.print(
      formatTable(
        [
          { title: "ACCOUNT", value: (account) => account.id },
          { title: "NAME", value: (account) => account.name },
          { title: "ROLE", value: (account) => account.role },
          { title: "CREATED", value: (account) => account.createdAt },
        ],
        items,
        session.colors,
      ),
    );
  }
  return EXIT_OK;
};

export interface AccountOptions {
  readonly name: string;
  readonly role: Role;
}

export const createAccount: Handler<AccountOptions> = async (session, _args, { name, role }) => {
  const account = await session.client.accounts.create({ name, role });
  if (session.json) session.printJson(account);
  else {
    session.print(account.id);
    session.note(
      `Account ${account.name} (${account.role}) is made. Give it a key: \`qubix api-keys create --account ${account.id}\`.`,
    );
  }
  return EXIT_OK;
};

export interface ApiKeyOptions {
  readonly account: string;
  readonly name?: string;
}

export const createApiKey: Handler<ApiKeyOptions> = async (session, _args, { account: accountId, name }) => {
  const apiKey = await session.client.apiKeys.create({ accountId, ...(name === undefined ? {} : { name }) });
  if (session.json) session.printJson(apiKey);
  else {
    session.print(apiKey.key ?? "");
    session.note("This key is not shown again. Use it as QUBIX_API_KEY.");
  }
  return EXIT_OK;
};

export const createEnrolment: Handler<{ readonly account?: string; readonly ttl?: string }> = async (
  session,
  _args,
  { account, ttl },
) => {
  const enrolment = await session.client.enrolments.create({
    ...(account === undefined ? {} : { accountId: account }),
    ...(ttl === undefined ? {} : { ttlS: parseDurationS(ttl, "--ttl") }),
  });
  if (session.json) session.printJson(enrolment);
  else {
    session.print(enrolment.token);
    session.note(
      `One worker can enrol with this token within ${formatDuration(enrolment.expiresInS * 1000)}: \`qubix-worker enrol\` on its machine. It is not shown again.`,
    );
  }
  return EXIT_OK;
};
