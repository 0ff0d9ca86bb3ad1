// The typed client of the HTTP API. Runs in Node and in browsers: nothing here needs more than `fetch`, `WebSocket` and `crypto`.
import { QubixError } from "@qubix/shared/errors";
import { type Calls, callsOf } from "./calls.ts";
import { type EventsDeps, type SubscribeOptions, subscribe } from "./events.ts";
import { createJobs, type Jobs, type OutputDownload } from "./jobs.ts";
import { allItems, type PageOptions } from "./paging.ts";
import { type CallOptions, type CreateOptions, createRequester, type Requester } from "./request.ts";
import { RETRIES_DEFAULT } from "./retry.ts";
import { openWebSocket, type SocketFactory } from "./socket.ts";
import { createTrust, type Trust } from "./trust.ts";
import { createFetchTransport, type Fetch, type Transport } from "./transport.ts";
import type {
  Account,
  ApiKey,
  Chain,
  ChainReport,
  DepositAddress,
  Earnings,
  EarningsOptions,
  BudgetList,
  BudgetPeriod,
  Enrolment,
  EventView,
  JobSpec,
  Offer,
  Page,
  Payout,
  PayoutAddress,
  Quote,
  CanaryList,
  RecoveryStats,
  Role,
  Statement,
  StatementOptions,
  StorageUse,
  TreeManifest,
  Upload,
  Wallet,
  WalletEntry,
  WireMoney,
  Worker,
} from "./types.ts";

/** One try of a plain request; a person who waits longer believes it dead. */
const REQUEST_TIMEOUT_MS_DEFAULT = 30_000;

export interface ClientConfig {
  /** Of the orchestrator, e.g. `http://127.0.0.1:8420`. */
  readonly url: string;
  /** `qbx_…`; without one only health and documents can be asked for. */
  readonly apiKey?: string | undefined;
  readonly fetch?: Fetch;
  /** In place of `fetch`. */
  readonly transport?: Transport;
  readonly openSocket?: SocketFactory;
  /** For one try of one request, milliseconds [30,000]. */
  readonly timeoutMs?: number;
  /** Tries beyond the first on 429, 503 and lost connections [4]; 0 for none. */
  readonly retries?: number;
  /** Jitter; in [0, 1). */
  readonly random?: () => number;
  readonly userAgent?: string;
}

