// The index of free capacity. Offers lie in classes (cores, any GPU, each GPU model; by currency, and by what else has a price), in each class in buckets by free
// GPUs and the logarithms of free cores and memory, in each bucket by price, then load, then reputation, then id. A match looks only at buckets that can hold the job, cheapest first,
// so that its cost does not grow with the fleet: within a class what a job pays beside the one price is the same everywhere, and the order of prices is that of rates.
import type { Money, WorkerId } from "@qubix/shared/domain";
import type { JobSpec } from "@qubix/shared/protocol";
import type { Machine } from "./machine.ts";
import { egressSuits, type EgressWish } from "./egress-offers.ts";
import { gradeOf } from "./reputation-score.ts";
import { type Needs, fits, gpuIsFree, gpuModelMatches, rateOf } from "./resources.ts";

export interface Market {
  readonly cpu: Map<string, PriceLists>;
  readonly anyGpu: Map<string, PriceLists>;
  /** By currency, then model. */
  readonly gpuModels: Map<string, Map<string, PriceLists>>;
  readonly entries: Map<WorkerId, OfferEntry[]>;
  /** Changed since they were last indexed. */
  readonly dirty: Set<Machine>;
}

/** By what offers ask beside the price they are ordered by; most ask nothing. */
type PriceLists = Map<string, OfferClass>;

interface OfferClass {
  readonly key: string;
  readonly lists: PriceLists;
  /** What all its offers ask; null where each asks something of its own. */
  readonly extras: Extras | null;
  readonly buckets: Map<number, Bucket>;
}

/** Micro-units an hour, of a core, a GiB of memory and one of disk, beside the price of the GPU or the core. */
interface Extras {
  readonly cpu: number;
  readonly memory: number;
  readonly disk: number;
}

/**
 * Price lists of their own, for each currency and kind. What comes beyond lies together in one more class, in the order of the first price alone: the cheapest is
 * still found there, but more are looked at.
 */
const PRICE_LISTS_MAX = 64;
const MIXED = "mixed";

interface Bucket {
  readonly key: number;
  readonly gpus: number;
  readonly cpuLog: number;
  readonly memoryLog: number;
  readonly entries: OfferEntry[];
}

export interface OfferEntry {
  readonly machine: Machine;
  readonly owner: OfferClass;
  readonly bucket: Bucket;
  readonly price: number;
  readonly load: number;
  /** By reputation, higher first. */
  readonly grade: number;
}

/** What is looked for. `rank`: 0 is welcome, higher only where nothing lower fits. */
export interface OfferRequest {
  readonly needs: Needs;
  readonly currency: string;
  /** The highest rate an hour. */
  readonly rateMax: bigint;
  /** Key of a local image, which must be on the worker's list. */
  readonly image: string | null;
  /** What the worker must offer beyond what every worker can. */
  readonly features: readonly string[];
  readonly placement: JobSpec["placement"];
  /** Null for a job without a network. */
  readonly egress: EgressWish | null;
  /** It lost a place, and may come to a machine that is kept for one that waits. */
  readonly takesKept: boolean;
}
export interface OfferPreference {
  /** Never this one. */
  refuses(machine: Machine): boolean;
  rank(machine: Machine): number;
}

const LOGS = 64;
/** Buckets are keyed by at most 64 GPUs, the bound of an offer. */
const GPUS = 65;
/** Sets of named candidates up to this size are simply gone through. */
const NAMED_CANDIDATES_MAX = 128;

export function createMarket(): Market {
  return { cpu: new Map(), anyGpu: new Map(), gpuModels: new Map(), entries: new Map(), dirty: new Set() };
}

/** Takes new work: online, has said what it offers, is not draining. */
export function isOpen(machine: Machine): boolean {
  const { worker } = machine;
  return worker.phase === "online" && worker.offer !== null && !worker.draining && !worker.offer.draining;
}

/** …and has proven its cores and memory where it must, and is not being asked to. */
export function takesWork(machine: Machine): boolean {
  return isOpen(machine) && machine.coresListed && !machine.owes.has("cpu");
}

