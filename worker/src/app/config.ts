// The agent's settings: flags, then QUBIX_* variables, then the file given with --config, then these defaults.
import { isIP } from "node:net";
import { z } from "zod";
import type { Money } from "@qubix/shared/domain";
import { currencySchema, parseImageRef, REGISTRIES_ALLOWED_DEFAULT, regionSchema } from "@qubix/shared/protocol";
import { LOG_LEVELS } from "@qubix/shared/runtime";
import { parseMaintenance } from "./owner/maintenance.ts";
import { parseQuietHours } from "./owner/quiet-hours.ts";
import { MEMORY_RUNTIME_DEFAULT, SANDBOX_RUNTIME_DEFAULT } from "../runner/host-config.ts";
import { DNS_DEFAULT } from "../runner/network/host-network.ts";
import { isPublicAddress } from "../runner/network/ranges.ts";

const MICRO_DIGITS = 6;
/** The system's resolver asks no more than these. */
const RESOLVERS_MAX = 3;
const PORT_MAX = 65_535;
/** A chunk of 1 MiB then takes a minute and a half. */
const UPLINK_MBPS_LEAST = 0.1;
const UPLINK_MBPS_MOST = 100_000;

/** Flags that may be given several times; in a variable they are separated by commas. */
const list = z.union([
  z.array(z.string()),
  z.string().transform((text) =>
    text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== ""),
  ),
]);

const price = z
  .union([z.string(), z.number().transform(String)])
  .refine(
    (text) => /^[0-9]{1,9}(\.[0-9]{1,6})?$/.test(text),
    "a price is a decimal number with at most 6 places, e.g. 0.10",
  );

const imageList = list.refine(
  (names) => names.every((name) => parseImageRef(name)?.local === true),
  "each is an image on this machine with the tag local, e.g. my/image:local; others are pulled from their registry",
);

const quietHours = list.superRefine((windows, context) => {
  const parsed = parseQuietHours(windows.join(","));
  if (parsed.kind === "invalid") context.addIssue({ code: "custom", message: parsed.why });
});

const maintenance = list.superRefine((windows, context) => {
  const parsed = parseMaintenance(windows);
  if (parsed.kind === "invalid") context.addIssue({ code: "custom", message: parsed.why });
});

const resolverList = list.refine(
  (addresses) => addresses.length > 0 && addresses.length <= RESOLVERS_MAX && addresses.every(isPublicAddress),
  `name 1 to ${RESOLVERS_MAX} resolvers by public IPv4 addresses, e.g. 9.9.9.9; jobs cannot reach those of a private network`,
);

export const startConfigSchema = z.object({
  dataDir: z.string().min(1),
  url: z
    .url({ protocol: /^https?$/, error: "not a URL such as https://qubix.example" })
    .transform((url) => new URL(url).origin)
    .optional(),
  pricePerCpuHour: price.default("0.10"),
  pricePerGpuHour: price.optional(),
  /** Of a core, for jobs with GPUs; without it their cores are in the price of the GPU. */
  pricePerGpuJobCpuHour: price.optional(),
  /** Without them memory and disk are in the other prices. */
  pricePerMemoryGibHour: price.optional(),
  pricePerDiskGibHour: price.optional(),
  /** Of a GiB that a job's container sends; without it that is in the other prices. */
  pricePerEgressGib: price.optional(),
  currency: currencySchema.default("USD"),
  standbyPercent: z.coerce.number().int().min(0).max(100).default(25),
  region: regionSchema.default("unknown"),
  cpus: z.coerce.number().min(0.1).max(4096).optional(),
  memoryMib: z.coerce.number().int().min(16).optional(),
  diskMib: z.coerce.number().int().min(16).optional(),
  localImage: imageList.default([]),
  quietHours: quietHours.default([]),
  maintenance: maintenance.default([]),
  /** Megabits (10⁶) a second that checkpoints, outputs and other bulk may take of the line outwards. Less than the least would not carry a job's state. */
  uplinkMbpsMax: z.coerce.number().min(UPLINK_MBPS_LEAST).max(UPLINK_MBPS_MOST).optional(),
  registry: list.default([...REGISTRIES_ALLOWED_DEFAULT]),
  /** Also where they lie on this machine or in its network; `HOST` or `HOST:PORT`. */
  allowPrivateRegistry: list.transform((names) => names.map((name) => name.toLowerCase())).prefault([]),
  /** For all images that are pulled or shipped; a share of the disk unless said. */
  imageDiskMib: z.coerce.number().int().min(1).optional(),
  // By default a machine whose owner sits down at it stops being rented out: nobody installs a worker a second time that made his own card unusable.
  yieldGpu: z.stringbool().or(z.boolean()).default(true),
  yieldGpuIgnore: list.default([]),
  yieldGpuQuietMin: z.coerce.number().min(0).max(1440).default(10),
  /** For the first start: redeemed when there is no identity yet, then of no use. */
  token: z.string().min(1).optional(),
  name: z.string().min(1).optional(),
  metricsListen: z
    .string()
    .refine((text) => parseListen(text) !== undefined, "an address and port such as 127.0.0.1:9420, or a port alone")
    .optional(),
  /** Checkpoints go straight from a job's primary to its standby where the two can reach each other. */
  direct: z.stringbool().or(z.boolean()).default(true),
  /** Where other workers connect for that. Port 0: any that is free; the orchestrator tells those whom it concerns. */
  directListen: z
    .string()
    .refine(
      (text) => parseDirectListen(text) !== undefined,
      "an address and port such as 0.0.0.0:40001, or a port alone",
    )
    .default("0.0.0.0:0"),
  egress: z.stringbool().or(z.boolean()).default(true),
  dns: resolverList.default([...DNS_DEFAULT]),
  dockerSocket: z.string().min(1).default("/var/run/docker.sock"),
  /** The Engine's name for gVisor. */
  sandboxRuntime: z.string().min(1).default(SANDBOX_RUNTIME_DEFAULT),
  /** Its name for the runtime that can also restore a sandbox from its memory. */
  memoryRuntime: z.string().min(1).default(MEMORY_RUNTIME_DEFAULT),
  /** The program that proves GPUs, where it is not in one of its usual places. */
  gpuProofProgram: z.string().min(1).optional(),
  json: z.stringbool().or(z.boolean()).default(false),
  logLevel: z.enum(LOG_LEVELS).default("info"),
});
export type StartConfig = z.output<typeof startConfigSchema>;

/** `9420` is on the loopback alone; any other address has to be named. Undefined for what is no address. */
export function parseListen(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:(.*):)?(\d{1,5})$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port > PORT_MAX) return undefined;
  return { host: (match[1] ?? "127.0.0.1").replace(/^\[(.*)\]$/, "$1"), port };
}

/** `40001` is on all addresses; a host has to be an IP address, because that is what other workers are told. */
export function parseDirectListen(text: string): { readonly host: string; readonly port: number } | undefined {
  const at = parseListen(/^\d+$/.test(text) ? `0.0.0.0:${text}` : text);
  return at !== undefined && isIP(at.host) !== 0 ? at : undefined;
}

/** `"0.10"` → 100,000 micro-units. */
export function priceOf(text: string, currency: string): Money {
  const [whole = "0", fraction = ""] = text.split(".");
  return { amount: BigInt(whole + fraction.padEnd(MICRO_DIGITS, "0")), currency };
}
