// `qubix quote`, `why`, `offers`.
import { collect } from "../../sdk/paging.ts";
import { hasEnded, type JobSpec, type JobView, type Offer, type Quote } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { reputationText } from "../format/reputation.ts";
import { type Column, formatFields, formatTable } from "../format/table.ts";
import { formatBacking, formatDuration, formatMiB, formatMoney, formatRate, plural } from "../format/units.ts";
import { readSecrets } from "../parse/secrets.ts";
import { readSpec, type SpecFlags, withSecrets } from "../parse/spec.ts";
import type { Handler, Session } from "../session.ts";

export const quote: Handler<SpecFlags> = async (session, [file], flags) => {
  const { spec: read } = await readSpec(file, flags, session.rest);
  const secrets = await readSecrets(flags, { ...session.io, stdin: process.stdin, warn: (text) => session.note(text) });
  const spec = withSecrets(read, secrets);
  // Local inputs are left out: they are not uploaded for a question, and cost nothing.
  const answer = await session.client.quotes.create(spec as JobSpec);
  if (session.json) session.printJson(answer);
  else session.print(quoteText(answer, session));
  return EXIT_OK;
};

function quoteText(answer: Quote, session: Session): string {
  const { colors } = session;
  const { total, matching, standbys } = answer.offers;
  const fields = formatFields(
    [
      ["Hold", `${formatMoney(answer.hold)} (locked while it runs; what is not used comes back)`],
      ["Budget", answer.budget && budgetText(answer.budget)],
      ["Cheapest rate", answer.ratePerHour && formatRate(answer.ratePerHour)],
      ["Which is", partsText(answer)],
      ["Egress", answer.egress === undefined ? null : egressText(answer.egress)],
      ["Cost at most", answer.costMax && formatMoney(answer.costMax)],
      ["Behind it", formatBacking(answer.settledBy)],
      ["Offers", `${matching} of ${total} match; ${plural(standbys, "other machine")} could stand by`],
    ],
    colors,
  );
  return `${fields}${filtersText(answer, session)}`;
}

/** Only where more than one thing has a price. */
function partsText({ parts }: Quote): string | null {
  if (parts.length < 2) return null;
  return parts.map(({ part, ratePerHour }) => `${part} ${formatRate(ratePerHour)}`).join(" + ");
}

function egressText({ pricePerGiB, costMax }: NonNullable<Quote["egress"]>): string {
  return `${formatMoney(pricePerGiB)} for each GiB it sends, ${formatMoney(costMax)} at most`;
}

function budgetText({ left, suffices }: NonNullable<Quote["budget"]>): string {
  return suffices
    ? `${formatMoney(left)} are left: it is stopped there`
    : `${formatMoney(left)} are left: too little, it would be refused`;
}

/** The filters that removed offers, and what would help. */
function filtersText(answer: Quote, session: Session): string {
  const removing = answer.filters.filter((filter) => filter.removed > 0);
  if (removing.length === 0) return answer.offers.total === 0 ? "\n\nNo worker is online. See `qubix workers`." : "";
  const table = formatTable(
    [
      { title: "FILTER", value: (filter) => filter.filter },
      { title: "REMOVED", value: (filter) => String(filter.removed), align: "right" },
      { title: "WHAT WOULD HELP", value: (filter) => filter.hint },
    ],
    removing,
    session.colors,
  );
  return `\n\n${table}`;
}

export const why: Handler<object> = async (session, [id = ""]) => {
  const job = await session.client.jobs.get(id);
  const waits = job.phase === "queued";
  // What it began from is its own by now, whatever became of the other job.
  const { fromCheckpoint: _, ...spec } = job.spec as unknown as JobSpec;
  const answer = waits ? await session.client.quotes.create(spec) : null;
  if (session.json) {
    session.printJson({ jobId: job.id, phase: job.phase, reason: job.reason, message: job.message, quote: answer });
    return EXIT_OK;
  }
  if (answer === null) {
    const because = job.message === null ? "" : ` ${job.message}`;
    const state = hasEnded(job.phase)
      ? `has ended: ${job.phase}${job.reason === null ? "" : ` (${job.reason})`}.`
      : `does not wait: it is ${job.phase}.`;
    session.print(`Job ${job.id} ${state}${because}`);
    return EXIT_OK;
  }
  const waited = formatDuration(Math.max(0, Date.now() - Date.parse(job.createdAt)));
  const { matching, total } = answer.offers;
  if (job.leaseWait !== null) return explainLease(job.id, job.leaseWait, session);
  session.print(
    matching > 0
      ? `Job ${job.id} was submitted ${waited} ago and is queued. ${matching} of ${total} offers match: it starts when its turn comes.`
      : `Job ${job.id} was submitted ${waited} ago and waits: none of ${plural(total, "offer")} matches.`,
  );
  session.print(filtersText(answer, session).trim());
  return EXIT_OK;
};