/** Brings the index up to date and gives the machines that gained capacity. */
export function refreshMarket(market: Market): readonly Machine[] {
  if (market.dirty.size === 0) return [];
  const gained: Machine[] = [];
  for (const machine of market.dirty) {
    removeEntries(market, machine);
    if (takesWork(machine)) insertEntries(market, machine);
    if (machine.gained && isOpen(machine)) gained.push(machine);
    machine.gained = false;
  }
  market.dirty.clear();
  return gained;
}

export interface Match {
  readonly machine: Machine | undefined;
  /** How many offers were looked at. */
  readonly looked: number;
}

/** The cheapest offer of the lowest rank, then the least loaded, then the one of the best reputation, if there is one. `among`: no other machine need be looked at. The market must be fresh. */
export function findOffer(
  market: Market,
  machines: ReadonlyMap<WorkerId, Machine>,
  workersByImage: ReadonlyMap<string, ReadonlySet<Machine>>,
  request: OfferRequest,
  preference: OfferPreference,
  preferenceScanMax: number,
  among: Iterable<Machine> | null,
): Match {
  const search = new Search(request, preference, preferenceScanMax);
  const named = among ?? namedCandidates(machines, workersByImage, request);
  if (named !== undefined) {
    for (const machine of named)
      search.consider(machine, costOf(machine, request) ?? Infinity, machineLoad(machine), gradeOf(machine.worker));
    return { machine: search.best, looked: search.looked };
  }
  const { needs } = request;
  for (const offers of classesFor(market, request)) {
    for (const bucket of offers.buckets.values()) {
      if (bucket.gpus < needs.gpus) continue;
      if (bucket.cpuLog < log2(needs.cpuMilli) || bucket.memoryLog < log2(needs.memoryMiB)) continue;
      search.scan(bucket.entries, offers.extras);
    }
  }
  return { machine: search.best, looked: search.looked };
}

/** Whether the machine can take it now, at an accepted price. */
export function admits(machine: Machine, request: OfferRequest): boolean {
  if (machine.keptFor !== null && !request.takesKept) return false;
  return (
    takesWork(machine) && wouldSuit(machine, request) && fits(machine, request.needs) && affordable(machine, request)
  );
}

export function machineLoad(machine: Machine): number {
  return machine.attempts.size + machine.standbys.size;
}

class Search {
  best: Machine | undefined;
  looked = 0;
  #rank = Infinity;
  #cost = Infinity;
  #load = Infinity;
  #grade = -1;
  readonly #request: OfferRequest;
  readonly #preference: OfferPreference;
  readonly #scanMax: number;
  readonly #costMax: number;

  constructor(request: OfferRequest, preference: OfferPreference, scanMax: number) {
    this.#request = request;
    this.#preference = preference;
    this.#scanMax = scanMax;
    this.#costMax = Number(request.rateMax);
  }

