// A mirror job for people: its two replicas on the job's page, and what happened to them in the timeline.
import type { JobView } from "@qubix/shared/protocol";
import type { Colors } from "../session.ts";
import { formatTable } from "./table.ts";
import { formatProgress } from "./units.ts";

type Mirror = NonNullable<JobView["mirror"]>;

/** Characters of a sum that tell it from others at a glance. */
const SUM_SHOWN = 12;

/** Of a job's page: how the comparison stands. */
export function mirrorText(mirror: Mirror): string {
  const { checkpointsSame: same, checkpointsDifferent: different } = mirror;
  if (same + different === 0) return stateText(mirror);
  const which = different === 0 ? `${same} equal` : `${same} equal, ${different} different`;
  return `${stateText(mirror)}; checkpoints compared: ${which}`;
}

function stateText(mirror: Mirror): string {
  if (mirror.verified) return "verified: two providers came to the same result";
  if (mirror.third) return "two results differed; a third provider computes it again from the beginning";
  const done = mirror.replicas.filter(({ result }) => result !== null).length;
  return done === 0 ? "two replicas, whose results will be compared" : "one result is there and waits for the other";
}

export function formatReplicas(mirror: Mirror, colors: Colors): string {
  return formatTable(
    [
      { title: "REPLICA", value: ({ replica }) => String(replica), align: "right" },
      { title: "STATE", value: ({ state }) => state },
      { title: "EPOCH", value: ({ epoch }) => (epoch === 0 ? "-" : String(epoch)), align: "right" },
      { title: "WORKER", value: ({ workerId }) => workerId ?? "-" },
      { title: "PROGRESS", value: ({ progress }) => formatProgress(progress), align: "right" },
      {
        title: "CHECKPOINT",
        value: ({ checkpointSeq }) => (checkpointSeq === 0 ? "-" : String(checkpointSeq)),
        align: "right",
      },
      { title: "RESULT", value: ({ result }) => (result === null ? "-" : shortSum(result)) },
    ],
    mirror.replicas,
    colors,
  );
}

/** A long sum or name by its beginning. */
export function shortSum(result: string): string {
  return /^[0-9a-z]{40,}$/.test(result) ? `${result.slice(0, SUM_SHOWN)}…` : result;
}
