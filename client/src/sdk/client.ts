// The typed client of the HTTP API. Runs in Node and in browsers: nothing here needs more than `fetch`, `WebSocket` and `crypto`.
import { QubixError } from "@qubix/shared/errors";
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
  return {
    url: requester.baseUrl,
    requester,
    jobs: createJobs(deps),
    quotes: { create: (spec, options) => post(requester, "/v1/quotes", { spec }, options) },
    offers: listed(requester, "/v1/offers"),
    workers: {
      ...listed<Worker>(requester, "/v1/workers"),
      get: (id, options) =>
        requester.json({ method: "GET", path: `/v1/workers/${encodeURIComponent(id)}`, idempotent: true, ...options }),
      drain: (id, { draining = true, move = false, ...options } = {}) =>
        post(
          requester,
          `/v1/workers/${encodeURIComponent(id)}/drain`,
          { draining, ...(move ? { move } : {}) },
          options,
        ),
    },
    enrolments: { create: (input = {}, options) => postOnce(requester, "/v1/enrolments", input, options) },
    accounts: {
      ...listed<Account>(requester, "/v1/accounts"),
      create: (input, options) => postCreating(requester, "/v1/accounts", input, options),
    },
    apiKeys: { create: (input, options) => postOnce(requester, "/v1/api-keys", input, options) },
    wallet: walletOf(requester),
    payouts: payoutsOf(requester),
    chains: chainsOf(requester),
    statements: ranged<Statement, StatementOptions>(requester, "/v1/statements"),
    earnings: ranged<Earnings, EarningsOptions>(requester, "/v1/earnings"),
    budgets: budgetsOf(requester),
    storage: {
      get: (options) => requester.json({ method: "GET", path: "/v1/storage", idempotent: true, ...options }),
    },
    canaries: {
      list: (options = {}) => requester.json({ method: "GET", path: "/v1/canaries", idempotent: true, ...options }),
    },
    stats: {
      recovery: ({ windowS, ...options } = {}) =>
        requester.json({ method: "GET", path: "/v1/stats/recovery", query: { windowS }, idempotent: true, ...options }),
    },
    ...createTrust(requester),
    uploads: uploadsOf(requester),
    events: { subscribe: (options) => subscribe(deps, options) },
  };
}

function walletOf(requester: Requester): Client["wallet"] {
  const wallet: Client["wallet"] = {
    get: ({ accountId, ...options } = {}) =>
      requester.json({ method: "GET", path: "/v1/wallet", query: { accountId }, idempotent: true, ...options }),
    entries: ({ accountId, cursor, limit, ...options } = {}) => {
      const query = { accountId, cursor, limit };
      return requester.json({ method: "GET", path: "/v1/wallet/entries", query, idempotent: true, ...options });
    },
    entriesAll: (options = {}) => allItems((cursor) => wallet.entries({ ...options, cursor })),
    deposit: (input, options) => postCreating(requester, "/v1/wallet/deposits", input, options),
    addresses: (options) =>
      requester.json({ method: "GET", path: "/v1/deposit-addresses", idempotent: true, ...options }),
    setAddress: (driver, address, signature, options) => {
      const path = `/v1/deposit-addresses/${encodeURIComponent(driver)}`;
      return requester.json({ method: "PUT", path, body: { address, signature }, idempotent: true, ...options });
    },
  };
  return wallet;
}

function payoutsOf(requester: Requester): Client["payouts"] {
  const named = (id: string) => `/v1/payouts/${encodeURIComponent(id)}`;
  return {
    ...listed<Payout>(requester, "/v1/payouts"),
    create: (input, options) => postCreating(requester, "/v1/payouts", input, options),
    withdraw: (currency, options) => postCreating(requester, "/v1/payouts", { withdraw: currency }, options),
    complete: (id, reference, options) => post(requester, `${named(id)}/complete`, { reference }, options),
    reject: (id, reason, options) => post(requester, `${named(id)}/reject`, { reason }, options),
    addresses: (options) =>
      requester.json({ method: "GET", path: "/v1/payout-addresses", idempotent: true, ...options }),
    setAddress: (driver, address, options) => {
      const path = `/v1/payout-addresses/${encodeURIComponent(driver)}`;
      return requester.json({ method: "PUT", path, body: { address }, idempotent: true, ...options });
    },
  };
}

