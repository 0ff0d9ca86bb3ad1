// `qubix rate`, `dispute`, `disputes`, `stake`, `slashes`.
import { readFile } from "node:fs/promises";
import { BASIS_POINTS_PER_PERCENT } from "@qubix/shared/domain";
import { failedProofFault } from "@qubix/shared/proof";
import { contradictionFault } from "@qubix/shared/runtime";
import type { Dispute, Slash, Stakes } from "../../sdk/types.ts";
import { EXIT_FAILED, EXIT_OK, usageError } from "../exit-codes.ts";
import { formatFields, formatTable } from "../format/table.ts";
import { formatAmount, formatDuration, formatMoney, printable } from "../format/units.ts";
import { type ListOptions, printPage, readList } from "../list.ts";
import { parseCount, parseDecimal, parseMoneyIn } from "../parse/values.ts";
import type { Handler, Session } from "../session.ts";

const STARS_MAX = 5;
const PERCENT_MAX = 100;

// ── Ratings ──

export const rate: Handler<{ readonly stars?: string; readonly comment?: string }> = async (
  session,
  [id = ""],
  options,
) => {
  if (options.stars === undefined) {
    const rating = await session.client.ratings.get(id);
    if (session.json) session.printJson(rating);
    else
      session.print(`${rating.stars} of ${STARS_MAX}${rating.comment === "" ? "" : `: ${printable(rating.comment)}`}`);
    return EXIT_OK;
  }
  const stars = parseCount(options.stars, "--stars", 1);
  if (stars > STARS_MAX) throw usageError(`--stars: from 1 to ${STARS_MAX}, not ${stars}.`);
  const rating = await session.client.ratings.rate(id, { stars, comment: options.comment ?? "" });
  if (session.json) session.printJson(rating);
  else session.print(`Rated ${rating.jobId} with ${rating.stars} of ${STARS_MAX}. It may be changed for a day.`);
  return EXIT_OK;
};

// ── Disputes ──

export const dispute: Handler<{ readonly reason: string }> = async (session, [id = ""], { reason }) => {
  const opened = await session.client.disputes.open(id, reason);
  if (session.json) session.printJson(opened);
  else {
    session.print(
      `Dispute ${opened.id} is open: ${formatMoney(opened.gross)} is frozen until the operator decides, at the latest until ${opened.decideBy}; then it goes to the provider.`,
    );
  }
  return EXIT_OK;
};

export const disputes: Handler<ListOptions & { readonly open?: boolean }> = async (session, [id], options) => {
  if (id !== undefined) return show(session, await session.client.disputes.get(id), disputeText);
  const page = await readList(options, (query) => session.client.disputes.list({ ...query, open: options.open }));
  printPage(session, page, "There are no disputes. A consumer opens one with `qubix dispute JOB`.", (items) =>
    formatTable(
      [
        { title: "DISPUTE", value: ({ id }) => id },
        { title: "PHASE", value: ({ phase }) => phase },
        { title: "JOB", value: ({ jobId }) => jobId },
        { title: "FROZEN", value: ({ gross }) => formatMoney(gross), align: "right" },
        {
          title: "BACK",
          value: ({ decision }) => (decision === null ? "-" : formatMoney(decision.refund)),
          align: "right",
        },
        { title: "DECIDE BY", value: ({ decideBy, endedAt }) => (endedAt === null ? decideBy : "-") },
        { title: "REASON", value: ({ reason }) => reason },
      ],
      items,
      session.colors,
    ),
  );
  return EXIT_OK;
};

export const resolveDispute: Handler<{ readonly consumerPercent: string; readonly note?: string }> = async (
  session,
  [id = ""],
  { consumerPercent, note = "" },
) => {
  const percent = parseDecimal(consumerPercent, "--consumer-percent");
  const consumerBps = Math.round(percent * BASIS_POINTS_PER_PERCENT);
  if (percent > PERCENT_MAX) throw usageError(`--consumer-percent: from 0 to ${PERCENT_MAX}, not ${percent}.`);
  return show(session, await session.client.disputes.resolve(id, { consumerBps, note }), disputeText);
};

