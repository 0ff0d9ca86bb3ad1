// The order of test files: those that take longest begin first, so that none of them is left to one worker when the others have nothing more to do.
import { relative } from "node:path";
import { BaseSequencer, type TestSpecification } from "vitest/node";

/** What takes more than about 20 s on a machine of two cores, the longest first. A file that is not here, or took its place, costs minutes at worst: never a test. */
const LONGEST: readonly string[] = [
  "test/faults/machines.test.ts",
  "test/faults/parts.test.ts",
  "test/system/exclusive.test.ts",
  "test/system/failover.test.ts",
  "test/sim/sim.test.ts",
  "test/isolation/memory-failover.test.ts",
  "test/system/proofs.test.ts",
  "test/system/moves.test.ts",
  "contracts-bridge/src/evm/contract.test.ts",
  "worker/src/guard/guard.test.ts",
  "test/system/budgets.test.ts",
  "test/network/lab.test.ts",
  "test/system/damaged-checkpoint.test.ts",
  "test/system/gpu.test.ts",
  "test/system/mirror.test.ts",
  "test/isolation/memory.test.ts",
  "test/system/life.test.ts",
  "test/system/orchestrator-crash.test.ts",
  "contracts-bridge/src/qubic/contract.test.ts",
  "client/src/cli/cli.test.ts",
  "test/chain/evm.test.ts",
  "test/system/verification.test.ts",
  "test/system/stalls.test.ts",
  "worker/src/app/app.test.ts",
  "contracts-bridge/src/outbox/outbox.test.ts",
  "worker/src/app/gpus.test.ts",
  "test/system/engine-restart.test.ts",
  "test/system/direct.test.ts",
  "worker/src/runner/slot.test.ts",
  "orchestrator/src/app/program.test.ts",
];

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const { root } = this.ctx.config;
    const place = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.indexOf(relative(root, moduleId));
      return at < 0 ? LONGEST.length : at;
    };
    // Those that are not named stay as they are sorted without us.
    return (await super.sort(files)).toSorted((a, b) => place(a) - place(b));
  }
}
