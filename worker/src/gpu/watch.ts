// Watches the machine's cards. A driver that appears, a card that is plugged in or lost, somebody else's use of one: each is noticed within seconds, and at
// next to no cost. Without `nvidia-smi` only its file is looked for. With cards one `nvidia-smi -l` stays and prints a line per card every few
// seconds (starting one each time would initialise the driver anew); the whole report is asked for when those lines change, and once a minute.
import type { Logger } from "@qubix/shared/runtime";
import {
  type GpuCard,
  type GpuInspection,
  type GpuProcess,
  type GpuTrouble,
  offeredOf,
  sameBus,
  uuidsOf,
} from "./cards.ts";
import type { Inspector } from "./nvidia-smi.ts";
import { lostCardsOf, parsePulse, type Pulse, PULSE_FIELDS, queryArgs } from "./query-csv.ts";
import type { Following, NvidiaSmi } from "./smi-process.ts";
import { countsAsUse, type GpuUse, gpuUseOf } from "./usage.ts";

export interface GpuWatchPorts {
  readonly smi: NvidiaSmi;
  readonly inspector: Inspector;
  readonly logger: Logger;
  /** Which of these processes are neither the agent's nor in a container of a Qubix worker; undefined where that cannot be told now. */
  foreign(pids: readonly number[]): Promise<ReadonlySet<number> | undefined>;
  /** Called after every look. */
  changed(view: GpuView): void;
  readonly nowMs: () => number;
}

export interface GpuWatchConfig {
  /** Give a card back while somebody else uses it. */
  readonly yieldGpu: boolean;
  /** Programs whose use does not count. */
  readonly ignore: readonly string[];
  /** A card that was used is offered again after so much quiet. */
  readonly quietMs: number;
  readonly times?: Partial<typeof TIMES>;
}

/** What is known of the machine's cards now. */
export interface GpuView {
  readonly inspection: GpuInspection;
  /** Cards and partitions that were there and are of no use now, by UUID, with what the driver says. */
  readonly lost: ReadonlyMap<string, string>;
  /** Cards and partitions that somebody else uses, or did until a moment ago, by UUID. */
  readonly inUse: ReadonlyMap<string, readonly GpuProcess[]>;
  /** The latest line of each card. */
  readonly pulses: readonly Pulse[];
}

export interface GpuWatch {
  /** Begins to watch; resolves after the first look, or when that takes too long. */
  start(): Promise<void>;
  stop(): void;
  view(): GpuView;
  /** Looks now, and says what is wrong with one of these cards; undefined when nothing is, or no answer came in time. */
  verify(uuids: readonly string[], timeoutMs: number): Promise<string | undefined>;
  use(uuids: readonly string[]): GpuUse | undefined;
}

const TIMES = {
  /** Between two lines of a card. A lost card must be noticed within 10 s: this, and a moment to read it. */
  pulseMs: 4_000,
  /** Between two looks for a driver where there is none. */
  searchMs: 30_000,
  /** Between two whole reports while nothing seems to change. */
  inspectMs: 60_000,
  /** Whole reports because the memory in use moves are at least this far apart: a job's own memory moves too. */
  changeGapMs: 10_000,
  /** A process that is seen once may be a short look at the card: it counts when it is still there after this. */
  confirmMs: 4_000,
  /** A card that is missing from a report counts as lost when it is missing again. */
  missingMs: 1_500,
  /** No line for this long: the process hangs. */
  silenceMs: 20_000,
  /** What the agent's start waits for the first look; a driver in trouble must not keep it from its other work. */
  firstLookMs: 10_000,
  /** The least time between two starts of the process that stays. */
  restartMs: 5_000,
};
/** Memory in use that changes by less is noise. */
const CHANGE_MIB = 64;
/** Cards that are remembered after they are gone. */
const CARDS_MAX = 64;
const GONE = "It is no longer there.";

interface Use {
  readonly sinceMs: number;
  lastMs: number;
  isConfirmed: boolean;
  processes: readonly GpuProcess[];
}

const NOTHING: GpuInspection = { detection: { kind: "absent" }, cards: [], troubles: [] };

