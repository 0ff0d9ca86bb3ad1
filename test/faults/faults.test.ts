// Faults on real processes, containers, disks and networks: what each costs, and what must hold whatever happens (lab.ts, `checkJob`). The table is printed at the end.
import { afterAll, afterEach, beforeAll, describe, it } from "vitest";
import { checkpointFaults } from "./checkpoint-faults.ts";
import { clockFaults } from "./clock-faults.ts";
import { diskFaults } from "./disk-faults.ts";
import { type FaultLab, startFaultLab, whyNoMachines } from "./lab.ts";
import { silenceFaults } from "./silence-faults.ts";
import { lineFaults } from "./line-faults.ts";
import { messageFaults } from "./message-faults.ts";
import { processFaults } from "./process-faults.ts";

/** The longest take half a minute on an idle machine; a busy one is many times slower. */
const TIMEOUT_MS = 240_000;
const why = whyNoMachines();
if (why !== undefined) console.warn(`skipped: ${why}`);

let started: FaultLab | undefined;
const lab = (): FaultLab => {
  if (started === undefined) throw new Error("the lab has not started");
  return started;
};
beforeAll(async () => {
  if (why === undefined) started = await startFaultLab();
}, TIMEOUT_MS);
afterEach(async () => {
  await started?.restore();
}, TIMEOUT_MS);
afterAll(async () => {
  started?.table.print();
  await started?.stop();
}, TIMEOUT_MS);

describe.skipIf(why !== undefined)("faults on real processes", { timeout: TIMEOUT_MS }, () => {
  processFaults(lab);
  lineFaults(lab);
  diskFaults(lab);
  clockFaults(lab);
  checkpointFaults(lab);
  messageFaults(lab);
  silenceFaults(lab);

  it("the money adds up over all of them", async () => {
    await lab().checkMoney();
  });
});
