// Why offers match or do not: the same filters as the market's, one after the other over the whole fleet, each with the number of offers it removed and what would help.
// For quotes and for jobs that found nothing; never on the way of a placement.
import { chargeFor, egressChargeFor, formatUnits, ratePartsFor } from "@qubix/shared/domain";
import {
  egressLimitOf,
  featuresOf,
  fullHoldOf,
  type JobSpec,
  runPriceMax,
  type WorkerFeature,
} from "@qubix/shared/protocol";
import { egressHint, egressPriceOf, egressSuits, egressWishOf } from "./egress-offers.ts";
import { featuresOfJob, localImageKey, signatureKey } from "./indexes.ts";
import type { Machine } from "./machine.ts";
import type { JobRecord } from "./model.ts";
import { admits, type OfferRequest, isOpen, takesWork } from "./market.ts";
import { fitsWhenIdle, gpuFits, needsOf, pickGpus, rateOf, standbyRatesAt } from "./resources.ts";
import type { CoreState } from "./state.ts";

export interface Explanation {
  readonly hold: bigint;
  readonly currency: string;
  /** The cheapest match for the whole job, standby included; `null` where nothing matches. */
  readonly ratePerHour: bigint | null;
  /** What that rate is the sum of; empty where nothing matches. */
  readonly parts: readonly { readonly part: string; readonly ratePerHour: bigint }[];
  /** Micro-units a GiB there, and for all of the job's egress; missing where it has no price of its own. */
  readonly egress?: { readonly pricePerGiB: bigint; readonly costMax: bigint };
  /** At that rate for the whole of `durationMaxS`, egress in full. */
  readonly costMax: bigint | null;
  readonly total: number;
  readonly matching: number;
  /** Offers that could stand by for the cheapest match, or be its mirror. */
  readonly standbys: number;
  readonly filters: readonly FilterResult[];
}

export interface FilterResult {
  readonly filter: string;
  /** Of the offers that the filters before it left. */
  readonly removed: number;
  readonly hint: string;
}

const FEATURE_WORDS: Readonly<Record<WorkerFeature, string>> = {
  sandboxed: "isolation: sandboxed",
  egress: "network: egress",
  secrets: "secrets",
  "image-upload": "images by upload",
  ticks: "signing metering ticks",
  usage: "metering ticks that tell of traffic",
  "image-digest": "images by digest",
  // What a worker understands; no job asks for it.
  earnings: "word of their earnings",
  proofs: "proofs of hardware",
  exclusive: "failover: exclusive",
  direct: "checkpoints straight from another worker",
  transparent: "transparent checkpoints",
  moves: "requests to save before a move",
  stalls: "signs of progress",
};

function wordsOf(feature: string): string {
  const known: Readonly<Record<string, string>> = FEATURE_WORDS;
  return known[feature] ?? `${feature}, which this job's checkpoints need`;
}

interface Filter {
  readonly name: string;
  readonly keeps: (machine: Machine, request: OfferRequest) => boolean;
  readonly hint: (request: OfferRequest) => string;
}

const free = "Wait until more is free, or ask for less";

