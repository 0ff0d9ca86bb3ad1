// Tables and indexes as plain data, to compare two states. Volatile facts are left out: they are true whatever happens to a step.
import type { CoreState } from "../state.ts";

export function digestOf(state: CoreState): Readonly<Record<string, unknown>> {
  const { rows, ix, meta } = state;
  return {
    rows: Object.fromEntries(Object.entries(rows).map(([table, map]) => [table, sorted(map.entries())])),
    meta: { ...meta, clockMs: 0 },
    apiKeyByHash: sorted(ix.apiKeyByHash),
    enrolmentByTokenHash: sorted(ix.enrolmentByTokenHash),
    workerByPublicKey: sorted(ix.workerByPublicKey),
    links: sorted(
      [...ix.links].map(([id, links]) => [id, [[...links.attempts].toSorted(), [...links.standbys].toSorted()]]),
    ),
    machines: sorted(
      [...ix.machines].map(([id, machine]) => [
        id,
        {
          attempts: [...machine.attempts].toSorted(),
          standbys: [...machine.standbys].toSorted(),
          hotAttempts: machine.hotAttempts,
          used: [machine.usedCpuMilli, machine.usedMemoryMiB, machine.usedDiskMiB, [...machine.usedGpus].toSorted()],
          cpuMilli: machine.cpuMilli,
          images: [...machine.images].toSorted(),
          worker: machine.worker,
        },
      ]),
    ),
    usage: sorted(ix.usage),
    totals: { ...ix.totals },
    wanted: [...ix.wantedStandbys].toSorted(),
    images: sorted(
      [...ix.workersByImage].map(([image, machines]) => [image, [...machines].map(({ id }) => id).toSorted()]),
    ),
    phases: [present(ix.jobsByPhase), present(ix.workersByPhase)],
    queue: sorted(
      [...ix.queue.accounts].flatMap(([id, account]) =>
        [...account.lines].map(([signature, line]) => [
          `${id} ${signature.key}`,
          line.waiting.slice(line.head).map(({ jobId }) => jobId),
        ]),
      ),
    ),
  };
}

function present(counts: ReadonlyMap<string, number>): unknown {
  return sorted([...counts].filter(([, count]) => count !== 0));
}

function sorted(entries: Iterable<readonly unknown[]>): unknown {
  return [...entries].toSorted((a, b) => (String(a[0]) < String(b[0]) ? -1 : 1));
}