function explainLease(id: string, { workerId, until }: NonNullable<JobView["leaseWait"]>, session: Session): number {
  session.print(
    `Job ${id} is exclusive and may still run on ${workerId}, which was lost: nobody else starts it before the lease there is over, at ${until} at the latest.`,
  );
  return EXIT_OK;
}

export const offers: Handler<object> = async (session) => {
  const items = await collect(session.client.offers.listAll());
  if (session.json) session.printJson({ items, nextCursor: null });
  else if (items.length === 0) {
    session.note("There are no offers now: no worker is online. A provider starts one with `qubix-worker start`.");
  } else session.print(offersText(items, session));
  return EXIT_OK;
};

function offersText(items: readonly Offer[], session: Session): string {
  return formatTable(
    [
      { title: "WORKER", value: (offer) => offer.workerId },
      { title: "NAME", value: (offer) => offer.name },
      { title: "PROVIDER", value: (offer) => offer.providerId },
      { title: "REGION", value: (offer) => offer.region },
      { title: "GPUS FREE", value: gpusText },
      { title: "CPUS FREE", value: (offer) => `${offer.cpusFree}/${offer.cpus}`, align: "right" },
      { title: "MEMORY FREE", value: (offer) => formatMiB(offer.memoryMiBFree), align: "right" },
      { title: "MBIT/S UP/DOWN", value: speedText, align: "right" },
      {
        title: "PER GPU",
        value: (offer) => (offer.pricePerGpuHour ? formatRate(offer.pricePerGpuHour) : "-"),
        align: "right",
      },
      { title: "PER CPU", value: (offer) => formatRate(offer.pricePerCpuHour), align: "right" },
      ...apartColumns(items),
      ...egressColumn(items),
      { title: "VERIFIED", value: verifiedText },
      { title: "STANDBY", value: (offer) => `${offer.standbyPercent}%`, align: "right" },
      {
        title: "PAID BY",
        value: ({ settledBy: { driver, enforced } }) => (enforced === "contract" ? `${driver} contract` : "operator"),
      },
      { title: "STANDING", value: (offer) => `${Math.round(offer.standing * 100)}%`, align: "right" },
      { title: "REPUTATION", value: ({ reputation }) => reputationText(reputation), align: "right" },
      { title: "STAKE", value: stakeText, align: "right" },
    ],
    items,
    session.colors,
  );
}

/** Prices that few offers name: a column each where one does. */
function apartColumns(items: readonly Offer[]): readonly Column<Offer>[] {
  const all: readonly (readonly [string, (offer: Offer) => Offer["pricePerDiskGiBHour"]])[] = [
    ["PER CPU BESIDE GPU", (offer) => offer.pricePerGpuJobCpuHour],
    ["PER GIB MEMORY", (offer) => offer.pricePerMemoryGiBHour],
    ["PER GIB DISK", (offer) => offer.pricePerDiskGiBHour],
  ];
  return all
    .filter(([, priceOf]) => items.some((offer) => priceOf(offer)))
    .map(([title, priceOf]) => ({
      title,
      value: (offer) => {
        const price = priceOf(offer);
        return price ? formatRate(price) : "-";
      },
      align: "right",
    }));
}

/** Not by the hour. */
function egressColumn(items: readonly Offer[]): readonly Column<Offer>[] {
  if (!items.some((offer) => offer.pricePerEgressGiB)) return [];
  const value = ({ pricePerEgressGiB: price }: Offer) => (price ? formatMoney(price) : "-");
  return [{ title: "PER GIB SENT", value, align: "right" }];
}

function stakeText({ stake }: Offer): string {
  return stake.length === 0 ? "-" : stake.map(formatMoney).join(", ");
}

function verifiedText({ verified, gpus }: Offer): string {
  if (!verified) return gpus.length > 0 && gpus.every((gpu) => gpu.verified) ? "GPUs" : "no";
  return gpus.every((gpu) => gpu.verified) ? "yes" : "CPUs";
}

/** `40/400`; a dash where it is not measured. */
function speedText({ hardware }: Offer): string {
  if (hardware?.uplinkMbps === undefined || hardware.downlinkMbps === undefined) return "-";
  return `${hardware.uplinkMbps}/${hardware.downlinkMbps}`;
}

/** `1/2 RTX 4090`. */
function gpusText(offer: Offer): string {
  if (offer.gpus.length === 0) return "-";
  const models = [...new Set(offer.gpus.map((gpu) => gpu.model))].join(", ");
  return `${offer.gpusFree}/${offer.gpus.length} ${models}`;
}
