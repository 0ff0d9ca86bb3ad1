// A receipt for people: what was agreed, who worked how long at what rate, how the hold was divided, what was posted, and whether all of it adds up.
import { BASIS_POINTS_PER_PERCENT } from "@qubix/shared/domain";
import type { Receipt, ReceiptAttempt } from "@qubix/shared/protocol";
import type { ReceiptVerdict } from "@qubix/shared/receipts";
import type { Colors } from "../session.ts";
import { type Column, formatFields, formatTable } from "./table.ts";
import { formatBytes, formatDuration, moneyIn, plural, printable } from "./units.ts";

const SIGNATURE_SHOWN = 16;

export function receiptText(receipt: Receipt, colors: Colors, withTicks: boolean): string {
  const parts = [headText(receipt, colors), payeesText(receipt, colors), totalsText(receipt, colors)];
  if (withTicks) parts.push(ticksText(receipt, colors));
  parts.push(transfersText(receipt, colors));
  return parts.filter((part) => part !== "").join("\n\n");
}

function headText(receipt: Receipt, colors: Colors): string {
  const { jobId, phase, final: isFinal, agreed, currency, view } = receipt;
  const units = moneyIn(currency);
  return formatFields(
    [
      ["job", jobId],
      ["state", `${phase}${isFinal ? ", settled" : "; the account so far"}`],
      ["view", view === "provider" ? "your own part, as a provider" : null],
      ["begun", receipt.startedAt],
      ["ended", receipt.endedAt],
      [
        "agreed",
        agreed === null
          ? null
          : `at most ${units(agreed.priceMaxPerHour)}/h for ${formatDuration(agreed.durationMaxS * 1000)}; ${agreedEgress(agreed, units)}held ${units(agreed.hold)}`,
      ],
    ],
    colors,
  );
}

function agreedEgress({ egress }: NonNullable<Receipt["agreed"]>, units: (amount: string) => string): string {
  if (egress === undefined) return "";
  return `at most ${units(egress.priceMaxPerGiB)} a GiB for ${formatBytes(egress.bytesMax)} sent; `;
}

interface PayeeRow {
  readonly what: string;
  readonly of: ReceiptAttempt | Receipt["standbys"][number];
  readonly signed: string;
  readonly share: string;
}

/** Shares stand in the order of those that are paid. */
function payeesText({ attempts, standbys, lines, currency }: Receipt, colors: Colors): string {
  const units = moneyIn(currency);
  const shares = lines.filter(({ role }) => role === "primary" || role === "standby");
  let paid = 0;
  const shareOf = (creditedMs: number) => {
    if (creditedMs === 0 || shares.length === 0) return "-";
    const share = shares[paid];
    paid += 1;
    return share === undefined ? "?" : units(share.amount);
  };
  const rows: PayeeRow[] = [
    ...attempts.map((of) => ({ what: attemptName(of), of, signed: ticksOf(of), share: shareOf(of.creditedMs) })),
    ...standbys.map((of) => ({ what: "standby", of, signed: "-", share: shareOf(of.creditedMs) })),
  ];
  if (rows.length === 0) return "";
  return formatTable(
    [
      { title: "ATTEMPT", value: ({ what }) => what },
      { title: "WORKER", value: ({ of }) => of.workerId },
      { title: "RATE/H", value: ({ of }) => units(of.ratePerHour), align: "right" },
      { title: "PAID TIME", value: ({ of }) => `${of.creditedMs} ms`, align: "right" },
      { title: "SIGNED", value: ({ signed }) => signed, align: "right" },
      ...egressColumns(rows, units),
      { title: "CHARGE", value: ({ of }) => units(of.charge), align: "right" },
      { title: "SHARE", value: ({ share }) => share, align: "right" },
    ],
    rows,
    colors,
  );
}

/** Only where somebody's egress has a price of its own. */
function egressColumns(rows: readonly PayeeRow[], units: (amount: string) => string): readonly Column<PayeeRow>[] {
  const egressOf = ({ of }: PayeeRow) => ("epoch" in of ? (of as ReceiptAttempt).egress : undefined);
  if (rows.every((row) => egressOf(row) === undefined)) return [];
  const column = (
    title: string,
    show: (egress: NonNullable<ReceiptAttempt["egress"]>) => string,
  ): Column<PayeeRow> => ({
    title,
    value: (row) => {
      const egress = egressOf(row);
      return egress === undefined ? "-" : show(egress);
    },
    align: "right",
  });
  return [
    column("PER GIB SENT", ({ pricePerGiB }) => units(pricePerGiB)),
    column("PAID BYTES", ({ bytes }) => String(bytes)),
    column("EGRESS", ({ charge }) => units(charge)),
  ];
}