export function createGpuWatch(ports: GpuWatchPorts, config: GpuWatchConfig): GpuWatch {
  const { smi, inspector, logger, nowMs } = ports;
  const times = { ...TIMES, ...config.times };
  let inspection = NOTHING;
  /** Every card that was seen, also those that are lost. */
  const known = new Map<string, GpuCard>();
  const lost = new Map<string, string>();
  const missing = new Set<string>();
  const uses = new Map<string, Use>();
  const pulses = new Map<string, Pulse>();
  let life = 0;
  let isRunning = false;
  let timer: NodeJS.Timeout | null = null;
  let timerAtMs = Number.POSITIVE_INFINITY;
  let looking: Promise<void> | null = null;
  let lookedAtMs = Number.NEGATIVE_INFINITY;
  let following: Following | null = null;
  let followed = "";
  let followedAtMs = Number.NEGATIVE_INFINITY;
  let heardAtMs = 0;
  let lines = 0;
  /** False for an `nvidia-smi` that prints once and ends although it was told to go on. */
  let goesOn = true;
  let watchdog: NodeJS.Timeout | null = null;

  // ── When to look ──

  function lookIn(ms: number): void {
    if (!isRunning) return;
    const atMs = nowMs() + ms;
    if (atMs >= timerAtMs) return;
    if (timer !== null) clearTimeout(timer);
    timerAtMs = atMs;
    timer = setTimeout(() => {
      timer = null;
      timerAtMs = Number.POSITIVE_INFINITY;
      // One that is under way may have begun before what this one is for.
      void (looking ?? Promise.resolve()).then(look);
    }, ms);
    // An agent that could not be started must be able to end.
    timer.unref();
  }

  /** One whole look at a time; who asks meanwhile gets the one under way. */
  function look(): Promise<void> {
    looking ??= lookOnce(life)
      .catch((error: unknown) => {
        logger.error({ event: "gpu_look_failed", err: error }, "a look at the GPUs failed");
        lookIn(times.searchMs);
      })
      .finally(() => {
        looking = null;
        lookedAtMs = nowMs();
      });
    return looking;
  }

  async function lookOnce(of: number): Promise<void> {
    if (inspection.detection.kind === "absent" && known.size === 0 && !(await smi.isThere())) {
      lookIn(times.searchMs);
      return;
    }
    const found = steady(await inspector.inspect({ known: [...known.keys()].filter((uuid) => !lost.has(uuid)) }));
    if (of !== life) return;
    report(inspection, found);
    inspection = found;
    noteLosses(found);
    for (const card of found.cards) {
      if (known.size < CARDS_MAX || known.has(card.gpu.uuid)) known.set(card.gpu.uuid, card);
    }
    await noteUses(found.cards);
    if (of !== life) return;
    ports.changed(view());
    lookIn(found.cards.length > 0 ? times.inspectMs : times.searchMs);
    await keepFollowing(of);
  }

  function report(before: GpuInspection, { detection }: GpuInspection): void {
    const now = detection.kind === "broken" ? detection.message : detection.kind;
    const was = before.detection.kind === "broken" ? before.detection.message : before.detection.kind;
    if (now === was) return;
    if (detection.kind === "broken") {
      logger.error(
        { event: "gpu_broken", said: detection.message },
        "nvidia-smi does not work: offering no GPUs; mend the driver",
      );
    } else logger.info({ event: "gpu_detected", state: detection.kind }, "GPUs were looked at");
  }

  /** A card that saves power by using fewer lanes is the same card: the most that were seen are what it has. */
  function steady(found: GpuInspection): GpuInspection {
    const isFewer = ({ gpu }: GpuCard) => (gpu.pcie?.lanes ?? 0) < (known.get(gpu.uuid)?.gpu.pcie?.lanes ?? 0);
    if (!found.cards.some(isFewer)) return found;
    const cards = found.cards.map((card) => {
      const pcie = known.get(card.gpu.uuid)?.gpu.pcie;
      return isFewer(card) && pcie !== undefined ? { ...card, gpu: { ...card.gpu, pcie } } : card;
    });
    return { ...found, cards, detection: { kind: "gpus", gpus: offeredOf(cards) } };
  }

  // ── Lost cards ──

  function noteLosses({ detection, cards, troubles }: GpuInspection): void {
    const present = new Set(cards.map((card) => card.gpu.uuid));
    const inTrouble = new Set<string>();
    for (const trouble of troubles) {
      const card = cardOf(trouble);
      if (card !== undefined) inTrouble.add(card.gpu.uuid);
      lose(card === undefined ? [trouble.uuid ?? trouble.busId ?? ""] : uuidsOf(card), trouble.message);
    }
    for (const [uuid, card] of known) {
      if (present.has(uuid)) {
        missing.delete(uuid);
        for (const one of uuidsOf(card)) lost.delete(one);
        for (const one of card.busId === undefined ? [] : [card.busId]) lost.delete(one);
      } else if (inTrouble.has(uuid) || lost.has(uuid)) {
        missing.delete(uuid);
      } else if (detection.kind === "gpus" || troubles.length > 0) {
        // The driver told of the others, and not of this one.
        if (missing.delete(uuid)) lose(uuidsOf(card), GONE);
        else {
          missing.add(uuid);
          lookIn(times.missingMs);
        }
      }
    }
  }

  function lose(uuids: readonly string[], message: string): void {
    for (const uuid of uuids) {
      if (uuid === "" || lost.has(uuid)) continue;
      lost.set(uuid, message);
      logger.error({ event: "gpu_lost", uuid, said: message }, "a GPU is lost: it is not offered, and jobs on it end");
    }
  }

  function cardOf({ uuid, busId, index }: Partial<GpuTrouble & Pulse>): GpuCard | undefined {
    if (uuid !== undefined && known.has(uuid)) return known.get(uuid);
    for (const card of known.values()) if (sameBus(card.busId, busId)) return card;
    // The driver numbers the cards in the order of its report.
    return index === undefined || busId !== undefined ? undefined : inspection.cards[index];
  }

  // ── Somebody else's use ──

  async function noteUses(cards: readonly GpuCard[]): Promise<void> {
    if (!config.yieldGpu) return;
    const suspects = cards.flatMap((card) => card.processes.filter((one) => countsAsUse(one, config.ignore)));
    const foreign = suspects.length === 0 ? new Set<number>() : await ports.foreign(suspects.map(({ pid }) => pid));
    // Who they are cannot be told now: what held until now holds on.
    if (foreign === undefined) return lookIn(times.changeGapMs);
    const atMs = nowMs();
    const users = new Map<string, GpuProcess[]>();
    for (const card of cards) {
      for (const process of card.processes) {
        if (!foreign.has(process.pid) || !countsAsUse(process, config.ignore)) continue;
        for (const uuid of placesOf(card, process)) users.set(uuid, [...(users.get(uuid) ?? []), process]);
      }
    }
    for (const [uuid, processes] of users) noteUse(uuid, processes, atMs);
    for (const [uuid, use] of uses) {
      if (users.has(uuid)) continue;
      const leftMs = use.lastMs + config.quietMs - atMs;
      if (!use.isConfirmed || leftMs <= 0) {
        uses.delete(uuid);
        if (use.isConfirmed) logger.info({ event: "gpu_quiet", uuid }, "a GPU is free again: it is offered");
      } else lookIn(leftMs);
    }
  }

  function noteUse(uuid: string, processes: readonly GpuProcess[], atMs: number): void {
    const use = uses.get(uuid);
    const isSame = use?.processes.some(({ pid }) => processes.some((other) => other.pid === pid)) ?? false;
    if (use === undefined || (!use.isConfirmed && !isSame)) {
      uses.set(uuid, { sinceMs: atMs, lastMs: atMs, isConfirmed: false, processes });
      return lookIn(times.confirmMs);
    }
    use.lastMs = atMs;
    use.processes = processes;
    if (use.isConfirmed) return;
    const leftMs = use.sinceMs + times.confirmMs - atMs;
    if (leftMs > 0) return lookIn(leftMs);
    use.isConfirmed = true;
    const names = processes.map(({ name }) => name);
    logger.info(
      { event: "gpu_in_use", uuid, names },
      "somebody else uses a GPU: it is not offered, and jobs on it move",
    );
  }

  // ── The lines ──

  async function keepFollowing(of: number): Promise<void> {
    const cards = inspection.cards.map((card) => card.gpu.uuid).toSorted();
    if (cards.length === 0) return unfollow();
    const wanted = cards.join(",");
    // Other cards than when it was started: it does not know those that came later.
    if (following !== null && followed !== wanted) unfollow();
    if (following !== null) return;
    if (!goesOn) return lookIn(times.pulseMs);
    const waitMs = followedAtMs + times.restartMs - nowMs();
    if (waitMs > 0) return lookIn(waitMs);
    followed = wanted;
    followedAtMs = heardAtMs = nowMs();
    lines = 0;
    const seconds = Math.max(1, Math.round(times.pulseMs / 1000));
    const started = await smi.follow([...queryArgs(PULSE_FIELDS), "-l", String(seconds)], {
      line: (line) => heard(line),
      ended(code) {
        following = null;
        if (code === 0 && lines > 0 && nowMs() - followedAtMs < times.pulseMs) goesOn = false;
        lookIn(goesOn ? times.restartMs / 5 : times.pulseMs);
      },
    });
    if (of !== life) return started?.stop();
    following = started;
    if (started === null) return lookIn(times.searchMs);
    watchdog ??= setInterval(() => {
      if (following === null || nowMs() - heardAtMs <= times.silenceMs) return;
      logger.warn({ event: "gpu_silent" }, "nvidia-smi has stopped answering; asking anew");
      unfollow();
      lookIn(0);
    }, times.pulseMs);
    watchdog.unref();
  }

  function unfollow(): void {
    following?.stop();
    following = null;
  }

  function heard(line: string): void {
    if (line === "") return;
    heardAtMs = nowMs();
    lines += 1;
    const pulse = parsePulse(line);
    const complaints = pulse === undefined ? lostCardsOf(line) : [];
    if (pulse?.trouble !== undefined) losePulse(pulse, pulse.trouble);
    for (const { busId, message } of complaints) losePulse({ busId }, message);
    if (pulse === undefined) return lookIn(complaints.length > 0 ? 0 : times.missingMs);
    const card = cardOf(pulse);
    if (card === undefined) return lookIn(times.missingMs);
    const { uuid } = card.gpu;
    pulses.set(uuid, { ...pulse, uuid });
    if (pulse.trouble !== undefined) return;
    const before = card.now.memoryUsedMiB;
    const now = pulse.memoryUsedMiB;
    const moved = before !== undefined && now !== undefined && Math.abs(now - before) >= CHANGE_MIB;
    const isOdd = lost.has(uuid) || (before !== undefined && now === undefined);
    if (isOdd || (moved && config.yieldGpu)) lookIn(Math.max(0, lookedAtMs + times.changeGapMs - nowMs()));
  }

  /** Does not wait for a whole report: the line is clear enough. */
  function losePulse(pulse: Pulse, message: string): void {
    const card = cardOf(pulse);
    if (card === undefined || lost.has(card.gpu.uuid)) return lookIn(times.missingMs);
    lose(uuidsOf(card), message);
    ports.changed(view());
    lookIn(0);
  }

  function view(): GpuView {
    const confirmed = [...uses].filter(([, use]) => use.isConfirmed);
    return {
      inspection,
      lost: new Map(lost),
      inUse: new Map(confirmed.map(([uuid, { processes }]) => [uuid, processes])),
      pulses: [...pulses.values()],
    };
  }

  return {
    async start() {
      if (isRunning) return;
      isRunning = true;
      life += 1;
      await within(look(), times.firstLookMs);
    },
    stop() {
      isRunning = false;
      life += 1;
      unfollow();
      if (timer !== null) clearTimeout(timer);
      if (watchdog !== null) clearInterval(watchdog);
      timer = watchdog = null;
      timerAtMs = Number.POSITIVE_INFINITY;
    },
    view,
    async verify(uuids, timeoutMs) {
      if (!isRunning || inspection.detection.kind === "absent") return undefined;
      // One that is under way may have begun before whatever made somebody ask.
      await within((looking ?? Promise.resolve()).then(look), timeoutMs);
      return uuids.map((uuid) => lost.get(uuid)).find((message) => message !== undefined);
    },
    use: (uuids) => gpuUseOf(pulses.values(), uuids),
  };
}

/** Where on a card a process is: in its partition, or on all of it. */
function placesOf(card: GpuCard, { gpuInstance }: GpuProcess): readonly string[] {
  if (!card.isPartitioned) return [card.gpu.uuid];
  const inside = card.partitions.filter((one) => gpuInstance === undefined || one.gpuInstance === gpuInstance);
  return inside.map(({ uuid }) => uuid);
}

async function within(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, timeout]);
  clearTimeout(timer);
}
