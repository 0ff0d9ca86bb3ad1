// `qubix canaries`.
import type { CanaryList } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import type { Handler } from "../session.ts";

const PERCENT = 100;

type Canary = CanaryList["items"][number];

/** What each state means for who reads it. */
const STATES: Readonly<Record<Canary["state"], string>> = {
  unproven: "unproven: accuses nobody until two providers came to its result",
  ready: "ready",
  spent: "spent: somebody was accused by it and knows it. Add another",
  broken: "broken: providers come to another result. Check what it expects",
};

export const canaries: Handler<object> = async (session) => {
  const list = await session.client.canaries.list();
  if (session.json) session.printJson(list);
  else if (list.items.length === 0) session.note("There are no canaries: start the orchestrator with --canaries FILE.");
  else {
    session.print(
      formatTable(
        [
          { title: "NAME", value: ({ name }) => name },
          { title: "GPU", value: ({ gpuModel }) => gpuModel ?? "-" },
          { title: "GIVEN", value: ({ given }) => String(given), align: "right" },
          { title: "RIGHT", value: ({ right }) => String(right), align: "right" },
          { title: "WRONG", value: ({ wrong }) => String(wrong), align: "right" },
          { title: "STATE", value: ({ state }) => STATES[state] },
        ],
        list.items,
        session.colors,
      ),
    );
    session.note(`One after ${(list.share * PERCENT).toFixed(2)}% of all jobs, more often where little is known.`);
  }
  return EXIT_OK;
};
