// What the owner may change while the agent runs. `set` wins over what the agent was started with, across restarts, until `set --reset`, or until the
// agent is started with another value of that very setting: who edits the unit file means it.
import type { Money } from "@qubix/shared/domain";
import { problemText, QubixError } from "@qubix/shared/runtime";
import type { Journal } from "../../journal/journal.ts";
import { priceOf, type StartConfig, startConfigSchema } from "../config.ts";
import type { OwnerTerms } from "../offer.ts";

export const SETTABLE = [
  "pricePerGpuHour",
  "pricePerCpuHour",
  "pricePerGpuJobCpuHour",
  "pricePerMemoryGibHour",
  "pricePerDiskGibHour",
  "pricePerEgressGib",
  "currency",
  "standbyPercent",
  "region",
  "cpus",
  "memoryMib",
  "diskMib",
  "localImage",
  "quietHours",
  "maintenance",
  "uplinkMbpsMax",
  "yieldGpu",
  "yieldGpuIgnore",
  "yieldGpuQuietMin",
] as const satisfies readonly (keyof StartConfig)[];
export type SettingName = (typeof SETTABLE)[number];
export type Settings = Pick<StartConfig, SettingName>;

/** The word that takes a setting away: no price for GPUs (they are not offered), all cores, no quiet hours. */
export const NONE = "none";
/** Settings that `none` may take away: those that need not be given at start, and lists. */
const CLEARABLE: ReadonlySet<SettingName> = new Set([
  "pricePerGpuHour",
  "pricePerGpuJobCpuHour",
  "pricePerMemoryGibHour",
  "pricePerDiskGibHour",
  "pricePerEgressGib",
  "cpus",
  "memoryMib",
  "diskMib",
  "localImage",
  "quietHours",
  "maintenance",
  "uplinkMbpsMax",
  "yieldGpuIgnore",
]);
const LISTS: ReadonlySet<SettingName> = new Set(["localImage", "quietHours", "maintenance", "yieldGpuIgnore"]);

/** What `set` said, beside what the agent had been started with then. JSON: null stands for "not given". */
interface Override {
  readonly value: unknown;
  readonly over: unknown;
}

export interface SettingChange {
  readonly name: SettingName;
  readonly from: unknown;
  readonly to: unknown;
}

export interface SettingsKeeper {
  /** The agent's settings; those that can be set read as they are at that moment. */
  readonly live: StartConfig;
  /** Those that `set` holds. */
  overridden(): readonly SettingName[];
  /** Durable when it returns what changed. Throws `config_invalid`, and then nothing has changed. */
  set(values: Readonly<Record<string, unknown>>, reset: readonly string[]): readonly SettingChange[];
}

const KEY_SETTINGS = "settings";

/** `dropped` is told of what `set` had said and the start now says otherwise. */
export function createSettings(
  journal: Pick<Journal, "get" | "set">,
  config: StartConfig,
  dropped: (name: SettingName) => void,
): SettingsKeeper {
  let overrides = loadOverrides(journal, config, dropped);
  const current = (name: SettingName): unknown => {
    const override = overrides.get(name);
    return override === undefined ? config[name] : (override.value ?? undefined);
  };
  const live = { ...config };
  for (const name of SETTABLE) Object.defineProperty(live, name, { get: () => current(name), enumerable: true });
  return {
    live,
    overridden: () => SETTABLE.filter((name) => overrides.has(name)),
    set(values, reset) {
      const next = new Map(overrides);
      for (const name of reset) next.delete(settingOf(name));
      for (const [key, raw] of Object.entries(values)) {
        const name = settingOf(key);
        next.set(name, { value: validated(name, raw) ?? null, over: config[name] ?? null });
      }
      const before = SETTABLE.map((name) => current(name) ?? null);
      journal.set(KEY_SETTINGS, next.size === 0 ? undefined : Object.fromEntries(next));
      overrides = next;
      return SETTABLE.flatMap((name, at) => {
        const [from, to] = [before[at], current(name) ?? null];
        return same(from, to) ? [] : [{ name, from, to }];
      });
    },
  };
}

/** As the offer needs them. `diskMiB`: what is offered where the owner does not say. */
export function termsOf(settings: Settings, diskMiB: number | undefined): OwnerTerms {
  const { currency } = settings;
  const optional = (price: string | undefined): Money | undefined =>
    price === undefined ? undefined : priceOf(price, currency);
  return {
    cpus: settings.cpus,
    memoryMiB: settings.memoryMib,
    diskMiB: settings.diskMib ?? diskMiB,
    region: settings.region,
    pricePerCpuHour: priceOf(settings.pricePerCpuHour, currency),
    pricePerGpuHour: optional(settings.pricePerGpuHour),
    pricePerGpuJobCpuHour: optional(settings.pricePerGpuJobCpuHour),
    pricePerMemoryGiBHour: optional(settings.pricePerMemoryGibHour),
    pricePerDiskGiBHour: optional(settings.pricePerDiskGibHour),
    pricePerEgressGiB: optional(settings.pricePerEgressGib),
    standbyPercent: settings.standbyPercent,
    localImages: settings.localImage,
  };
}

/** `pricePerGpuHour` → `price-per-gpu-hour`. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function loadOverrides(
  journal: Pick<Journal, "get">,
  config: StartConfig,
  dropped: (name: SettingName) => void,
): ReadonlyMap<SettingName, Override> {
  const stored = (journal.get(KEY_SETTINGS) ?? {}) as Partial<Record<string, Override>>;
  const kept = new Map<SettingName, Override>();
  for (const name of SETTABLE) {
    const override = stored[name];
    if (override === undefined) continue;
    if (same(override.over, config[name] ?? null)) kept.set(name, override);
    else dropped(name);
  }
  return kept;
}

/** The setting of that name, in either spelling. */
function settingOf(name: string): SettingName {
  const found = SETTABLE.find((one) => one === name || flagOf(one) === name);
  if (found !== undefined) return found;
  throw new QubixError(
    "config_invalid",
    `"${name}" cannot be set while the agent runs; these can: ${SETTABLE.map(flagOf).join(", ")}`,
    { category: "user" },
  );
}

/** By the very schema that the flags of `start` go through. */
function validated(name: SettingName, raw: unknown): unknown {
  if (isNone(raw)) {
    if (LISTS.has(name)) return [];
    if (CLEARABLE.has(name)) return undefined;
    throw new QubixError("config_invalid", `--${flagOf(name)} cannot be ${NONE}`, { category: "user" });
  }
  const parsed = startConfigSchema.shape[name].safeParse(raw);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const problem = issue === undefined ? "not valid" : problemText(issue, raw);
  throw new QubixError("config_invalid", `--${flagOf(name)}: ${problem}`, { category: "user" });
}

function isNone(raw: unknown): boolean {
  return raw === NONE || (Array.isArray(raw) && raw.length === 1 && raw[0] === NONE);
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
