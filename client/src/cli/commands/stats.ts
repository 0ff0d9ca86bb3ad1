// `qubix stats recovery`.
import type { RecoveryStats } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import { formatDuration, plural } from "../format/units.ts";
import { parseDurationS } from "../parse/values.ts";
import type { Colors, Handler } from "../session.ts";

type Kind = RecoveryStats["kinds"][number];

export const recovery: Handler<{ readonly window?: string }> = async (session, _args, options) => {
  const windowS = options.window === undefined ? undefined : parseDurationS(options.window, "--window");
  const stats = await session.client.stats.recovery({ windowS });
  if (session.json) session.printJson(stats);
  else if (stats.recoveries === 0) {
    session.note(`Nothing had to recover in the last ${formatDuration(stats.windowS * 1000)}.`);
  } else {
    session.print(recoveryText(stats, session.colors));
    if (stats.truncated)
      session.note(`There were more: these are the newest ${plural(stats.recoveries, "recovery", "recoveries")}.`);
  }
  return EXIT_OK;
};

/** From the last sign of life of the attempt that was lost; the last columns are what it cost. */
function recoveryText({ kinds }: RecoveryStats, colors: Colors): string {
  const duration = (title: string, value: (kind: Kind) => number) => ({
    title,
    value: (kind: Kind) => formatDuration(value(kind)),
    align: "right" as const,
  });
  return formatTable(
    [
      { title: "KIND", value: (kind) => kind.kind },
      { title: "COUNT", value: (kind) => String(kind.recoveries), align: "right" },
      duration("DETECTED P50", ({ detectedMs }) => detectedMs.p50),
      duration("FIRST STEP P50", ({ recoveryMs }) => recoveryMs.p50),
      duration("P90", ({ recoveryMs }) => recoveryMs.p90),
      duration("P99", ({ recoveryMs }) => recoveryMs.p99),
      duration("MAX", ({ recoveryMs }) => recoveryMs.max),
      duration("WORK LOST P50", ({ workLostMs }) => workLostMs.p50),
      duration("MAX", ({ workLostMs }) => workLostMs.max),
    ],
    kinds,
    colors,
  );
}
