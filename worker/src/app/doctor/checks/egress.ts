// Jobs with a network: whether this machine can keep them from itself and from what is around it.
import { createLogger } from "@qubix/shared/runtime";
import { checkEgress } from "../../../runner/network/check.ts";
import { type Check, type DoctorContext, ok, skip, warn } from "../check.ts";

const NAME = "Jobs with egress";

/** Makes a network with rules around it, and removes both. */
export async function checkJobEgress({ config, engine }: DoctorContext): Promise<readonly Check[]> {
  if (!config.egress) return [skip(NAME, "not taken: --no-egress")];
  const logger = createLogger("qubix-worker", "silent");
  const { ok: works, found, needed, remedy } = await checkEgress({ engine, logger }, "doctor");
  return [works ? ok(NAME, found, needed) : warn(NAME, found, needed, remedy)];
}
