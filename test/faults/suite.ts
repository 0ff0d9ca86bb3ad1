// What the files of faults have in common: a lab that all of a file's faults strike one after the other, whole again between them, and the money of all of
// its jobs at the end. Each file has a lab of its own, so that two can run at a time.
import { afterAll, afterEach, beforeAll, describe, it } from "vitest";
import { type FaultLab, startFaultLab, whyNoMachines } from "./lab.ts";

/** The longest take half a minute on an idle machine; a busy one is many times slower. */
const TIMEOUT_MS = 240_000;

/** Declares the tests of each kind of fault, and prints what they cost when all have been. */
export function faultSuite(name: string, kinds: readonly ((lab: () => FaultLab) => void)[]): void {
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

  describe.skipIf(why !== undefined)(name, { timeout: TIMEOUT_MS }, () => {
    for (const faults of kinds) faults(lab);

    it("the money adds up over all of them", async () => {
      await lab().checkMoney();
    });
  });
}
