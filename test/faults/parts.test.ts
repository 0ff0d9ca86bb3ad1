// Faults of what machines are made of and what they say, on real processes, disks and clocks: what each costs, and what must hold whatever happens
// (lab.ts, `checkJob`). The table is printed at the end.
import { checkpointFaults } from "./checkpoint-faults.ts";
import { clockFaults } from "./clock-faults.ts";
import { diskFaults } from "./disk-faults.ts";
import { messageFaults } from "./message-faults.ts";
import { faultSuite } from "./suite.ts";

faultSuite("faults of disks, clocks, checkpoints and messages, on real processes", [
  diskFaults,
  clockFaults,
  checkpointFaults,
  messageFaults,
]);
