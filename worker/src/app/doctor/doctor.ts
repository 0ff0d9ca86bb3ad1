// Runs all checks side by side and hands their lines out in order. Nothing here knows what is checked.
import type { Engine } from "../../runner/engine.ts";
import { CHECK_TIMEOUT_MS, type Check, type CheckArea, type DoctorConfig, fail } from "./check.ts";

export interface DoctorPorts {
  readonly engine: Engine;
  /** Called with each area's lines, in the order of the areas. */
  told(checks: readonly Check[]): void;
}

/** Resolves with all lines once the last check has answered or run out of time. Never throws for a check's sake. */
export async function runDoctor(
  areas: readonly CheckArea[],
  config: DoctorConfig,
  ports: DoctorPorts,
  timeoutMs: number = CHECK_TIMEOUT_MS,
): Promise<readonly Check[]> {
  const running = areas.map((area) => runArea(area, config, ports.engine, timeoutMs));
  const all: Check[] = [];
  for (const area of running) {
    const checks = await area;
    ports.told(checks);
    all.push(...checks);
  }
  return all;
}

/** True when nothing that is needed fails; warnings do not count. */
export function isHealthy(checks: readonly Check[]): boolean {
  return checks.every(({ status }) => status !== "fail");
}

async function runArea(
  area: CheckArea,
  config: DoctorConfig,
  engine: Engine,
  timeoutMs: number,
): Promise<readonly Check[]> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<readonly Check[]>((resolve) => {
    timer = setTimeout(() => {
      const remedy = "Something under it hangs: look at the system's log, and run doctor again";
      resolve([fail(area.name, `no answer within ${timeoutMs / 1000} s`, "an answer", remedy)]);
      abort.abort();
    }, timeoutMs);
  });
  const asked = area
    .run({ config, engine, signal: abort.signal })
    .catch((error: unknown) => [
      fail(area.name, error instanceof Error ? error.message : String(error), "a check that works", ""),
    ]);
  try {
    return await Promise.race([asked, late]);
  } finally {
    clearTimeout(timer);
  }
}