function attemptName({ replica, epoch, adoptedEpoch, refused }: ReceiptAttempt): string {
  const name = replica === 0 ? `${epoch}` : `${epoch} (replica ${replica})`;
  if (refused === true) return `${name}, outvoted`;
  return adoptedEpoch === 0 ? name : `${name}, goes on from ${adoptedEpoch}`;
}

function ticksOf({ ticks, ticksLeftOut }: ReceiptAttempt): string {
  return ticksLeftOut === 0
    ? plural(ticks.length, "tick")
    : `${plural(ticks.length, "tick")} of ${ticks.length + ticksLeftOut}`;
}

function totalsText({ totals, lines, agreed, currency, feeBasisPoints, heldShort }: Receipt, colors: Colors): string {
  const units = moneyIn(currency);
  const sumOf = (roles: readonly string[]) =>
    lines.reduce((sum, line) => (roles.includes(line.role) ? sum + BigInt(line.amount) : sum), 0n).toString();
  const shares = lines.length === 0 ? null : units(sumOf(["primary", "standby"]));
  const percent = feeBasisPoints / BASIS_POINTS_PER_PERCENT;
  return formatFields(
    [
      ["gross", totals === null ? null : `${units(totals.gross)}${heldShort ? ", all that was held" : ""}`],
      ["shares", shares],
      [
        "fee",
        totals === null || totals.fee === null ? null : `${units(totals.fee)} (${percent}% of gross, rounded down)`,
      ],
      ["refund", totals === null || totals.refund === null ? null : units(totals.refund)],
      [
        "held",
        agreed === null ? null : `${units(agreed.hold)}${totals?.fee === null ? "" : " = shares + fee + refund"}`,
      ],
    ].filter((field): field is [string, string] => field[1] !== null),
    colors,
  );
}

function ticksText({ attempts }: Receipt, colors: Colors): string {
  const rows = attempts.flatMap((attempt) => attempt.ticks.map((tick) => ({ attempt, tick })));
  if (rows.length === 0) return "";
  return formatTable(
    [
      { title: "TICK", value: ({ attempt, tick }) => `${attempt.epoch}/${tick.n}` },
      { title: "WORKER", value: ({ attempt }) => attempt.workerId },
      { title: "AT", value: ({ tick }) => (tick.contradicts === true ? `${tick.moment}, contradicts` : tick.moment) },
      { title: "RAN", value: ({ tick }) => `${tick.ranMs} ms`, align: "right" },
      { title: "AFTER", value: ({ tick }) => tick.prev?.slice(0, SIGNATURE_SHOWN) ?? "-" },
      { title: "SIGNATURE", value: ({ tick }) => `${tick.signature.slice(0, SIGNATURE_SHOWN)}…` },
    ],
    rows,
    colors,
  );
}

function transfersText({ transfers, currency }: Receipt, colors: Colors): string {
  const rows = transfers.flatMap(({ postings, ...transfer }) => postings.map((posting) => ({ transfer, posting })));
  if (rows.length === 0) return "";
  const units = moneyIn(currency);
  return formatTable(
    [
      { title: "POSTED", value: ({ transfer }) => transfer.time },
      { title: "KIND", value: ({ transfer }) => transfer.kind },
      { title: "TRANSFER", value: ({ transfer }) => transfer.id },
      { title: "ACCOUNT", value: ({ posting }) => posting.account },
      { title: "AMOUNT", value: ({ posting }) => units(posting.amount), align: "right" },
    ],
    rows,
    colors,
  );
}

/** What was verified, and what nobody signed for. */
export function verdictText({ receipt, figures }: ReceiptVerdict, colors: Colors): string {
  const { ticks, signedMs, unsignedMs, contradictions } = figures;
  const lines = [
    `${colors.green("verified")}: ${plural(ticks, "signature")}, chains, charges, shares, sums and transfers${receipt?.final === false ? " so far" : ""}`,
  ];
  if (unsignedMs > 0) {
    lines.push(
      `${formatDuration(unsignedMs)} of ${formatDuration(signedMs + unsignedMs)} paid time is not signed for: its worker keeps no account of its own.`,
    );
  }
  if (contradictions > 0)
    lines.push(`${plural(contradictions, "tick")} contradict another that the same worker signed.`);
  return lines.join("\n");
}

/** Exactly what does not add up. */
export function problemsText({ problems }: ReceiptVerdict, colors: Colors): string {
  return [
    `${colors.red("NOT VERIFIED")}: ${plural(problems.length, "thing does", "things do")} not add up`,
    ...problems.map(({ code, at, message }) => `  ${printable(at)} ${printable(message)} (${code})`),
  ].join("\n");
}
