// Faults of programs, machines and the lines between them, on real processes, containers and networks: what each costs, and what must hold whatever
// happens (lab.ts, `checkJob`). The table is printed at the end.
import { lineFaults } from "./line-faults.ts";
import { processFaults } from "./process-faults.ts";
import { silenceFaults } from "./silence-faults.ts";
import { faultSuite } from "./suite.ts";

faultSuite("faults of machines, on real processes", [processFaults, lineFaults, silenceFaults]);