const FILTERS: readonly Filter[] = [
  {
    name: "online",
    keeps: ({ worker }) => worker.phase === "online" && worker.offer !== null,
    hint: () => "These workers are not connected. Wait for their owners to start them.",
  },
  {
    name: "draining",
    keeps: isOpen,
    hint: () => "Their owners let them take no new work for now.",
  },
  {
    name: "verified",
    keeps: isVerified,
    hint: () =>
      "They have not proven their hardware yet, or are proving it now: each is asked to as soon as it is idle. Wait a moment; owners see the reason in `qubix workers`.",
  },
  {
    name: "gpu count",
    keeps: (machine, { needs }) => gpusLeft(machine, { ...needs, gpuModel: null, gpuMemoryMiBMin: 0 }),
    hint: ({ needs }) => `They have fewer than ${needs.gpus} free GPUs. ${free} (resources.gpus.count).`,
  },
  {
    name: "gpu model",
    keeps: (machine, { needs }) => gpusLeft(machine, { ...needs, gpuMemoryMiBMin: 0 }),
    hint: ({ needs }) =>
      `They have no ${needs.gpus} free GPUs of model ${needs.gpuModel}. Name another model, or none.`,
  },
  {
    name: "gpu memory",
    keeps: (machine, { needs }) => gpusLeft(machine, needs),
    hint: ({ needs }) =>
      `Their free GPUs have less than ${needs.gpuMemoryMiBMin} MiB. Lower resources.gpus.memoryMiBMin.`,
  },
  {
    name: "cpus",
    keeps: (machine, { needs }) => machine.cpuMilli - machine.usedCpuMilli >= needs.cpuMilli,
    hint: ({ needs }) => `They have fewer than ${needs.cpuMilli / 1000} free cores. ${free} (resources.cpus).`,
  },
  {
    name: "memory",
    keeps: (machine, { needs }) => (machine.worker.offer?.memoryMiB ?? 0) - machine.usedMemoryMiB >= needs.memoryMiB,
    hint: ({ needs }) => `They have less than ${needs.memoryMiB} MiB of memory free. ${free} (resources.memoryMiB).`,
  },
  {
    name: "disk",
    keeps: (machine, { needs }) => (machine.worker.offer?.diskMiB ?? 0) - machine.usedDiskMiB >= needs.diskMiB,
    hint: ({ needs }) => `They have less than ${needs.diskMiB} MiB of disk free. ${free} (resources.diskMiB).`,
  },
  {
    name: "kept",
    keeps: ({ keptFor }, { takesKept }) => keptFor === null || takesKept,
    hint: () => "They are kept for jobs that have waited long for room there. Wait until those run.",
  },
  {
    name: "image",
    keeps: (machine, { image }) => image === null || machine.images.has(image),
    hint: ({ image }) =>
      `Their owners do not list the local image ${image}. Use an image of a registry, or ask an owner to allow it (qubix-worker start --local-image).`,
  },
  {
    name: "features",
    keeps: (machine, { features }) => features.every((feature) => machine.features.has(feature)),
    hint: ({ features }) =>
      `They do not offer ${features.map(wordsOf).join(" and ")}. Leave that out, or wait for workers whose \`qubix-worker doctor\` shows it.`,
  },
  {
    name: "regions",
    keeps: ({ worker }, { placement: { regions } }) =>
      regions === undefined || regions.includes(worker.offer?.region ?? ""),
    hint: () => "They are in other regions. Widen placement.regions.",
  },
  {
    name: "workers",
    keeps: ({ worker }, { placement: { workers } }) => workers === undefined || workers.includes(worker.id),
    hint: () => "They are not named in placement.workers.",
  },
  {
    name: "providers",
    keeps: ({ worker }, { placement: { providers } }) =>
      providers === undefined || providers.includes(worker.providerId),
    hint: () => "Their providers are not named in placement.providers.",
  },
  {
    name: "avoid",
    keeps: ({ worker }, { placement: { avoid } }) =>
      avoid === undefined || !(avoid.includes(worker.id) || avoid.includes(worker.providerId)),
    hint: () => "placement.avoid names them or their providers.",
  },
  {
    name: "payout address",
    keeps: ({ unpayable }, { currency }) => !unpayable.has(currency),
    hint: ({ currency }) =>
      `Their providers have not said where they want to be paid in ${currency}, which is paid on a chain (PUT /v1/payout-addresses). Use a currency that they take, or ask them to.`,
  },
  {
    name: "price",
    keeps: ({ worker }, { needs, currency, rateMax }) => {
      const rate = worker.offer === null ? null : rateOf(worker.offer, needs, currency);
      return rate !== null && rate <= rateMax;
    },
    hint: ({ rateMax, currency }) =>
      `They cost more than ${formatUnits(rateMax)} ${currency} an hour, or take another currency. Raise priceMaxPerHour.`,
  },
  { name: "egress price", keeps: egressSuits, hint: egressHint },
];

