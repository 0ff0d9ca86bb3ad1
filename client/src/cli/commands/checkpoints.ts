// `qubix checkpoints ls`, `get`, `export`, `rm`, and `qubix storage`.
import { downloadCar, downloadCheckpoint } from "../../node/download.ts";
import { QubixError } from "../../sdk/index.ts";
import { type Checkpoint, hasEnded } from "../../sdk/types.ts";
import { EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import { formatAgo, formatBytes, formatDuration, formatProgress, plural } from "../format/units.ts";
import { type CheckpointName, parseCheckpointName } from "../parse/values.ts";
import type { Handler, Session } from "../session.ts";

export const listCheckpoints: Handler<object> = async (session, [id = ""]) => {
  const items = await session.client.jobs.checkpoints(id, { replica: "all" });
  const replica = {
    title: "REPLICA",
    value: (item: Checkpoint) => String(item.replica ?? 0),
    align: "right" as const,
  };
  if (session.json) {
    session.printJson({ items });
    return EXIT_OK;
  }
  if (items.length === 0) {
    session.note(
      `Job ${id} has no committed checkpoint. A job makes one by renaming a finished file or folder into $QUBIX_CHECKPOINT_DIR.`,
    );
    return EXIT_OK;
  }
  const now = Date.now();
  session.print(
    formatTable(
      [
        ...(items.some((item) => item.replica !== undefined) ? [replica] : []),
        { title: "SEQ", value: (item) => String(item.seq), align: "right" },
        { title: "EPOCH", value: (item) => String(item.epoch), align: "right" },
        { title: "WORKER", value: (item) => item.workerId },
        { title: "FILES", value: (item) => String(item.files), align: "right" },
        { title: "SIZE", value: (item) => formatBytes(item.bytes), align: "right" },
        { title: "MOVED", value: (item) => formatBytes(item.bytesMoved), align: "right" },
        { title: "TOOK", value: (item) => (item.shipMs === null ? "-" : formatDuration(item.shipMs)), align: "right" },
        { title: "RAN", value: (item) => formatDuration(item.ranMs), align: "right" },
        { title: "PROGRESS", value: (item) => formatProgress(item.progress), align: "right" },
        { title: "COMMITTED", value: (item) => formatAgo(item.committedAt, now) },
      ],
      items,
      session.colors,
    ),
  );
  return EXIT_OK;
};

export const getCheckpoint: Handler<{ readonly output?: string }> = async (session, [name = ""], options) => {
  const { job, seq } = parseCheckpointName(name, "the checkpoint");
  const checkpoint = await findCheckpoint(session, seq === undefined ? { job } : { job, seq });
  const folder = options.output ?? `${job}-${checkpoint.seq}`;
  const files = await downloadCheckpoint(session.client, job, checkpoint.seq, folder, {
    onFile: (file) => {
      if (session.json) session.printJson({ type: "file", seq: checkpoint.seq, ...file });
    },
  });
  const fetched = files.filter((file) => !file.wasThere);
  const bytes = fetched.reduce((sum, file) => sum + file.bytes, 0);
  const there = files.length - fetched.length;
  session.note(
    `Fetched ${plural(fetched.length, "file")} (${formatBytes(bytes)}) of checkpoint ${checkpoint.seq} into ${folder}${there === 0 ? "." : `; ${there} were there already.`}`,
  );
  return EXIT_OK;
};

export const exportCheckpoint: Handler<{ readonly output?: string; readonly sealed?: true }> = async (
  session,
  [name = ""],
  { output, sealed },
) => {
  const { job, seq } = parseCheckpointName(name, "the checkpoint");
  const checkpoint = await findCheckpoint(session, seq === undefined ? { job } : { job, seq });
  const file = output ?? `${job}-${checkpoint.seq}${sealed === true ? "-sealed" : ""}.car`;
  const bytes = await downloadCar(session.client, job, checkpoint.seq, file, { sealed });
  if (session.json) session.printJson({ type: "car", jobId: job, seq: checkpoint.seq, file, bytes, sealed: !!sealed });
  const what = sealed === true ? "the stored, encrypted blocks" : "the files";
  session.note(`Wrote ${what} of checkpoint ${checkpoint.seq} to ${file} (${formatBytes(bytes)}).`);
  return EXIT_OK;
};

export const removeCheckpoints: Handler<object> = async (session, [name = ""]) => {
  const { job, seq } = parseCheckpointName(name, "the checkpoint");
  const wanted = seq === undefined ? await removable(session, job) : [seq];
  for (const each of wanted) {
    await session.client.jobs.removeCheckpoint(job, each);
    if (session.json) session.printJson({ type: "removed", jobId: job, seq: each });
  }
  session.note(
    wanted.length === 0
      ? `Job ${job} has no checkpoint that can go: the newest of a job that has not ended stays.`
      : `Removed ${wanted.length === 1 ? "checkpoint" : "checkpoints"} ${wanted.join(", ")} of job ${job}.`,
  );
  return EXIT_OK;
};

export const storage: Handler<object> = async (session) => {
  const { bytes, bytesMax } = await session.client.storage.get();
  if (session.json) session.printJson({ bytes, bytesMax });
  else session.print(`${formatBytes(bytes)} of ${formatBytes(bytesMax)} are used by checkpoints, outputs and uploads.`);
  return EXIT_OK;
};

/** All of a job that has ended, else all but the newest. */
async function removable(session: Session, job: string): Promise<readonly number[]> {
  const { phase } = await session.client.jobs.get(job);
  const seqs = (await session.client.jobs.checkpoints(job)).map((checkpoint) => checkpoint.seq);
  return hasEnded(phase) ? seqs : seqs.slice(0, -1);
}

/** The one that is named, else the newest. */
async function findCheckpoint(session: Session, { job, seq }: CheckpointName): Promise<Checkpoint> {
  const items = await session.client.jobs.checkpoints(job);
  const found = seq === undefined ? items.at(-1) : items.find((item) => item.seq === seq);
  if (found !== undefined) return found;
  const have = items.map((item) => item.seq).join(", ");
  throw new QubixError(
    "checkpoint_not_found",
    `Job ${job} has no checkpoint${seq === undefined ? "" : ` ${seq}`}. ${have === "" ? "It has none." : `It has ${have}.`}`,
    { category: "user", status: 404 },
  );
}
