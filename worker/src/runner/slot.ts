// One slot on this machine: its container, folders and streams, from the first preparation to the removal. Every answer goes back to the core as an event.
import { chmod, mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import type { AttemptRef, JobId } from "@qubix/shared/domain";
import type { CheckpointRef, EndOutcome, RegistryAuth, RunSpec } from "@qubix/shared/protocol";
import { createEntryWatch, type EntryWatch, listEntries, removeOlder } from "../checkpoint/entries.ts";
import { removeTree } from "../checkpoint/remove.ts";
import { giveTo, type Owner } from "../checkpoint/unpack.ts";
import type { ContainerFound, Measures, SlotId, WorkerCoreEvent } from "../core/index.ts";
import type { ContainerView, EndedView } from "./containers.ts";
import { createDiskWatch, type DiskWatch } from "./disk-watch.ts";
import { EngineError } from "./engine.ts";
import { reservedVariables } from "./environment.ts";
import type { FoundImage } from "./images/images.ts";
import { followLogs, type LogFollower } from "./log-follower.ts";
import { createSlotMemory } from "./memory/slot-memory.ts";
import { createLogPump, type LogPump, type PumpPosition, PUMP_START } from "./log-pump.ts";
import { DOES_NOT_FIT, imageOutcome, isJobsOwn, outcomeOfError, problemOutcome, SECRETS_LOST } from "./outcomes.ts";
import { readProgress, readProgressFile } from "./progress.ts";
import { createSlotGuard } from "./slot-guard.ts";
import { createSlotParent } from "./slot-parent.ts";
import type { SlotConfig, SlotPorts, SlotRunner } from "./slot-port.ts";
import { slotFolders } from "./slot-folders.ts";
import { execFailureIn, failureOf, wasKilledUnseen } from "./slot-end.ts";
import { createNoteKeeper, notedOnDisk, replaceFile, type SlotNotes } from "./slot-notes.ts";
import {
  damagedCheckpoint,
  isDamage,
  isDiskFull,
  shipEntry,
  shipOutputs,
  unpackCheckpoint,
  unpackInput,
} from "./slot-trees.ts";
import { createUseMeter } from "./slot-use.ts";
import { sleep } from "./waiting.ts";

const MIB = 1024 * 1024;
/** An ended container's output is read and answered for this long before its end is told. */
const LOG_DRAIN_MS = 20_000;
/** Pause before the Engine is asked again to do what must be done. */
const INSIST_MS = 5_000;
/** A checkpoint that can never be shipped (too many files) is not tried every second. */
const HOPELESS_SHIP_MS = 30_000;
/** Tries to upload outputs that the store refuses, and the pause between them. */
const COLLECT_TRIES = 5;
const COLLECT_RETRY_MS = 5_000;

export function createSlotRunner(id: SlotId, ports: SlotPorts, config: SlotConfig, online: () => boolean): SlotRunner {
  const { containers, volumes, clock } = ports;
  const emit = (event: WorkerCoreEvent) => ports.emit(event);
  const logger = ports.logger.child({ slot: id });
  const folders = slotFolders(config.slotsDir, id);
  const life = new AbortController();
  const guard = createSlotGuard(id, ports);
  const isOver = () => life.signal.aborted;
  const notes = createNoteKeeper({ clock, logger, isOver, heldMs: () => guard.heldMs() }, folders.own);
  const use = createUseMeter({ clock, stats: () => containers.stats(id), gpuUse: (uuids) => ports.gpuUse?.(uuids) });
  let pump: LogPump | null = null;
  let follower: LogFollower | null = null;
  let entries: EntryWatch | null = null;
  let disk: DiskWatch | null = null;
  let measures: Measures | undefined;
  let gpuUuids: readonly string[] = [];
  let running = false;
  let hasNetwork = false;
  /** What the container's init said when it could not run the job's command, e.g. `exec /no/such/program failed: No such file or directory`. */
  let execFailure: string | null = null;
  /** What the container printed since this agent follows it. */
  let logBytes = 0;
  let savedPosition: PumpPosition | null = null;
  const underWay = new Set<Promise<void>>();
  const parent = createSlotParent(folders);
  const memoryPorts = { containers, notes, logger, signal: life.signal, tell: tellJob };
  const memory = createSlotMemory(id, folders, { ...memoryPorts, program: () => ports.memoryProgram() });
  const treePorts = (jobId: JobId) => ({
    chunks: ports.chunks(jobId),
    threads: ports.threads,
    signal: life.signal,
  });

  const checkpointPorts = (jobId: JobId) => ({
    ...treePorts(jobId),
    chunks: ports.checkpointChunks(jobId, folders.own),
  });

  function fail(outcome: EndOutcome): void {
    if (life.signal.aborted) return;
    logger.warn({ event: "slot_failed", outcome }, "a slot failed");
    emit({ kind: "failed", slotId: id, outcome });
  }

  /** Runs one piece of work; what goes wrong becomes an event. */
  async function attemptTo(work: () => Promise<void>, outcomeOf: (error: unknown) => EndOutcome): Promise<void> {
    try {
      await tracked(work);
    } catch (error) {
      if (life.signal.aborted) return;
      logger.warn({ event: "slot_work_failed", err: error }, "work on a slot failed");
      fail(outcomeOf(error));
    }
  }

  /** The removal waits for what is under way: nothing may be made after it. */
  async function tracked(work: () => Promise<void>): Promise<void> {
    const promise = work();
    underWay.add(promise);
    try {
      await promise;
    } finally {
      underWay.delete(promise);
    }
  }

  async function makeFolders(run: RunSpec): Promise<void> {
    await volumes.open(folders, run.diskMiB);
    const { work, out, checkpoint, progress, staging, control, own } = folders;
    for (const folder of [work, out, checkpoint, progress, staging, control, own]) {
      await mkdir(folder, { recursive: true });
    }
    for (const index of run.inputs.keys()) await mkdir(folders.input(index), { recursive: true });
    // Only the agent looks into a job's folders; containers see them through their own mounts.
    await chmod(folders.root, 0o700);
  }

  /** What the container may write to, on disk. */
  async function writableFolders(): Promise<string[]> {
    const imageVolumes = dirname(folders.imageVolume(0));
    const names = await readdir(imageVolumes).catch(() => []);
    const { work, out, checkpoint, progress } = folders;
    return [work, out, checkpoint, progress, ...names.map((name) => join(imageVolumes, name))];
  }

  async function prepare(jobId: JobId, run: RunSpec, checkpoint: CheckpointRef | null): Promise<void> {
    guard.prepare(run);
    await makeFolders(run);
    const before = await notes.known();
    const registryAuth = run.registryAuth === undefined ? undefined : ports.secrets.registryAuth(id);
    if (run.registryAuth !== undefined && registryAuth === undefined) return fail(SECRETS_LOST);
    emit({ kind: "measured", slotId: id, ranMs: 0, progress: null, activity: "getting the image" });
    const image = await bringImage(jobId, run, before.imageDigest, registryAuth);
    if (image === null) return;
    if (run.network === "egress") await ports.networks.prepare(id);
    const made = await containers.create({
      slotId: id,
      jobId,
      run,
      // No tag that moves, and no name that somebody gives away, changes what runs.
      image: image.id,
      folders,
      secretsFolder: run.secretNames === undefined ? undefined : ports.secrets.folder(id),
      hostCpus: config.hostCpus,
      dns: config.dns,
    });
    life.signal.throwIfAborted();
    if (made.kind === "problem") return fail(problemOutcome(made));
    const user = before.user ?? (await containers.userOf(id, image.user));
    if ("kind" in user) return fail(problemOutcome(user));
    for (const folder of await writableFolders()) await giveTo(folder, user);
    notes.put({ user, imageDigest: image.digest });
    emit({ kind: "measured", slotId: id, ranMs: 0, progress: null, activity: "fetching inputs and checkpoint" });
    for (const [index, input] of run.inputs.entries()) {
      if ((await notes.known()).inputs.includes(index)) continue;
      await unpackInput(folders, index, input.manifestCid, user, treePorts(jobId));
      notes.put({ inputs: [...(await notes.known()).inputs, index] });
    }
    await bringCheckpoint(jobId, checkpoint, user, image.digest);
  }

  /** Null where it is not to be had: that has been told. */
  async function bringImage(
    jobId: JobId,
    run: RunSpec,
    digestBefore: string | null,
    auth: RegistryAuth | undefined,
  ): Promise<FoundImage | null> {
    const pinned = run.imageDigest ?? digestBefore;
    const image = await ports.images.ensure({
      slotId: id,
      run: pinned === null ? run : { ...run, imageDigest: pinned },
      auth,
      chunks: ports.chunks(jobId),
      signal: life.signal,
      progress: (activity) => emit({ kind: "measured", slotId: id, ranMs: 0, progress: null, activity }),
    });
    if (image.kind === "image") return image;
    fail(imageOutcome(image.problem));
    return null;
  }

  /** Brings the checkpoint to disk if it is not there, and answers `prepared`. */
  async function bringCheckpoint(
    jobId: JobId,
    checkpoint: CheckpointRef | null,
    owner: Owner,
    imageDigest: string | null = null,
  ): Promise<void> {
    const have = (await notes.known()).unpacked;
    if (checkpoint !== null && have?.seq !== checkpoint.seq) {
      const note = (unpacked: SlotNotes["unpacked"]) => notedOnDisk(() => notes.put({ unpacked }));
      const changing = () => note(null);
      try {
        const begunMs = performance.now();
        const way = checkpointPorts(jobId);
        const entry = await unpackCheckpoint(folders, checkpoint, owner, way, changing);
        note({ seq: checkpoint.seq, entry });
        const tookMs = Math.round(performance.now() - begunMs);
        const bytesBy = way.chunks.fetched();
        logger.info({ event: "checkpoint_fetched", seq: checkpoint.seq, bytesBy, tookMs }, "a checkpoint is in place");
      } catch (error) {
        if (isDiskFull(error) && (await volumes.isBounded(folders))) return fail(DOES_NOT_FIT);
        throw isDamage(error) ? damagedCheckpoint(checkpoint.seq, error) : error;
      }
    }
    const unpacked = checkpoint === null ? null : (await notes.known()).unpacked;
    emit({
      kind: "prepared",
      slotId: id,
      checkpointSeq: unpacked?.seq ?? 0,
      entry: unpacked?.entry ?? null,
      ...(imageDigest === null ? {} : { imageDigest }),
    });
  }

  function makePump(attempt: AttemptRef): LogPump {
    if (pump !== null) return pump;
    const saved = ports.positions.load(id);
    pump = createLogPump(
      { send: ports.sendLog, nowMs: () => performance.now() },
      attempt,
      saved ?? { ...PUMP_START, epoch: attempt.epoch },
    );
    if (!online()) pump.closed();
    return pump;
  }

  function openLogs(since: string | undefined, signal: AbortSignal): Promise<Readable> {
    return containers.logs(id, since, signal);
  }

  /** Everything that runs beside the container. */
  function accompany(attempt: AttemptRef, run: RunSpec): void {
    if (life.signal.aborted || running) return;
    running = true;
    ({ gpuUuids } = run);
    hasNetwork = run.network === "egress";
    const logs = makePump(attempt);
    if (run.network === "egress") ports.networks.watch(id, { told: tellJob, lost: endUnsafe });
    follower = followLogs(openLogs, logs, life.signal, (message) => {
      logBytes += message.bytes.length;
      // The container's init says so itself when it cannot run the job's command.
      if (message.stream === "stderr") execFailure ??= execFailureIn(message.bytes);
    });
    memory.accompany(run);
    void waitForEnd(logs, follower).catch((error: unknown) => {
      if (!life.signal.aborted) fail(outcomeOfError("docker_error", error));
    });
    const told = async (entry: string): Promise<void> => {
      const ranMs = notes.ranMs();
      const had = sent();
      const progress = await readProgress(folders.progress);
      emit({ kind: "entry", slotId: id, entry, ranMs, progress, ...had });
    };
    const known = notes.now()?.unpacked?.entry ?? null;
    entries = createEntryWatch(folders.checkpoint, known, told, () => ports.threads.warm());
    entries.start();
    void watchDisk(run);
  }

  /** Only where no volume bounds what the job writes. */
  async function watchDisk(run: RunSpec): Promise<void> {
    const [isBounded, watched] = await Promise.all([volumes.isBounded(folders), writableFolders()]);
    if (isBounded || !running) return;
    disk = createDiskWatch(watched, run.diskMiB * MIB, () => {
      notes.putIfRoom({ diskExceeded: true });
      void insist("kill a container over its disk limit", () => containers.kill(id));
    });
    disk.start();
  }

  async function waitForEnd(logs: LogPump, reader: LogFollower): Promise<void> {
    const ended = await memory.ended();
    notes.putIfRoom({ ranMs: notes.ranMs() });
    notes.putIfRoom({ ended: true });
    running = false;
    guard.release();
    ports.secrets.remove(id);
    disk?.stop();
    ports.networks.unwatch(id);
    reader.finish();
    await Promise.race([reader.done, sleep(LOG_DRAIN_MS, life.signal)]);
    logs.flush();
    await entries?.look();
    entries?.stop();
    if (ended !== undefined && "kind" in ended) return fail(ended);
    const view = ended;
    const diskExceeded = view !== undefined && (await ranOutOfDisk(view));
    if (life.signal.aborted) return;
    emitExited(view, diskExceeded);
  }

  async function whyUnsafe(): Promise<string | null> {
    try {
      await ports.networks.secure(id);
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** The container may not run on: the rules around its network are gone. With the network cut off it may end in good order. */
  function endUnsafe(message: string, isCutOff: boolean): void {
    emit({ kind: "reclaim", slotId: id, outcome: { kind: "worker_failed", code: "isolation_failed", message } });
    if (!isCutOff) void insist("kill a container whose network is not safe", () => containers.kill(id));
  }

  /** The same of a container that an earlier life of the agent started. */
  function sentBefore(): { readonly sentBytes?: number } {
    const sentBytes = ports.networks.sentBytes(id);
    return sentBytes === undefined ? {} : { sentBytes };
  }

  /** What its container has sent so far, where it has a network. */
  function sent(): { readonly sentBytes?: number } {
    const sentBytes = hasNetwork ? ports.networks.sentBytes(id) : undefined;
    return sentBytes === undefined ? {} : { sentBytes };
  }

  function emitExited(view: EndedView | undefined, diskExceeded: boolean): void {
    const failure = failureOf(view, execFailure);
    if (failure !== null) return fail(failure);
    const { exitCode = null, oomKilled = false } = view ?? {};
    emit({ kind: "exited", slotId: id, exitCode, oomKilled, diskExceeded, ranMs: notes.ranMs(), ...sent() });
  }

  /** Does what must be done, however often the Engine has to be asked. */
  async function insist(what: string, work: () => Promise<void>, evenWhenOver = false): Promise<void> {
    for (;;) {
      if (life.signal.aborted && !evenWhenOver) return;
      try {
        await work();
        return;
      } catch (error) {
        logger.error({ event: "docker_failed", what, err: error }, "Docker did not do it; trying again");
        await new Promise((resolve) => setTimeout(resolve, INSIST_MS));
      }
    }
  }

  /** It was killed for it, or failed by itself with its volume full: then no other reason is as likely. */
  async function ranOutOfDisk(view: ContainerView): Promise<boolean> {
    if (notes.now()?.diskExceeded === true) return true;
    if (view.state !== "exited" || view.exitCode === 0 || view.oomKilled) return false;
    return volumes.isFull(folders).catch(() => false);
  }

  /** A line of the agent's own in the job's log. */
  function tellJob(text: string): void {
    pump?.note(text);
  }

  function tellReserved(run: RunSpec): void {
    const names = reservedVariables(run.env);
    if (names.length === 0) return;
    tellJob(`qubix: not set, because these names are the loader's and the drivers' own: ${names.join(", ")}\n`);
  }

  async function collect(jobId: JobId, run: RunSpec): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        const tree = await shipOutputs(folders, run.outputs, treePorts(jobId), tellJob);
        return emit({ kind: "outputs", slotId: id, tree });
      } catch (error) {
        life.signal.throwIfAborted();
        if (isJobsOwn(error)) {
          return fail({ kind: "failed", code: "output_exceeded", exitCode: 0, message: error.message });
        }
        if (tries >= COLLECT_TRIES) throw error;
        await sleep(COLLECT_RETRY_MS, life.signal);
      }
    }
  }

  return {
    async found() {
      const view = await containers.inspect(id);
      await volumes.reopen(folders);
      const seen = await notes.known();
      // What a reboot of the machine ended did not end by itself; a power cut may have taken the newest notes with it.
      const rebooted = seen.started === null || (seen.started.bootId !== clock.bootId && !seen.ended);
      const gone =
        view === undefined || (view.state === "exited" && (rebooted || seen.saving || wasKilledUnseen(view, seen)));
      if (gone) return { ...ABSENT, ranMs: seen.ranMs };
      const newest = (await listEntries(folders.checkpoint)).at(-1);
      // An end that nobody saw lies between the last time the container was seen running and now.
      if (view.state === "exited" && !seen.ended) {
        notes.put({ ranMs: Math.min(Math.max(seen.ranMs, view.wallRanMs), notes.ranMs()), ended: true });
      }
      const ranMs = notes.ranMs();
      const progress = await readProgress(folders.progress);
      return {
        state: view.state,
        exitCode: view.exitCode,
        oomKilled: view.oomKilled,
        diskExceeded: await ranOutOfDisk(view),
        ranMs,
        // A slot without a network has no bridge.
        newest: newest === undefined ? null : { entry: newest.id, ranMs, progress, ...sentBefore() },
        ...sentBefore(),
      };
    },
    prepare: (jobId, run, checkpoint) =>
      attemptTo(
        () => prepare(jobId, run, checkpoint),
        (error) => outcomeOfError(error instanceof EngineError ? "docker_error" : "restore_failed", error),
      ),
    restore: (jobId, checkpoint) =>
      attemptTo(
        async () => bringCheckpoint(jobId, checkpoint, (await notes.known()).user ?? ROOT),
        (error) => outcomeOfError("restore_failed", error),
      ),
    start: (attempt, run) =>
      attemptTo(
        async () => {
          const { user } = await notes.known();
          if (!ports.secrets.handOver(id, run.secretNames ?? [], user ?? ROOT)) return fail(SECRETS_LOST);
          replaceFile(join(folders.control, "epoch"), `${attempt.epoch}\n`);
          // Noted before as well: an agent that dies in between still knows from when on to count.
          notes.put({ started: { bootId: clock.bootId, atMs: clock.nowMs() } });
          if (run.network === "egress") await ports.networks.secure(id);
          await memory.place(run);
          await guard.arm(run, life.signal);
          const started = await containers.start(id);
          if (started.kind === "problem") return fail(problemOutcome(started));
          if (life.signal.aborted) return;
          emit({ kind: "started", slotId: id });
          accompany(attempt, run);
          tellReserved(run);
          notes.put({ started: { bootId: clock.bootId, atMs: clock.nowMs() } });
        },
        (error) => outcomeOfError("docker_error", error),
      ),
    async follow(attempt, run) {
      await guard.follow(run);
      await notes.known();
      replaceFile(join(folders.control, "epoch"), `${attempt.epoch}\n`);
      const unsafe = run.network === "egress" ? await whyUnsafe() : null;
      accompany(attempt, run);
      if (unsafe !== null) endUnsafe(unsafe, false);
    },
    async readRest(attempt) {
      const logs = makePump(attempt);
      follower = followLogs(openLogs, logs, life.signal);
      follower.finish();
      await follower.done;
    },
    relabel(attempt) {
      replaceFile(join(folders.control, "epoch"), `${attempt.epoch}\n`);
      pump?.relabel(attempt);
    },
    lease: (untilMs) => guard.extend(untilMs),
    async stop(graceS) {
      await memory.halt();
      await insist("stop a container", () => (guard.isOver() ? containers.kill(id) : containers.stop(id, graceS)));
    },
    async request(number) {
      if (number !== null && memory.saveNow()) return;
      const file = join(folders.control, "request");
      if (number === null) return rm(file, { force: true });
      replaceFile(file, `${number}\n`);
      tellJob("qubix: the job is to move to another machine and was asked to save\n");
      await insist("signal a container", () => containers.signal(id, "SIGURG"));
    },
    async ship(jobId, entry, ranMs, progress) {
      try {
        await tracked(async () => {
          const begunMs = performance.now();
          const shipped = await shipEntry(folders, entry, checkpointPorts(jobId), await parent.current(), tellJob);
          if (shipped === undefined) return emit({ kind: "shipFailed", slotId: id, entry });
          await parent.shipped(entry, shipped);
          const { tree } = shipped;
          const tookMs = Math.round(performance.now() - begunMs);
          logger.info(
            { event: "checkpoint_shipped", bytes: tree.bytes, bytesMoved: tree.bytesMoved, tookMs },
            "shipped",
          );
          emit({ kind: "shipped", slotId: id, entry, tree, ranMs, progress });
        });
      } catch (error) {
        if (life.signal.aborted) return;
        logger.warn({ event: "ship_failed", entry, err: error }, "a checkpoint could not be shipped");
        if (isJobsOwn(error)) {
          tellJob(`qubix: this checkpoint cannot be kept. ${error.message}\n`);
          await sleep(HOPELESS_SHIP_MS, life.signal);
        }
        emit({ kind: "shipFailed", slotId: id, entry });
      }
    },
    async committed(entry) {
      try {
        parent.committed(entry);
      } catch (error) {
        logger.warn({ event: "note_not_written", err: error }, "a committed checkpoint is not noted on this disk");
      }
      memory.committed();
      // Left over entries only take disk; the next commit tries again.
      await tracked(() => removeOlder(folders.checkpoint, entry, folders.staging)).catch((error: unknown) =>
        logger.warn({ event: "cleanup_failed", err: error }, "old checkpoints stay"),
      );
    },
    note: tellJob,
    collect: (jobId, run) =>
      attemptTo(
        () => collect(jobId, run),
        (error) => outcomeOfError("upload_failed", error),
      ),
    async remove() {
      detach();
      await memory.halt();
      await Promise.allSettled(underWay);
      await parent.close();
      await insist("remove a container", () => containers.remove(id), true);
      await insist("unmount a slot's disk", () => volumes.release(folders), true);
      await insist("remove a job's network", () => ports.networks.remove(id), true);
      await insist("delete a slot's folders", () => removeTree(folders.root), true);
      guard.release();
      ports.secrets.remove(id);
      withoutFail(() => ports.positions.forget(id));
      ports.images.release(id);
      emit({ kind: "removed", slotId: id });
    },
    opened: () => pump?.opened(),
    closed: () => pump?.closed(),
    flushLogs: () => pump?.flush(),
    async measure(withStats) {
      savePosition();
      if (!running) return;
      const ranMs = notes.ranMs();
      notes.putIfRoom({ ranMs });
      const file = await readProgressFile(folders.progress);
      const measured = withStats ? await use.measure(gpuUuids) : undefined;
      measures = measured ?? measures;
      if (!running) return;
      const used = measured === undefined ? undefined : use.used();
      const heldMs = guard.heldMs();
      emit({
        kind: "measured",
        slotId: id,
        ranMs: notes.ranMs(),
        progress: file?.progress ?? null,
        ...sent(),
        ...(measures === undefined ? {} : { measures }),
        look: {
          progressMark: file?.mark ?? null,
          progressDueMs: file?.dueMs ?? null,
          logBytes,
          ...(heldMs === 0 ? {} : { heldMs }),
          ...(used === undefined ? {} : { use: used }),
        },
      });
    },
    detach,
  };

  /** Durable, so only when it has changed. */
  function savePosition(): void {
    if (pump === null || life.signal.aborted) return;
    const position = pump.position();
    const { cursor, offsets, epoch } = savedPosition ?? {};
    if (position.cursor === cursor && position.offsets === offsets && position.epoch === epoch) return;
    withoutFail(() => {
      ports.positions.save(id, position);
      savedPosition = position;
    });
  }

  /** Without the note output is read and sent again, at the same offsets: no reason to leave a container unmeasured, or in place. */
  function withoutFail(note: () => void): void {
    try {
      note();
    } catch (error) {
      logger.warn({ event: "position_not_noted", err: error }, "how far output was read is not durable");
    }
  }

  function detach(): void {
    savePosition();
    running = false;
    entries?.stop();
    disk?.stop();
    ports.networks.unwatch(id);
    life.abort();
    pump?.stop();
  }
}

const ROOT: Owner = { uid: 0, gid: 0 };
const ABSENT: ContainerFound = {
  state: "absent",
  exitCode: null,
  oomKilled: false,
  diskExceeded: false,
  ranMs: 0,
  newest: null,
};