  /** Entries come in order of price, then load, then grade; of their rates as well where all have the same `extras`. Else the price alone bounds a rate from below. */
  scan(entries: readonly OfferEntry[], extras: Extras | null): void {
    const { needs } = this.#request;
    const beside = extras === null ? 0 : extrasCost(extras, needs);
    let beyond = 0;
    for (const entry of entries) {
      const least = priceCost(entry.price, needs) + beside;
      if (least > this.#costMax) return;
      if (this.#rank === 0 && this.#isNoBetter(least, entry, extras === null)) return;
      if (this.best !== undefined && (beyond += 1) > this.#scanMax) return;
      const cost = extras === null ? least + extrasCost(extrasOf(entry.machine, this.#request), needs) : least;
      this.consider(entry.machine, cost, entry.load, entry.grade);
    }
  }

  #isNoBetter(least: number, entry: OfferEntry, isBound: boolean): boolean {
    return isBound ? least > this.#cost : !this.#better(0, least, entry.load, entry.grade, entry.machine);
  }

  consider(machine: Machine, cost: number, load: number, grade: number): void {
    this.looked += 1;
    if (!admits(machine, this.#request) || this.#preference.refuses(machine)) return;
    const rank = this.#preference.rank(machine);
    if (!this.#better(rank, cost, load, grade, machine)) return;
    this.best = machine;
    this.#rank = rank;
    this.#cost = cost;
    this.#load = load;
    this.#grade = grade;
  }

  #better(rank: number, cost: number, load: number, grade: number, machine: Machine): boolean {
    if (rank !== this.#rank) return rank < this.#rank;
    if (cost !== this.#cost) return cost < this.#cost;
    if (load !== this.#load) return load < this.#load;
    if (grade !== this.#grade) return grade > this.#grade;
    return this.best === undefined || machine.id < this.best.id;
  }
}

/** Placement, image and features: what does not depend on what is free. */
export function wouldSuit(machine: Machine, request: OfferRequest): boolean {
  const { worker } = machine;
  const { regions, workers, providers, avoid } = request.placement;
  if (machine.unpayable.has(request.currency)) return false;
  if (request.image !== null && !machine.images.has(request.image)) return false;
  if (!request.features.every((feature) => machine.features.has(feature))) return false;
  if (regions !== undefined && !regions.includes(worker.offer?.region ?? "")) return false;
  if (workers !== undefined && !workers.includes(worker.id)) return false;
  if (providers !== undefined && !providers.includes(worker.providerId)) return false;
  return avoid === undefined || !(avoid.includes(worker.id) || avoid.includes(worker.providerId));
}

export function affordable(machine: Machine, request: OfferRequest): boolean {
  const { offer } = machine.worker;
  if (offer === null) return false;
  const rate = rateOf(offer, request.needs, request.currency);
  return rate !== null && rate <= request.rateMax && egressSuits(machine, request);
}

function namedCandidates(
  machines: ReadonlyMap<WorkerId, Machine>,
  workersByImage: ReadonlyMap<string, ReadonlySet<Machine>>,
  request: OfferRequest,
): Iterable<Machine> | undefined {
  const { workers } = request.placement;
  if (workers !== undefined) return workers.flatMap((id) => machines.get(id) ?? []);
  if (request.image === null) return undefined;
  const listed = workersByImage.get(request.image);
  if (listed === undefined) return [];
  return listed.size <= NAMED_CANDIDATES_MAX ? listed : undefined;
}

function* classesFor(market: Market, request: OfferRequest): Iterable<OfferClass> {
  const { needs, currency } = request;
  if (needs.gpus === 0) {
    yield* market.cpu.get(currency)?.values() ?? [];
    return;
  }
  if (needs.gpuModel === null) {
    yield* market.anyGpu.get(currency)?.values() ?? [];
    return;
  }
  for (const [model, lists] of market.gpuModels.get(currency) ?? []) {
    if (gpuModelMatches(needs.gpuModel, model)) yield* lists.values();
  }
}

/** Micro-units an hour, not rounded: for the order alone; {@link affordable} decides exactly. */
function costOf(machine: Machine, request: OfferRequest): number | undefined {
  const { offer } = machine.worker;
  const { needs, currency } = request;
  const price = needs.gpus > 0 ? offer?.pricePerGpuHour : offer?.pricePerCpuHour;
  if (price === undefined || price.currency !== currency) return undefined;
  return priceCost(Number(price.amount), needs) + extrasCost(extrasOf(machine, request), needs);
}

function priceCost(price: number, needs: Needs): number {
  return needs.gpus > 0 ? needs.gpus * price : (needs.cpuMilli * price) / 1000;
}

function extrasCost({ cpu, memory, disk }: Extras, needs: Needs): number {
  return (cpu * needs.cpuMilli) / 1000 + (memory * needs.memoryMiB) / 1024 + (disk * needs.diskMiB) / 1024;
}

function extrasOf(
  { worker: { offer } }: Machine,
  { needs: { gpus } }: { readonly needs: Pick<Needs, "gpus"> },
): Extras {
  return {
    cpu: gpus > 0 ? Number(offer?.pricePerGpuJobCpuHour?.amount ?? 0) : 0,
    memory: Number(offer?.pricePerMemoryGiBHour?.amount ?? 0),
    disk: Number(offer?.pricePerDiskGiBHour?.amount ?? 0),
  };
}

/** The class of offers that ask the same beside their first price; of those that ask something of their own when there are many of them. */
function classIn(lists: PriceLists, extras: Extras): OfferClass {
  const own = `${extras.cpu} ${extras.memory} ${extras.disk}`;
  const isOwn = lists.has(own) || lists.size < PRICE_LISTS_MAX;
  const key = isOwn ? own : MIXED;
  let found = lists.get(key);
  if (found === undefined) lists.set(key, (found = { key, lists, extras: isOwn ? extras : null, buckets: new Map() }));
  return found;
}

function insertEntries(market: Market, machine: Machine): void {
  const { offer } = machine.worker;
  if (offer === null) return;
  const freeCpuMilli = machine.cpuMilli - machine.usedCpuMilli;
  const freeMemoryMiB = offer.memoryMiB - machine.usedMemoryMiB;
  if (freeCpuMilli <= 0 || freeMemoryMiB <= 0) return;
  const entries: OfferEntry[] = [];
  const add = (classes: Map<string, PriceLists>, name: string, gpus: number, price: bigint): void => {
    let lists = classes.get(name);
    if (lists === undefined) classes.set(name, (lists = new Map()));
    const owner = classIn(lists, extrasOf(machine, { needs: { gpus } }));
    entries.push(insertEntry(owner, machine, gpus, log2(freeCpuMilli), log2(freeMemoryMiB), Number(price)));
  };
  // What asks a part of its rate in another currency suits nobody.
  const isOneCurrency = (currency: string, ...others: readonly (Money | undefined)[]): boolean =>
    [...others, offer.pricePerMemoryGiBHour, offer.pricePerDiskGiBHour].every(
      (price) => price === undefined || price.currency === currency,
    );
  if (isOneCurrency(offer.pricePerCpuHour.currency)) {
    add(market.cpu, offer.pricePerCpuHour.currency, 0, offer.pricePerCpuHour.amount);
  }
  const gpuCurrency = offer.pricePerGpuHour?.currency ?? "";
  const hasGpus = offer.gpus.length > 0 && isOneCurrency(gpuCurrency, offer.pricePerGpuJobCpuHour);
  if (offer.pricePerGpuHour !== undefined && hasGpus) {
    const { currency, amount } = offer.pricePerGpuHour;
    const byModel = new Map<string, number>();
    let free = 0;
    for (const gpu of offer.gpus) {
      if (!gpuIsFree(machine, gpu.uuid)) continue;
      free += 1;
      byModel.set(gpu.model, (byModel.get(gpu.model) ?? 0) + 1);
    }
    if (free > 0) add(market.anyGpu, currency, free, amount);
    let models = market.gpuModels.get(currency);
    if (models === undefined) market.gpuModels.set(currency, (models = new Map()));
    for (const model of byModel.keys()) {
      // A model that is asked for by one word may be found under several names on one worker: count all of its free GPUs.
      add(models, model, free, amount);
    }
  }
  market.entries.set(machine.id, entries);
}

function insertEntry(
  owner: OfferClass,
  machine: Machine,
  gpus: number,
  cpuLog: number,
  memoryLog: number,
  price: number,
): OfferEntry {
  const key = (cpuLog * LOGS + memoryLog) * GPUS + gpus;
  let bucket = owner.buckets.get(key);
  if (bucket === undefined) owner.buckets.set(key, (bucket = { key, gpus, cpuLog, memoryLog, entries: [] }));
  const entry = { machine, owner, bucket, price, load: machineLoad(machine), grade: gradeOf(machine.worker) };
  bucket.entries.splice(positionOf(bucket.entries, entry), 0, entry);
  return entry;
}

function removeEntries(market: Market, machine: Machine): void {
  const entries = market.entries.get(machine.id);
  if (entries === undefined) return;
  for (const entry of entries) {
    const { bucket, owner } = entry;
    bucket.entries.splice(positionOf(bucket.entries, entry), 1);
    if (bucket.entries.length === 0) owner.buckets.delete(bucket.key);
    // Price lists come and go with those who ask them.
    if (owner.buckets.size === 0) owner.lists.delete(owner.key);
  }
  market.entries.delete(machine.id);
}

function positionOf(entries: readonly OfferEntry[], entry: OfferEntry): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (precedes(entries[middle] as OfferEntry, entry)) low = middle + 1;
    else high = middle;
  }
  return low;
}

function precedes(a: OfferEntry, b: OfferEntry): boolean {
  if (a.price !== b.price) return a.price < b.price;
  if (a.load !== b.load) return a.load < b.load;
  if (a.grade !== b.grade) return a.grade > b.grade;
  return a.machine.id < b.machine.id;
}

/** Whole binary logarithm of a whole number of at least 1. */
function log2(value: number): number {
  return value >= 2 ** 31 ? Math.floor(Math.log2(value)) : 31 - Math.clz32(value);
}