export interface Client extends Trust {
  readonly url: string;
  readonly jobs: Jobs;
  readonly quotes: {
    /** What the job would cost, how many offers match, and why the others do not. Creates nothing. */
    create(spec: JobSpec, options?: CallOptions): Promise<Quote>;
  };
  readonly offers: Listed<Offer>;
  readonly workers: Listed<Worker> & {
    get(id: string, options?: CallOptions): Promise<Worker>;
    /** No new jobs for this worker; what runs goes on, or with `move` goes to other workers. `draining: false` takes it back. */
    drain(
      id: string,
      options?: CallOptions & { readonly draining?: boolean; readonly move?: boolean },
    ): Promise<Worker>;
  };
  readonly enrolments: {
    create(input?: { readonly accountId?: string; readonly ttlS?: number }, options?: CallOptions): Promise<Enrolment>;
  };
  readonly accounts: Listed<Account> & {
    create(input: { readonly name: string; readonly role: Role }, options?: CreateOptions): Promise<Account>;
  };
  readonly apiKeys: {
    create(input: { readonly accountId: string; readonly name?: string }, options?: CallOptions): Promise<ApiKey>;
  };
  readonly wallet: {
    /** The key's own account, or for an admin any. */
    get(options?: WalletOptions): Promise<Wallet>;
    /** Newest first. */
    entries(options?: WalletOptions & PageOptions): Promise<Page<WalletEntry>>;
    entriesAll(options?: WalletOptions): AsyncIterable<WalletEntry>;
    deposit(
      /** `id`, of the payment say: the same deposit again, whenever, is made once; another with that id is refused (`transfer_differs`). */
      input: {
        readonly accountId: string;
        readonly amount: WireMoney;
        readonly reference?: string;
        readonly id?: string;
      },
      options?: CreateOptions,
    ): Promise<{ readonly transferId: string; readonly wallet: Wallet }>;
    /** Where to send tokens of currencies that lie on a chain, and from where yours come. */
    addresses(options?: CallOptions): Promise<{ readonly items: readonly DepositAddress[] }>;
    /** `signature`: by the address's key, of the `text` that `addresses` gives, with the address in it. */
    setAddress(driver: string, address: string, signature: string, options?: CallOptions): Promise<DepositAddress>;
  };
  readonly payouts: Listed<Payout> & {
    /** Of what is payable to you, sent by the operator; `destination`: where to, in words that he understands. */
    create(
      input: { readonly amount: WireMoney; readonly destination?: string },
      options?: CreateOptions,
    ): Promise<Payout>;
    /** What a chain's contract owes you in this currency, to your address there. */
    withdraw(currency: string, options?: CreateOptions): Promise<Payout>;
    /** Admins. */
    complete(id: string, reference: string, options?: CallOptions): Promise<Payout>;
    reject(id: string, reason: string, options?: CallOptions): Promise<Payout>;
    /** Where you are paid on chains. */
    addresses(options?: CallOptions): Promise<{ readonly items: readonly PayoutAddress[] }>;
    setAddress(driver: string, address: string, options?: CallOptions): Promise<PayoutAddress>;
  };
  /** Admins: the chains on which money lies. */
  readonly chains: {
    list(options?: CallOptions): Promise<{ readonly items: readonly Chain[] }>;
    /** Compares what the ledger says with what the contract holds, now. */
    reconcile(driver: string, options?: CallOptions): Promise<ChainReport>;
    /** Goes on after a halt, and tries again what the chain refused. */
    resume(driver: string, options?: CallOptions): Promise<Chain>;
    /** Makes a job's pay that the chain refused payable here. */
    release(driver: string, jobId: string, options?: CallOptions): Promise<Chain>;
  };
  readonly statements: {
    /** What moved on an account by day, or what each job cost; `by: "job"` comes in pages. */
    get(options?: StatementOptions & PageOptions & CallOptions): Promise<Statement>;
    /** The whole range as CSV (RFC 4180). */
    csv(options?: StatementOptions & CallOptions): Promise<OutputDownload>;
  };
  readonly earnings: {
    /** What a provider earned by day, worker or job, and what of it is pending, payable, paid out. */
    get(options?: EarningsOptions & PageOptions & CallOptions): Promise<Earnings>;
    csv(options?: EarningsOptions & CallOptions): Promise<OutputDownload>;
  };
  readonly budgets: {
    /** Of the key's own account, or for an admin of any. */
    get(options?: WalletOptions): Promise<BudgetList>;
    /** A hard limit for the jobs of the account; what runs is brought within it. An admin sets one for another account that it cannot raise. */
    set(input: BudgetInput & { readonly amount: WireMoney }, options?: CallOptions): Promise<BudgetList>;
    /** Takes one away that you have set. */
    clear(input?: BudgetInput & { readonly currency?: string }, options?: CallOptions): Promise<BudgetList>;
  };
  readonly storage: {
    /** What checkpoints, outputs and uploads of the key's account take up, and may. */
    get(options?: CallOptions): Promise<StorageUse>;
  };
  readonly canaries: {
    /** The network's jobs with known results, and what came of them; admins only. */
    list(options?: CallOptions): Promise<CanaryList>;
  };
  readonly stats: {
    /** How long recoveries took and what they lost, of the key's own jobs; for an admin of all. `windowS`: how far back, in seconds [a week]. */
    recovery(options?: CallOptions & { readonly windowS?: number | undefined }): Promise<RecoveryStats>;
  };
  readonly uploads: {
    /** Which of these chunks the store does not have yet (at most 4096 at a time). */
    missing(cids: readonly string[], options?: CallOptions): Promise<readonly string[]>;
    putChunk(cid: string, stored: Uint8Array, options?: CallOptions): Promise<void>;
    create(manifest: TreeManifest, options?: CallOptions): Promise<Upload>;
  };
  readonly events: {
    /** Live changes; resumes after a lost connection. */
    subscribe(options?: SubscribeOptions): AsyncIterable<EventView>;
  };
  /** For routes that have no method here. */
  readonly requester: Requester;
}