function disputeText(each: Dispute, session: Session): string {
  const { decision } = each;
  return formatFields(
    [
      ["Dispute", each.id],
      ["Phase", each.phase],
      ["Job", each.jobId],
      ["Consumer", each.accountId],
      ["Reason", each.reason],
      ["Frozen", formatMoney(each.gross)],
      ...each.shares.map(({ workerId, amount }): [string, string] => ["Share", `${workerId}: ${formatMoney(amount)}`]),
      ["Opened", each.openedAt],
      ["Decide by", each.endedAt === null ? each.decideBy : null],
      ["Ended", each.endedAt],
      ["Back to the consumer", decision && formatMoney(decision.refund)],
      ["Note", decision === null || decision.note === "" ? null : decision.note],
    ],
    session.colors,
  );
}

// ── Stakes ──

export const stakes: Handler<{ readonly account?: string }> = async (session, _args, { account }) =>
  show(session, await session.client.stakes.get({ accountId: account }), stakesText);

export const addStake: Handler<StakeOptions & { readonly from?: string }> = async (session, [amount = ""], options) => {
  const { currency, from = "payable", idempotencyKey } = options;
  if (from !== "payable" && from !== "spendable") throw usageError(`--from: payable or spendable, not ${from}.`);
  const input = { amount: parseMoneyIn(amount, currency, "the amount"), from } as const;
  return show(session, await session.client.stakes.add(input, { idempotencyKey }), stakesText);
};

export const removeStake: Handler<StakeOptions> = async (session, [amount = ""], { currency, idempotencyKey }) => {
  const left = await session.client.stakes.remove(
    { amount: parseMoneyIn(amount, currency, "the amount") },
    { idempotencyKey },
  );
  if (!session.json) {
    session.note(`It is paid after ${formatDuration(left.unstakeDelayS * 1000)}, unless a slash takes it before.`);
  }
  return show(session, left, stakesText);
};

export interface StakeOptions {
  readonly currency?: string;
  readonly idempotencyKey?: string;
}

function stakesText({ balances, unstakes, accountId }: Stakes, session: Session): string {
  if (balances.length === 0)
    return `Account ${accountId} has nothing at stake. Add some with \`qubix stake add AMOUNT\`.`;
  const table = formatTable(
    [
      { title: "CURRENCY", value: (row) => row.currency },
      { title: "STAKED", value: (row) => formatAmount(row.staked), align: "right" },
      { title: "ASKED BACK", value: (row) => formatAmount(row.waiting), align: "right" },
      { title: "HELD BY SLASHES", value: (row) => formatAmount(row.slashing), align: "right" },
    ],
    balances,
    session.colors,
  );
  const lines = unstakes.map(({ id, amount, dueAt }) => `${id}: ${formatMoney(amount)} is paid at ${dueAt}`);
  return [table, ...(lines.length === 0 ? [] : ["", ...lines])].join("\n");
}

// ── Slashes ──

export const slashes: Handler<ListOptions & { readonly open?: boolean }> = async (session, [id], options) => {
  if (id !== undefined) return await showSlash(session, id);
  const page = await readList(options, (query) => session.client.slashes.list({ ...query, open: options.open }));
  printPage(session, page, "There are no slashes.", (items) =>
    formatTable(
      [
        { title: "SLASH", value: ({ id }) => id },
        { title: "PHASE", value: ({ phase }) => phase },
        { title: "OFFENCE", value: ({ offence }) => offence },
        { title: "WORKER", value: ({ workerId }) => workerId },
        { title: "JOB", value: ({ jobId }) => jobId ?? "-" },
        { title: "AMOUNT", value: ({ amount }) => formatMoney(amount), align: "right" },
        { title: "UNTIL", value: ({ until }) => until ?? "-" },
      ],
      items,
      session.colors,
    ),
  );
  return EXIT_OK;
};