/** What it claims would do, but for want of a proof. Claims that would not do either are left to the filters behind. */
function isVerified(machine: Machine, { needs }: OfferRequest): boolean {
  if (!takesWork(machine)) return false;
  if (needs.gpus === 0) return true;
  const claimed = (machine.worker.offer?.gpus ?? []).filter((gpu) => !machine.usedGpus.has(gpu.uuid));
  const fitting = claimed.filter((gpu) => gpuFits(gpu, needs));
  return fitting.length < needs.gpus || pickGpus(machine, needs) !== undefined;
}

/** Goes through the whole fleet as it is now. The answer is the same for every asker: offers are public. */
export function explainPlacement(state: CoreState, spec: JobSpec): Explanation {
  return explainRequest(state, spec, requestFor(spec));
}

function explainRequest(state: CoreState, spec: JobSpec, request: OfferRequest): Explanation {
  const machines = [...state.ix.machines.values()];
  const removed = new Map<string, number>();
  const matching = machines.filter((machine) => {
    const failed = FILTERS.find((filter) => !filter.keeps(machine, request));
    if (failed !== undefined) removed.set(failed.name, (removed.get(failed.name) ?? 0) + 1);
    return failed === undefined;
  });
  const best = cheapest(matching, request);
  const standbys = best === undefined ? [] : besideRates(machines, matching, best, spec, request);
  const standbyRate = standbys.reduce<bigint | null>(
    (least, rate) => (least === null || rate < least ? rate : least),
    null,
  );
  const ratePerHour = best === undefined ? null : best.rate + (standbyRate ?? 0n);
  const egress = best === undefined ? undefined : egressAt(best.machine, spec);
  return {
    hold: fullHoldOf(spec),
    currency: request.currency,
    ratePerHour,
    parts: [
      ...(best === undefined ? [] : partsAt(best.machine, request)),
      ...(standbyRate === null ? [] : [{ part: "standby", ratePerHour: standbyRate }]),
    ],
    ...(egress === undefined ? {} : { egress }),
    costMax: ratePerHour === null ? null : chargeFor(ratePerHour, spec.durationMaxS * 1000) + (egress?.costMax ?? 0n),
    total: machines.length,
    matching: matching.length,
    standbys: standbys.length,
    filters: FILTERS.map(({ name, hint }) => {
      const count = removed.get(name) ?? 0;
      return {
        filter: name,
        removed: count,
        hint: count === 0 ? "" : withOutlook(name, hint(request), machines, request),
      };
    }),
  };
}

function egressAt(machine: Machine, spec: JobSpec): Explanation["egress"] {
  const limit = egressLimitOf(spec);
  const price = egressPriceOf(machine);
  if (limit === undefined || price === undefined) return undefined;
  return { pricePerGiB: price.amount, costMax: egressChargeFor(price.amount, limit.bytesMax) };
}

function partsAt({ worker: { offer } }: Machine, { needs, currency }: OfferRequest): Explanation["parts"] {
  const parts = offer === null ? null : ratePartsFor(offer, needs, currency);
  return (parts ?? []).map(({ name, ratePerHour }) => ({ part: name, ratePerHour }));
}

/** One sentence or two: what stood in the way of most offers. */
export function explainShort(state: CoreState, spec: JobSpec, request = requestFor(spec)): string {
  const { total, filters, matching } = explainRequest(state, spec, request);
  if (total === 0) return "No worker is enrolled in this network yet.";
  if (matching > 0) return `${matching} of ${total} offers fit now: submit it again.`;
  const telling = filters.filter(({ removed }) => removed > 0).toSorted((a, b) => b.removed - a.removed);
  const parts = telling.slice(0, 3).map(({ filter, removed, hint }) => `${filter}: ${removed} of ${total} (${hint})`);
  return `What stood in the way: ${parts.join(" ")}`;
}

/** An explanation serves all jobs that ask for the same thing for this long. */
const EXPLAINED_MS = 1_000;
/** Offers that may be gone through for explanations in that time; a second of them would stall everything else. */
const EXPLAINED_OFFERS_MAX = 100_000;

