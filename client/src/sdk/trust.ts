// Ratings, disputes, stakes and slashes: what is brought up about work and money after a job.
import type { Calls } from "./calls.ts";
import { allItems, type PageOptions } from "./paging.ts";
import type { CallOptions, CreateOptions } from "./request.ts";
import type { Dispute, Page, Rating, Slash, Stakes, WireMoney } from "./types.ts";

export interface CaseListOptions extends PageOptions, CallOptions {
  /** Only those that are not decided yet. */
  readonly open?: boolean | undefined;
}

interface Cases<Case> {
  get(id: string, options?: CallOptions): Promise<Case>;
  /** Newest first; for an admin of all accounts. */
  list(options?: CaseListOptions): Promise<Page<Case>>;
  listAll(options?: Omit<CaseListOptions, "cursor">): AsyncIterable<Case>;
}

export interface Trust {
  readonly ratings: {
    get(jobId: string, options?: CallOptions): Promise<Rating>;
    /** Of an ended job, by its consumer; again within a day it is changed. Errors: `job_not_ended`, `rating_final`. */
    rate(
      jobId: string,
      input: { readonly stars: number; readonly comment?: string },
      options?: CallOptions,
    ): Promise<Rating>;
  };
  readonly disputes: Cases<Dispute> & {
    /** Freezes what was paid for the job. Errors: `dispute_window_over`, `dispute_exists`, `nothing_to_dispute`, `job_not_ended`. */
    open(jobId: string, reason: string, options?: CreateOptions): Promise<Dispute>;
    /** An admin's decision; `consumerBps` of 10,000 go back to the consumer. */
    resolve(
      id: string,
      input: { readonly consumerBps: number; readonly note?: string },
      options?: CallOptions,
    ): Promise<Dispute>;
  };
  readonly stakes: {
    /** The key's own, or for an admin any account's. */
    get(options?: CallOptions & { readonly accountId?: string | undefined }): Promise<Stakes>;
    add(
      input: { readonly amount: WireMoney; readonly from?: "payable" | "spendable" },
      options?: CreateOptions,
    ): Promise<Stakes>;
    /** Asks stake back: it is paid after `unstakeDelayS`. */
    remove(input: { readonly amount: WireMoney }, options?: CreateOptions): Promise<Stakes>;
  };
  readonly slashes: Cases<Slash> & {
    /** An admin's accusation. */
    propose(
      input: {
        readonly offence: Slash["offence"];
        readonly workerId: string;
        readonly jobId: string;
        readonly evidence: Readonly<Record<string, unknown>>;
      },
      options?: CallOptions,
    ): Promise<Slash>;
    appeal(id: string, text: string, options?: CallOptions): Promise<Slash>;
    /** An admin's decision. */
    resolve(
      id: string,
      input: { readonly decision: "uphold" | "dismiss"; readonly note?: string },
      options?: CallOptions,
    ): Promise<Slash>;
  };
}

/** Creates these parts of a client. */
export function createTrust({ get, post, postCreating, postOnce }: Calls): Trust {
  const cases = <Case>(path: string): Cases<Case> => {
    const list = ({ cursor, limit, open, ...options }: CaseListOptions = {}) =>
      get<Page<Case>>(path, { cursor, limit, open: open === true ? true : undefined }, options);
    return {
      get: (id, options = {}) => get(`${path}/${encodeURIComponent(id)}`, {}, options),
      list,
      listAll: (options = {}) => allItems((cursor) => list({ ...options, cursor })),
    };
  };
  const ofJob = (id: string, what: string) => `/v1/jobs/${encodeURIComponent(id)}/${what}`;
  const ofCase = (path: string, id: string, what: string) => `${path}/${encodeURIComponent(id)}/${what}`;

  return {
    ratings: {
      get: (jobId, options = {}) => get(ofJob(jobId, "rating"), {}, options),
      rate: (jobId, input, options = {}) => post(ofJob(jobId, "rating"), input, options),
    },
    disputes: {
      ...cases<Dispute>("/v1/disputes"),
      open: (jobId, reason, options = {}) => postCreating(ofJob(jobId, "dispute"), { reason }, options),
      resolve: (id, input, options = {}) => postOnce(ofCase("/v1/disputes", id, "resolve"), input, options),
    },
    stakes: {
      get: ({ accountId, ...options } = {}) => get("/v1/stakes", { accountId }, options),
      add: (input, options = {}) => postCreating("/v1/stakes", input, options),
      remove: (input, options = {}) => postCreating("/v1/stakes/unstake", input, options),
    },
    slashes: {
      ...cases<Slash>("/v1/slashes"),
      propose: (input, options = {}) => postOnce("/v1/slashes", input, options),
      appeal: (id, text, options = {}) => postOnce(ofCase("/v1/slashes", id, "appeal"), { text }, options),
      resolve: (id, input, options = {}) => postOnce(ofCase("/v1/slashes", id, "resolve"), input, options),
    },
  };
}