function ranged<View, Options extends StatementOptions | EarningsOptions>(requester: Requester, path: string) {
  return {
    get: (options?: Options & PageOptions & CallOptions): Promise<View> => {
      const { from, to, by, accountId, cursor, limit, ...call }: EarningsOptions & PageOptions & CallOptions =
        options ?? {};
      const query = { from, to, by, accountId, cursor, limit };
      return requester.json<View>({ method: "GET", path, query, idempotent: true, ...call });
    },
    csv: async (options?: Options & CallOptions): Promise<OutputDownload> => {
      const { from, to, by, accountId, ...call }: EarningsOptions & CallOptions = options ?? {};
      const query = { from, to, by, accountId, format: "csv" };
      const response = await requester.stream({ method: "GET", path, query, idempotent: true, ...call });
      return { body: response.stream(), text: () => response.text() };
    },
  };
}

function chainsOf(requester: Requester): Client["chains"] {
  const named = (driver: string, what: string) => `/v1/chains/${encodeURIComponent(driver)}/${what}`;
  return {
    list: (options) => requester.json({ method: "GET", path: "/v1/chains", idempotent: true, ...options }),
    reconcile: (driver, options) => post(requester, named(driver, "reconcile"), undefined, options),
    resume: (driver, options) => post(requester, named(driver, "resume"), undefined, options),
    release: (driver, jobId, options) =>
      requester.json({
        method: "POST",
        path: named(driver, "release"),
        body: { jobId },
        idempotent: false,
        ...options,
      }),
  };
}

function budgetsOf(requester: Requester): Client["budgets"] {
  const path = "/v1/budgets";
  return {
    get: ({ accountId, ...options } = {}) =>
      requester.json({ method: "GET", path, query: { accountId }, idempotent: true, ...options }),
    set: (input, options) => requester.json({ method: "PUT", path, body: input, idempotent: true, ...options }),
    clear: (input = {}, options) =>
      requester.json({ method: "DELETE", path, query: { ...input }, idempotent: true, ...options }),
  };
}

function uploadsOf(requester: Requester): Client["uploads"] {
  return {
    missing: async (cids, options) => {
      const answer = await post<{ cids: string[] }>(requester, "/v1/uploads/missing", { cids }, options);
      return answer.cids;
    },
    putChunk: async (cid, stored, options) => {
      const path = `/v1/uploads/chunks/${encodeURIComponent(cid)}`;
      const response = await requester.stream({ method: "PUT", path, body: stored, idempotent: true, ...options });
      await response.text();
    },
    create: (manifest, options) => postCreating(requester, "/v1/uploads", { manifest }, options),
  };
}

function listed<Item>(requester: Requester, path: string): Listed<Item> {
  const list = ({ cursor, limit, ...options }: PageOptions & CallOptions = {}) =>
    requester.json<Page<Item>>({ method: "GET", path, query: { cursor, limit }, idempotent: true, ...options });
  return { list, listAll: (options = {}) => allItems((cursor) => list({ ...options, cursor })) };
}

/** A POST that changes nothing, or the same thing however often it comes. */
function post<T>(requester: Requester, path: string, body: unknown, options: CallOptions = {}): Promise<T> {
  return requester.json<T>({ method: "POST", path, body, idempotent: true, ...options });
}

/** A POST that creates, made safe to repeat by a key. */
function postCreating<T>(requester: Requester, path: string, body: unknown, options: CreateOptions = {}): Promise<T> {
  const idempotencyKey = options.idempotencyKey ?? globalThis.crypto.randomUUID();
  return requester.json<T>({ method: "POST", path, body, idempotent: true, ...options, idempotencyKey });
}

/** A POST whose answer holds a secret that is shown once: it is not repeated when nobody knows whether it arrived. */
function postOnce<T>(requester: Requester, path: string, body: unknown, options: CallOptions = {}): Promise<T> {
  return requester.json<T>({ method: "POST", path, body, idempotent: false, ...options });
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
