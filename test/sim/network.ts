// Connections as TCP gives them: frames arrive in order or not at all. A path can be slow, blocked in one direction or both, or be cut.
import type { WorkerId } from "@qubix/shared/domain";
import type { OrchestratorMessage, WorkerMessage } from "@qubix/shared/protocol";
import { mixText } from "./random.ts";
import type { World } from "./world.ts";

/** Until when a worker's line lets nothing through, by direction. */
export interface Path {
  upBlockedUntilMs: number;
  downBlockedUntilMs: number;
  /** Until when it is away in any case, also when the faults have stopped. */
  awayUntilMs: number;
  /** What waits for the end of a block. */
  readonly waiting: Set<() => void>;
}

export function createPath(): Path {
  return { upBlockedUntilMs: 0, downBlockedUntilMs: 0, awayUntilMs: 0, waiting: new Set() };
}

/** The line is free again, earlier than was thought, unless it is away for longer. */
export function heal(path: Path): void {
  path.upBlockedUntilMs = path.awayUntilMs;
  path.downBlockedUntilMs = path.awayUntilMs;
  const waiting = [...path.waiting];
  path.waiting.clear();
  for (const goOn of waiting) goOn();
}

/** One end of a connection: what it is given by the other side. */
export interface End<Frame> {
  receive(frame: Frame): void;
  /** The other side closed, or the line was reset. Given once, nothing comes after it. */
  closed(): void;
}

export interface Connection {
  readonly workerId: WorkerId;
  sendUp(message: WorkerMessage): void;
  sendDown(message: OrchestratorMessage): void;
  /** Closed by this side: the other one learns of it after what was already sent. */
  closeByWorker(): void;
  closeByOrchestrator(): void;
  /** The line breaks: what is under way is lost. Each side learns of it, or does not. */
  cut(tells: { readonly worker: boolean; readonly orchestrator: boolean }): void;
}

interface Stream<Frame> {
  send(frame: Frame | typeof CLOSE): void;
  /** Nothing more arrives. */
  kill(): void;
}

const CLOSE = Symbol("close");

/** Opens a connection between the two ends; `orchestrator` is set by whoever accepts it. */
export function connect(
  world: World,
  workerId: WorkerId,
  path: Path,
  ends: { readonly worker: End<OrchestratorMessage>; readonly orchestrator: End<WorkerMessage> },
): Connection {
  const up = createStream<WorkerMessage>(world, path, () => path.upBlockedUntilMs, ends.orchestrator);
  const down = createStream<OrchestratorMessage>(world, path, () => path.downBlockedUntilMs, ends.worker);
  return {
    workerId,
    sendUp: (message) => up.send(message),
    sendDown: (message) => down.send(message),
    closeByWorker() {
      up.send(CLOSE);
      down.kill();
    },
    closeByOrchestrator() {
      down.send(CLOSE);
      up.kill();
    },
    cut(tells) {
      up.kill();
      down.kill();
      if (tells.worker) world.after(world.rng.int(0, 50), () => ends.worker.closed());
      if (tells.orchestrator) world.after(world.rng.int(0, 50), () => ends.orchestrator.closed());
    },
  };
}

function createStream<Frame>(world: World, path: Path, blockedUntilMs: () => number, end: End<Frame>): Stream<Frame> {
  const waiting: { readonly frame: Frame | typeof CLOSE; readonly dueMs: number }[] = [];
  let lastDueMs = 0;
  let isArmed = false;
  let isAlive = true;
  const arm = () => {
    const head = waiting[0];
    if (isArmed || head === undefined) return;
    isArmed = true;
    if (blockedUntilMs() > head.dueMs) path.waiting.add(pump);
    world.after(Math.max(head.dueMs, blockedUntilMs()) - world.nowMs(), pump);
  };
  const pump = () => {
    isArmed = false;
    path.waiting.delete(pump);
    while (isAlive) {
      const head = waiting[0];
      if (head === undefined || head.dueMs > world.nowMs() || blockedUntilMs() > world.nowMs()) break;
      waiting.shift();
      if (head.frame === CLOSE) {
        isAlive = false;
        end.closed();
        return;
      }
      end.receive(head.frame);
    }
    if (isAlive) arm();
  };
  return {
    send(frame) {
      if (!isAlive) return;
      const { delayMs, jitterMs } = world.faults;
      lastDueMs = Math.max(lastDueMs, world.nowMs() + delayMs + world.rng.int(0, jitterMs));
      waiting.push({ frame, dueMs: lastDueMs });
      arm();
    },
    kill() {
      isAlive = false;
      waiting.length = 0;
    },
  };
}

/** Where a worker comes from, as the orchestrator sees it: one of two networks. */
export function networkOf(workerId: WorkerId): string {
  return `network ${mixText(0, workerId) & 1}`;
}