export interface WalletOptions extends CallOptions {
  readonly accountId?: string | undefined;
}

export interface BudgetInput {
  readonly accountId?: string | undefined;
  /** In all, or within one calendar month [total]. */
  readonly period?: BudgetPeriod;
}

export interface Listed<Item> {
  list(options?: PageOptions & CallOptions): Promise<Page<Item>>;
  listAll(options?: CallOptions): AsyncIterable<Item>;
}

/** Creates a client. Does no I/O; throws `url_invalid` when the URL is none. */
export function createClient(config: ClientConfig): Client {
  const requester = createRequester({
    baseUrl: baseUrlOf(config.url),
    apiKey: config.apiKey,
    transport: config.transport ?? createFetchTransport(config.fetch),
    timeoutMs: config.timeoutMs ?? REQUEST_TIMEOUT_MS_DEFAULT,
    retries: config.retries ?? RETRIES_DEFAULT,
    random: config.random ?? Math.random,
    userAgent: config.userAgent,
  });
  const deps: EventsDeps = {
    requester,
    openSocket: config.openSocket ?? openWebSocket,
    random: config.random ?? Math.random,
  };
  const calls = callsOf(requester);
  return {
    url: requester.baseUrl,
    requester,
    jobs: createJobs(deps),
    quotes: { create: (spec, options) => calls.post("/v1/quotes", { spec }, options) },
    offers: listed(calls, "/v1/offers"),
    workers: {
      ...listed<Worker>(calls, "/v1/workers"),
      get: (id, options) => calls.get(`/v1/workers/${encodeURIComponent(id)}`, {}, options),
      drain: (id, { draining = true, move = false, ...options } = {}) =>
        calls.post(`/v1/workers/${encodeURIComponent(id)}/drain`, { draining, ...(move ? { move } : {}) }, options),
    },
    enrolments: { create: (input = {}, options) => calls.postOnce("/v1/enrolments", input, options) },
    accounts: {
      ...listed<Account>(calls, "/v1/accounts"),
      create: (input, options) => calls.postCreating("/v1/accounts", input, options),
    },
    apiKeys: { create: (input, options) => calls.postOnce("/v1/api-keys", input, options) },
    wallet: walletOf(calls),
    payouts: payoutsOf(calls),
    chains: chainsOf(calls),
    statements: ranged<Statement, StatementOptions>(requester, "/v1/statements"),
    earnings: ranged<Earnings, EarningsOptions>(requester, "/v1/earnings"),
    budgets: budgetsOf(requester),
    storage: { get: (options) => calls.get("/v1/storage", {}, options) },
    canaries: { list: (options) => calls.get("/v1/canaries", {}, options) },
    stats: { recovery: ({ windowS, ...options } = {}) => calls.get("/v1/stats/recovery", { windowS }, options) },
    ...createTrust(calls),
    uploads: uploadsOf(requester),
    events: { subscribe: (options) => subscribe(deps, options) },
  };
}

function walletOf({ get, put, postCreating }: Calls): Client["wallet"] {
  const wallet: Client["wallet"] = {
    get: ({ accountId, ...options } = {}) => get("/v1/wallet", { accountId }, options),
    entries: ({ accountId, cursor, limit, ...options } = {}) =>
      get("/v1/wallet/entries", { accountId, cursor, limit }, options),
    entriesAll: (options = {}) => allItems((cursor) => wallet.entries({ ...options, cursor })),
    deposit: (input, options) => postCreating("/v1/wallet/deposits", input, options),
    addresses: (options) => get("/v1/deposit-addresses", {}, options),
    setAddress: (driver, address, signature, options) =>
      put(`/v1/deposit-addresses/${encodeURIComponent(driver)}`, { address, signature }, options),
  };
  return wallet;
}