/** With what this program finds when it checks the evidence itself: exit 1 where it does not hold. */
async function showSlash(session: Session, id: string): Promise<number> {
  const slash = await session.client.slashes.get(id);
  const check = CHECKS[slash.offence];
  const fault = check?.faultOf(slash.publicKey, slash.evidence) ?? null;
  if (session.json) session.printJson({ ...slash, verified: check === null ? null : fault === null });
  else session.print(slashText(slash, fault, session));
  return fault === null ? EXIT_OK : EXIT_FAILED;
}

interface EvidenceCheck {
  readonly faultOf: (publicKey: string, evidence: unknown) => string | null;
  readonly holds: string;
}

/** Evidence that is checked without asking anybody; a wrong result has to be run again. */
const CHECKS: Readonly<Record<Slash["offence"], EvidenceCheck | null>> = {
  contradiction: { faultOf: contradictionFault, holds: "two signed statements that contradict each other" },
  failed_proof: {
    faultOf: failedProofFault,
    holds: "signed answers to two challenges, each with a part that is wrong",
  },
  wrong_result: null,
};

function slashText(slash: Slash, fault: string | null, session: Session): string {
  const { appeal, decision } = slash;
  const { colors } = session;
  const check = CHECKS[slash.offence];
  return formatFields(
    [
      ["Slash", slash.id],
      ["Phase", slash.phase],
      ["Offence", slash.offence],
      ["Worker", slash.workerId],
      ["Provider", slash.providerId],
      ["Job", slash.jobId],
      ["Could gain", formatMoney(slash.gain)],
      ["Due", formatMoney(slash.due)],
      ["Taken", formatMoney(slash.amount)],
      ["Public key", slash.publicKey],
      ["Evidence", JSON.stringify(slash.evidence)],
      ["Checked here", check === null ? null : (fault ?? check.holds), fault === null ? colors.green : colors.red],
      ["Proposed", slash.proposedAt],
      ["Until", slash.until],
      ["Appeal", appeal && `${appeal.at}: ${appeal.text}`],
      ["Ended", slash.endedAt],
      ["Decided by", decision && `${decision.by}${decision.note === "" ? "" : `: ${decision.note}`}`],
    ],
    colors,
  );
}

export interface AccuseOptions {
  readonly worker: string;
  readonly job: string;
  readonly offence: Slash["offence"];
  readonly evidence: string;
}

export const accuse: Handler<AccuseOptions> = async (session, _args, { worker, job, offence, evidence }) => {
  const text = await readFile(evidence, "utf8").catch((error: unknown) => {
    throw usageError(
      `--evidence: cannot read ${evidence} (${(error as NodeJS.ErrnoException).code ?? String(error)}).`,
    );
  });
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw usageError(`--evidence: ${evidence} is not JSON.`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw usageError(`--evidence: ${evidence} must hold one JSON object.`);
  }
  const input = { offence, workerId: worker, jobId: job, evidence: { ...parsed } };
  const slash = await session.client.slashes.propose(input);
  return await showSlash(session, slash.id);
};

export const appeal: Handler<{ readonly text: string }> = async (session, [id = ""], { text }) => {
  await session.client.slashes.appeal(id, text);
  return await showSlash(session, id);
};

export const resolveSlash: Handler<{ readonly note?: string }> = async (session, [id = "", word = ""], options) => {
  if (word !== "uphold" && word !== "dismiss") throw usageError(`"${word}" is no decision: uphold or dismiss.`);
  await session.client.slashes.resolve(id, { decision: word, note: options.note ?? "" });
  return await showSlash(session, id);
};

function show<T>(session: Session, value: T, text: (value: T, session: Session) => string): number {
  if (session.json) session.printJson(value);
  else session.print(text(value, session));
  return EXIT_OK;
}
