// `qubix-worker doctor`: what this machine has, what a worker needs, and what to do about the difference.
import { resolve } from "node:path";
import { loadConfig } from "@qubix/shared/runtime";
import { createEngine } from "../../runner/engine.ts";
import { startConfigSchema } from "../config.ts";
import type { DoctorConfig } from "../doctor/check.ts";
import { CHECK_AREAS } from "../doctor/checks.ts";
import { isHealthy, runDoctor } from "../doctor/doctor.ts";
import { paintFor, renderCheck, renderSummary } from "../doctor/render.ts";
import { EXIT_FAILURE, print } from "./common.ts";

export type DoctorFlags = Record<string, unknown> & { readonly config?: string };

/** Before enrolment there may be no data directory. */
const doctorConfigSchema = startConfigSchema.partial({ dataDir: true });

/** Resolves with the exit code: 0 unless something that is needed fails. */
export async function runDoctorCommand(flags: DoctorFlags): Promise<number> {
  const loaded = loadConfig(doctorConfigSchema, { flags, env: process.env, file: flags.config });
  const config: DoctorConfig = {
    ...loaded,
    dataDir: loaded.dataDir === undefined ? undefined : resolve(loaded.dataDir),
  };
  const paint = paintFor(process.stdout);
  const checks = await runDoctor(CHECK_AREAS, config, {
    engine: createEngine(config.dockerSocket),
    told(lines) {
      if (!config.json) for (const line of lines) print(renderCheck(line, paint));
    },
  });
  const healthy = isHealthy(checks);
  print(config.json ? JSON.stringify({ event: "doctor", healthy, checks }) : renderSummary(checks, paint));
  return healthy ? 0 : EXIT_FAILURE;
}