function payoutsOf(calls: Calls): Client["payouts"] {
  const named = (id: string) => `/v1/payouts/${encodeURIComponent(id)}`;
  return {
    ...listed<Payout>(calls, "/v1/payouts"),
    create: (input, options) => calls.postCreating("/v1/payouts", input, options),
    withdraw: (currency, options) => calls.postCreating("/v1/payouts", { withdraw: currency }, options),
    complete: (id, reference, options) => calls.post(`${named(id)}/complete`, { reference }, options),
    reject: (id, reason, options) => calls.post(`${named(id)}/reject`, { reason }, options),
    addresses: (options) => calls.get("/v1/payout-addresses", {}, options),
    setAddress: (driver, address, options) =>
      calls.put(`/v1/payout-addresses/${encodeURIComponent(driver)}`, { address }, options),
  };
}

function ranged<View, Options extends StatementOptions | EarningsOptions>(requester: Requester, path: string) {
  const { get } = callsOf(requester);
  return {
    get: (options?: Options & PageOptions & CallOptions): Promise<View> => {
      const { from, to, by, accountId, cursor, limit, ...call }: EarningsOptions & PageOptions & CallOptions =
        options ?? {};
      return get(path, { from, to, by, accountId, cursor, limit }, call);
    },
    csv: async (options?: Options & CallOptions): Promise<OutputDownload> => {
      const { from, to, by, accountId, ...call }: EarningsOptions & CallOptions = options ?? {};
      const query = { from, to, by, accountId, format: "csv" };
      const response = await requester.stream({ method: "GET", path, query, idempotent: true, ...call });
      return { body: response.stream(), text: () => response.text() };
    },
  };
}

function chainsOf({ get, post, postOnce }: Calls): Client["chains"] {
  const named = (driver: string, what: string) => `/v1/chains/${encodeURIComponent(driver)}/${what}`;
  return {
    list: (options) => get("/v1/chains", {}, options),
    reconcile: (driver, options) => post(named(driver, "reconcile"), undefined, options),
    resume: (driver, options) => post(named(driver, "resume"), undefined, options),
    release: (driver, jobId, options) => postOnce(named(driver, "release"), { jobId }, options),
  };
}

function budgetsOf(requester: Requester): Client["budgets"] {
  const path = "/v1/budgets";
  const { get, put } = callsOf(requester);
  return {
    get: ({ accountId, ...options } = {}) => get(path, { accountId }, options),
    set: (input, options) => put(path, input, options),
    clear: (input = {}, options) =>
      requester.json({ method: "DELETE", path, query: { ...input }, idempotent: true, ...options }),
  };
}

function uploadsOf(requester: Requester): Client["uploads"] {
  const { post, postCreating } = callsOf(requester);
  return {
    missing: async (cids, options) => {
      const answer = await post<{ cids: string[] }>("/v1/uploads/missing", { cids }, options);
      return answer.cids;
    },
    putChunk: async (cid, stored, options) => {
      const path = `/v1/uploads/chunks/${encodeURIComponent(cid)}`;
      const response = await requester.stream({ method: "PUT", path, body: stored, idempotent: true, ...options });
      await response.text();
    },
    create: (manifest, options) => postCreating("/v1/uploads", { manifest }, options),
  };
}

function listed<Item>({ get }: Calls, path: string): Listed<Item> {
  const list = ({ cursor, limit, ...options }: PageOptions & CallOptions = {}) =>
    get<Page<Item>>(path, { cursor, limit }, options);
  return { list, listAll: (options = {}) => allItems((cursor) => list({ ...options, cursor })) };
}

function baseUrlOf(text: string): string {
  if (URL.canParse(text)) {
    const url = new URL(text);
    if (url.protocol === "http:" || url.protocol === "https:")
      return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
  }
  throw new QubixError(
    "url_invalid",
    `"${text}" is not the URL of an orchestrator. Give one that begins with http:// or https://, e.g. http://127.0.0.1:8420.`,
    { category: "user" },
  );
}