/** {@link explainShort} for a job, at a bounded cost when very many ask at once. */
export function explainOnce(state: CoreState, job: JobRecord): string {
  const { explained } = state.volatile;
  if (state.nowMs - explained.atMs > EXPLAINED_MS) {
    explained.atMs = state.nowMs;
    explained.looked = 0;
    explained.texts.clear();
  }
  const key = signatureKey(job);
  const known = explained.texts.get(key);
  if (known !== undefined) return known;
  if (explained.looked > EXPLAINED_OFFERS_MAX) return "A quote for it says which filters stood in the way.";
  explained.looked += state.ix.machines.size;
  const text = explainShort(state, job.spec, { ...requestFor(job.spec), features: featuresOfJob(job) });
  explained.texts.set(key, text);
  return text;
}

/** What a standby, or a second replica, would cost an hour at each offer that could be it beside the cheapest match. */
function besideRates(
  machines: readonly Machine[],
  matching: readonly Machine[],
  best: Priced,
  spec: JobSpec,
  request: OfferRequest,
): readonly bigint[] {
  if (spec.standby === "hot") return standbysFor(matching, best, request);
  if (spec.standby !== "mirror") return [];
  const [uuid] = pickGpus(best.machine, request.needs) ?? [];
  const gpuModel = best.machine.worker.offer?.gpus.find((gpu) => gpu.uuid === uuid)?.model ?? null;
  const rateMax = spec.priceMaxPerHour.amount - best.rate;
  const second = { ...request, rateMax, needs: { ...request.needs, gpuModel } };
  return machines.flatMap((machine) => {
    if (machine.worker.providerId === best.machine.worker.providerId || !admits(machine, second)) return [];
    const { offer } = machine.worker;
    return (offer === null ? null : rateOf(offer, second.needs, second.currency)) ?? [];
  });
}

function requestFor(spec: JobSpec): OfferRequest {
  const { currency } = spec.priceMaxPerHour;
  // Where the cheaper of two takes more than half, they do not fit together.
  const amount = spec.standby === "mirror" ? spec.priceMaxPerHour.amount / 2n : runPriceMax(spec);
  return {
    needs: needsOf(spec),
    currency,
    rateMax: amount,
    image: localImageKey(spec.image),
    features: featuresOf(spec),
    placement: spec.placement,
    egress: egressWishOf(spec),
    takesKept: false,
  };
}

/** For what is taken now: whether an idle worker would do, or none is large enough at all. */
function withOutlook(name: string, hint: string, machines: readonly Machine[], { needs }: OfferRequest): string {
  if (!SIZE_FILTERS.has(name)) return hint;
  const able = machines.filter((machine) => machine.coresListed && fitsWhenIdle(machine, needs)).length;
  const outlook =
    able === 0
      ? "No enrolled worker is large enough, even when idle."
      : `${able} enrolled ${able === 1 ? "worker is" : "workers are"} large enough when idle.`;
  return `${hint} ${outlook}`;
}

const SIZE_FILTERS: ReadonlySet<string> = new Set(["gpu count", "gpu model", "gpu memory", "cpus", "memory", "disk"]);

function gpusLeft(machine: Machine, needs: OfferRequest["needs"]): boolean {
  return needs.gpus === 0 || pickGpus(machine, needs) !== undefined;
}

interface Priced {
  readonly machine: Machine;
  readonly rate: bigint;
}

function cheapest(machines: readonly Machine[], request: OfferRequest): Priced | undefined {
  let best: Priced | undefined;
  for (const machine of machines) {
    const { offer } = machine.worker;
    const rate = offer === null ? null : rateOf(offer, request.needs, request.currency);
    if (rate !== null && (best === undefined || rate < best.rate)) best = { machine, rate };
  }
  return best;
}

function standbysFor(machines: readonly Machine[], primary: Priced, request: OfferRequest): readonly bigint[] {
  const had = { rateMax: primary.rate, standbyRateMax: 0n };
  return machines.flatMap((machine) => {
    if (machine === primary.machine) return [];
    return standbyRatesAt(machine, request, had, request.rateMax)?.ratePerHour ?? [];
  });
}
