// All checks of the doctor, in the order in which they are told. To add one: export a CheckRun beside the code it belongs to, and name it here.
import { checkIsolation } from "../../isolation/doctor.ts";
import { checkGuard } from "../../guard/doctor.ts";
import { checkProofs } from "../../proof/doctor.ts";
import { checkSecrets } from "../../secrets/doctor.ts";
import type { CheckArea } from "./check.ts";
import { checkDataDir } from "./checks/data-dir.ts";
import { checkDocker } from "./checks/docker.ts";
import { checkJobEgress } from "./checks/egress.ts";
import { checkOrchestrator } from "./checks/orchestrator.ts";
import { checkPrices } from "./checks/prices.ts";
import { checkProgram } from "./checks/program.ts";
import { checkGpus, checkRegistries, checkTime } from "./checks/system.ts";

export const CHECK_AREAS: readonly CheckArea[] = [
  { name: "Program", run: checkProgram },
  { name: "Data directory", run: checkDataDir },
  { name: "Orchestrator", run: checkOrchestrator },
  { name: "Time synchronisation", run: checkTime },
  { name: "Docker Engine", run: checkDocker },
  { name: "Registries", run: checkRegistries },
  { name: "NVIDIA driver", run: checkGpus },
  { name: "Prices", run: checkPrices },
  { name: "Isolation", run: checkIsolation },
  { name: "Secrets", run: checkSecrets },
  { name: "Proofs", run: checkProofs },
  { name: "Jobs with egress", run: checkJobEgress },
  { name: "Exclusive jobs", run: checkGuard },
];
