// `qubix chain`: for admins, the chains on which money lies.
import { EXIT_OK } from "../exit-codes.ts";
import { formatFields, formatTable } from "../format/table.ts";
import { plural } from "../format/units.ts";
import type { Handler, Session } from "../session.ts";
import type { Chain, ChainReport } from "../../sdk/types.ts";

/** Ledger and chain differ: something for a person to look at. */
const EXIT_DIFFERENCES = 1;

export const chainStatus: Handler<object> = async (session) => {
  const { items } = await session.client.chains.list();
  if (session.json) session.printJson({ items });
  else if (items.length === 0)
    session.note("No money lies on a chain here: every currency is custodial. See docs/chains.md.");
  else for (const chain of items) session.print(chainText(chain, session));
  return EXIT_OK;
};

export const reconcileChains: Handler<object> = async (session, [driver]) => {
  let exit = EXIT_OK;
  for (const name of await named(session, driver)) {
    const report = await session.client.chains.reconcile(name);
    if (report.differences.length > 0) exit = EXIT_DIFFERENCES;
    if (session.json) session.printJson({ driver: name, ...report });
    else session.print(reportText(name, report, session));
  }
  return exit;
};

export const resumeChains: Handler<object> = async (session, [driver]) => {
  for (const name of await named(session, driver)) {
    const chain = await session.client.chains.resume(name);
    if (session.json) session.printJson(chain);
    else session.print(`${name} goes on; what it refused is tried again.`);
  }
  return EXIT_OK;
};

export const releasePay: Handler<object> = async (session, [driver = "", jobId = ""]) => {
  const chain = await session.client.chains.release(driver, jobId);
  if (session.json) session.printJson(chain);
  else
    session.print(`The pay of ${jobId} is payable here now; its providers ask for it with \`qubix payout request\`.`);
  return EXIT_OK;
};

/** The one that is named, or all. */
async function named(session: Session, driver: string | undefined): Promise<readonly string[]> {
  if (driver !== undefined) return [driver];
  return (await session.client.chains.list()).items.map((chain) => chain.driver);
}

function chainText(chain: Chain, session: Session): string {
  const { report, refusedJobs } = chain;
  return formatFields(
    [
      ["Driver", `${chain.driver} (${chain.enforced})`],
      ["Currency", chain.currency],
      ["Signer", chain.signer],
      ["State", chain.halted === null ? "goes on" : `HALTED: ${chain.halted}`],
      ["Under way", plural(chain.underWay, "intent")],
      ["Refused", refusedJobs.length === 0 ? null : `${refusedJobs.join(", ")} (look, then \`qubix chain resume\`)`],
      [
        "Compared",
        report === null ? "not yet" : `at ${report.place}: ${plural(report.differences.length, "difference")}`,
      ],
    ],
    session.colors,
  );
}

function reportText(driver: string, report: ChainReport, session: Session): string {
  const { place, jobs, underWay, differences, sum } = report;
  const head = `${driver} at ${place}: ${plural(jobs, "job")}, ${underWay} under way; ${sum.there} units are there, ${sum.owed} are owed.`;
  if (differences.length === 0) return `${head} Ledger and contract agree.`;
  const columns = [
    { title: "JOB", value: (row: (typeof differences)[number]) => row.jobId ?? "all together" },
    { title: "WHAT", value: (row: (typeof differences)[number]) => row.what },
    { title: "LEDGER", value: (row: (typeof differences)[number]) => row.ledger },
    { title: "CHAIN", value: (row: (typeof differences)[number]) => row.chain },
  ];
  return `${head}\n\n${formatTable(columns, differences, session.colors)}`;
}
