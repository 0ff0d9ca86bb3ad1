// The job specification: what a consumer writes. Strict: an unknown field is an error that names it.
import { z } from "zod";
import { egressBytesOf, egressHoldFor, holdFor } from "../domain/index.ts";
import { accountIdSchema, jobIdSchema, moneySchema, nameSchema, regionSchema, workerIdSchema } from "./common.ts";
import { parseImageRef, uploadedImage } from "./image-ref.ts";

const ENV_COUNT_MAX = 200;
const ENV_VALUE_LENGTH_MAX = 32_768;
const SECRETS_COUNT_MAX = 50;
const SECRET_LENGTH_MAX = 32_768;
/** Of all secrets of a job as JSON, names included: they travel sealed beside the specification, in the same control message. */
const SECRETS_BYTES_MAX = 65_536;
const COMMAND_PARTS_MAX = 500;
const COMMAND_PART_LENGTH_MAX = 32_768;
/**
 * Characters of command, environment, inputs and outputs together. They travel in one control message (at most 1 MiB, where a character takes
 * up to 6 bytes), and a worker may be sent many of those at once. Larger data is an input.
 */
const TEXT_LENGTH_MAX = 65_536;
const DAY_S = 86_400;

/** What a program can be given, and JSON can carry: no NUL, no half of a surrogate pair. */
const programText = z
  .string()
  .regex(/^[^\0\p{Surrogate}]*$/u, "text for a program is Unicode without NUL characters; bytes go into an input");

const containerPath = programText
  .max(1024)
  .regex(/^\//, "a path inside the container begins with /")
  .refine((path) => !path.split("/").includes(".."), "a path may not contain ..");

/** Where the agent or the container's runtime put things of their own; below the first four an input may lie. */
const OWN_FOLDERS = ["/work", "/out", "/tmp", "/run"];
const OWN_TREES = ["/proc", "/sys", "/dev", "/qubix", "/run/secrets"];

const inputPath = containerPath
  .refine(
    (path) =>
      path !== "/" &&
      !path
        .slice(1)
        .split("/")
        .some((part) => part === "" || part === "."),
    "an input lies at a plain path, e.g. /data, without . or doubled or final /",
  )
  .refine(
    (path) => !OWN_FOLDERS.includes(path) && !OWN_TREES.some((tree) => path === tree || path.startsWith(`${tree}/`)),
    "this place is taken: put the input elsewhere, e.g. at /data or /work/data",
  );

const outputPattern = containerPath.refine(
  (path) => path === "/out" || path.startsWith("/out/"),
  "outputs lie under /out, e.g. /out/**",
);

const envSchema = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "an environment variable is letters, digits and _"),
    programText.max(ENV_VALUE_LENGTH_MAX),
  )
  .refine((env) => Object.keys(env).length <= ENV_COUNT_MAX, `at most ${ENV_COUNT_MAX} variables`)
  .refine(
    (env) => Object.keys(env).every((key) => !key.startsWith("QUBIX_")),
    "names that begin with QUBIX_ are the network's own",
  );

/** Files under /run/secrets. Kept sealed, never shown again. */
const secretsSchema = z
  .record(
    z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/, "a secret's name is a file name of letters, digits, _ . -"),
    programText.max(SECRET_LENGTH_MAX),
  )
  .refine((secrets) => Object.keys(secrets).length <= SECRETS_COUNT_MAX, `at most ${SECRETS_COUNT_MAX} secrets`)
  .refine(
    (secrets) => new TextEncoder().encode(JSON.stringify(secrets)).length <= SECRETS_BYTES_MAX,
    `secrets are at most ${SECRETS_BYTES_MAX} bytes together, as JSON; larger data is an input`,
  );

export const gpuRequestSchema = z.strictObject({
  count: z.number().int().min(0).max(64).default(0),
  model: z.string().min(1).max(100).optional(),
  memoryMiBMin: z.number().int().min(1).max(4_194_304).optional(),
});

export const resourcesSchema = z.strictObject({
  gpus: gpuRequestSchema.prefault({}),
  /** Cores, in thousandths at the finest. */
  cpus: z.number().min(0.1).max(1024).multipleOf(0.001).default(1),
  memoryMiB: z.number().int().min(16).max(16_777_216).default(1024),
  diskMiB: z.number().int().min(16).max(67_108_864).default(4096),
});

export const placementSchema = z.strictObject({
  regions: z.array(regionSchema).min(1).max(50).optional(),
  workers: z.array(workerIdSchema).min(1).max(100).optional(),
  /** Accounts of providers. */
  providers: z.array(accountIdSchema).min(1).max(100).optional(),
  /** Workers and providers never to be used. */
  avoid: z
    .array(z.union([workerIdSchema, accountIdSchema]))
    .max(100)
    .optional(),
});

export const inputSchema = z
  .strictObject({ upload: z.string().max(200).optional(), url: z.string().max(4096).optional(), to: inputPath })
  .refine((input) => (input.upload === undefined) !== (input.url === undefined), "an input has either upload or url");

/** Runs of a `majority`, the job's own among them. */
const VERIFY_REPLICAS = 3;
const VERIFY_REPLICAS_MAX = 9;

/** How the job's result is checked by running it again on another provider's machine of the same GPU model, with the same image. */
export const verificationSchema = z.strictObject({
  /** spot-check: now and then, a random part of it. majority: always, whole, so often. adaptive: by its worker's history and its price. */
  mode: z.enum(["none", "spot-check", "majority", "adaptive"]).default("none"),
  /** Of `majority` (and of `adaptive`, where it comes to one): runs in all. */
  replicas: z
    .number()
    .int()
    .min(3)
    .max(VERIFY_REPLICAS_MAX)
    .refine((count) => count % 2 === 1, "an odd number, so that there is a majority")
    .default(VERIFY_REPLICAS),
  /** Numbers in outputs (npy, npz, safetensors, json, csv, text) may differ by absolute + relative × the larger of the two. Without it outputs are equal byte for byte. */
  tolerance: z
    .strictObject({ relative: z.number().min(0).max(1).default(0), absolute: z.number().min(0).max(1e300).default(0) })
    .optional(),
});

export type Tolerance = NonNullable<z.output<typeof verificationSchema>["tolerance"]>;

export const jobSpecSchema = z
  .strictObject({
    name: nameSchema.optional(),
    image: z
      .string()
      .refine(
        (text) => parseImageRef(text) !== undefined || uploadedImage(text) !== undefined,
        "not an image reference, e.g. docker.io/library/python:3.12, nor upload:ID of an image archive (docker save)",
      ),
    /** For a private registry; kept sealed, never shown again. */
    registryAuth: z
      .strictObject({ username: programText.min(1).max(255), password: programText.min(1).max(SECRET_LENGTH_MAX) })
      .optional(),
    command: z.array(programText.max(COMMAND_PART_LENGTH_MAX)).max(COMMAND_PARTS_MAX).default([]),
    env: envSchema.default({}),
    secrets: secretsSchema.default({}),
    inputs: z
      .array(inputSchema)
      .max(100)
      .refine(
        (inputs) => !nested(inputs.map(({ to }) => to)),
        "two inputs lie at the same place, or one inside another",
      )
      .default([]),
    outputs: z.array(outputPattern).max(100).default(["/out/**"]),
    resources: resourcesSchema.prefault({}),
    checkpoint: z
      .strictObject({
        intervalS: z.number().int().min(1).max(DAY_S).default(30),
        keep: z.number().int().min(1).max(10).default(3),
        /** For programs that cannot save themselves: every interval the worker stops the sandbox, saves its memory and files, and lets it go on. */
        transparent: z.boolean().optional(),
      })
      .prefault({}),
    /** Begin from a committed checkpoint of another job of the same account: that `seq`, or its newest. */
    fromCheckpoint: z.strictObject({ job: jobIdSchema, seq: z.number().int().min(1).optional() }).optional(),
    standby: z.enum(["cold", "hot", "mirror"]).default("cold"),
    verification: verificationSchema.prefault({}),
    failover: z.enum(["speculative", "exclusive"]).optional(),
    isolation: z.enum(["standard", "sandboxed"]).default("standard"),
    network: z.enum(["none", "egress"]).default("none"),
    placement: placementSchema.prefault({}),
    shmMiB: z.number().int().min(1).max(1_048_576).default(64),
    stopGraceS: z.number().int().min(0).max(300).default(10),
    priceMaxPerHour: moneySchema,
    /** All that the job may cost, standbys and fee included: it is asked to save before, and is stopped there. */
    budgetMax: moneySchema.optional(),
    /** The most that is paid for of what it sends over its network, and the highest price of it, where that has a price of its own; the two go together. */
    egressGiBMax: z.number().min(0.001).max(1_000_000).optional(),
    egressPriceMaxPerGiB: moneySchema.optional(),
    durationMaxS: z
      .number()
      .int()
      .min(1)
      .max(30 * DAY_S),
    queueS: z
      .number()
      .int()
      .min(1)
      .max(30 * DAY_S)
      .default(3600),
    retries: z.number().int().min(0).max(100).default(3),
    failoversMax: z.number().int().min(0).max(1000).default(10),
    /** Without signs of progress for so long it is failed over; 0 for never. */
    stallAfterS: z.number().int().min(0).max(DAY_S).default(300),
  })
  .refine(
    (spec) => textLength(spec) <= TEXT_LENGTH_MAX,
    `command, env, inputs and outputs are at most ${TEXT_LENGTH_MAX} characters together; larger data is an input (qubix run --input)`,
  )
  .refine((spec) => spec.budgetMax === undefined || spec.budgetMax.currency === spec.priceMaxPerHour.currency, {
    message: "budgetMax is in the currency of priceMaxPerHour",
    path: ["budgetMax"],
  })
  .refine((spec) => (spec.egressGiBMax === undefined) === (spec.egressPriceMaxPerGiB === undefined), {
    message: "egressGiBMax and egressPriceMaxPerGiB go together: how much is paid for, and at which price at most",
    path: ["egressGiBMax"],
  })
  .refine((spec) => spec.egressGiBMax === undefined || spec.network === "egress", {
    message: "a job without a network sends nothing: add network: egress, or leave egressGiBMax out",
    path: ["egressGiBMax"],
  })
  .refine(
    ({ egressPriceMaxPerGiB: most, priceMaxPerHour }) =>
      most === undefined || most.currency === priceMaxPerHour.currency,
    { message: "egressPriceMaxPerGiB is in the currency of priceMaxPerHour", path: ["egressPriceMaxPerGiB"] },
  )
  .transform((spec) => ({
    ...spec,
    failover: spec.failover ?? (spec.network === "egress" ? ("exclusive" as const) : ("speculative" as const)),
  }));

/** A specification with every default filled in; money as `bigint`. */
export type JobSpec = z.output<typeof jobSpecSchema>;
/** What a person or program may write. */
export type JobSpecInput = z.input<typeof jobSpecSchema>;

function textLength(spec: {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly inputs: readonly { readonly to: string }[];
  readonly outputs: readonly string[];
}): number {
  let length = 0;
  for (const part of spec.command) length += part.length;
  for (const [key, value] of Object.entries(spec.env)) length += key.length + value.length;
  for (const { to } of spec.inputs) length += to.length;
  for (const pattern of spec.outputs) length += pattern.length;
  return length;
}

/** With a closing slash, a path sorts right before what lies inside it. */
function nested(paths: readonly string[]): boolean {
  const sorted = paths.map((path) => `${path}/`).sort();
  return sorted.some((path, index) => sorted[index + 1]?.startsWith(path) ?? false);
}

/** What the specification may name in future but no part of the network does yet; each answers 422 `not_available`. */
export function unavailableFeatures(spec: JobSpec): readonly string[] {
  const named: [boolean, string][] = [
    // Both replicas would trust the one checkpoint.
    [spec.standby === "mirror" && spec.fromCheckpoint !== undefined, "standby: mirror with fromCheckpoint"],
    [spec.inputs.some((input) => input.url !== undefined), "inputs by url"],
    // gVisor with a network needs the machine's own network stack, with a GPU the machine's own driver: neither is the wall that was asked for.
    [spec.isolation === "sandboxed" && spec.network === "egress", "isolation: sandboxed with network: egress"],
    [spec.isolation === "sandboxed" && spec.resources.gpus.count > 0, "isolation: sandboxed with GPUs"],
    ...unavailableTransparent(spec),
    // A paused gVisor is not a frozen one: what is killed in it may still act.
    [
      spec.isolation === "sandboxed" && spec.failover === "exclusive" && spec.network !== "egress",
      "isolation: sandboxed with failover: exclusive",
    ],
  ];
  return named.filter(([present]) => present).map(([, feature]) => feature);
}

/** Memory is saved and restored by gVisor, which pauses nothing outside of it: what is not listed here was tried, the rest was not. */
function unavailableTransparent(spec: JobSpec): readonly [boolean, string][] {
  const asked = spec.checkpoint.transparent === true;
  return [
    [asked && spec.isolation !== "sandboxed", "checkpoint: transparent without isolation: sandboxed"],
    [asked && spec.failover === "exclusive", "checkpoint: transparent with failover: exclusive"],
    [asked && spec.standby === "mirror", "checkpoint: transparent with standby: mirror"],
    [asked && spec.fromCheckpoint !== undefined, "checkpoint: transparent with fromCheckpoint"],
    [asked && Object.keys(spec.secrets).length > 0, "checkpoint: transparent with secrets"],
  ];
}

/** What no job may be, built or not: two replicas run at once, so nothing that acts outside may be one of them. */
export function isMirrorWithEffects(spec: JobSpec): boolean {
  return spec.standby === "mirror" && (spec.failover === "exclusive" || spec.network === "egress");
}

/** Why a job cannot be run again by somebody else to check it, with what to do; `undefined` where it can, or need not be. */
export function verificationObstacle(spec: JobSpec): string | undefined {
  const { mode } = spec.verification;
  if (mode === "none") return undefined;
  const isNamed = spec.placement.workers !== undefined || spec.placement.providers !== undefined;
  const found: readonly [boolean, string][] = [
    [
      Object.keys(spec.secrets).length > 0 || spec.registryAuth !== undefined,
      "its secrets would be given to another provider. Leave them out",
    ],
    [
      spec.failover === "exclusive" || spec.network === "egress",
      "it may act outside, and would do so again. Leave network: egress and failover: exclusive out",
    ],
    [spec.standby === "mirror", "standby: mirror compares two runs already. Choose one of the two"],
    [spec.checkpoint.transparent === true, "saved memory is not the same elsewhere. Leave checkpoint.transparent out"],
    [
      parseImageRef(spec.image)?.local === true,
      "an image with the tag local may be another one elsewhere. Use an image of a registry, or an archive (upload:ID)",
    ],
    [
      isNamed && mode !== "majority",
      "the network pays for its checks, and only where it chooses who runs them. Leave placement.workers and placement.providers out, or choose majority",
    ],
  ];
  return found.find(([present]) => present)?.[1];
}

/** The most that one run of the job may cost an hour: `majority` shares the cap among all its runs, and `adaptive` may come to that. */
export function runPriceMax({
  verification,
  priceMaxPerHour,
}: Pick<JobSpec, "verification" | "priceMaxPerHour">): bigint {
  const { mode, replicas } = verification;
  return mode === "majority" || mode === "adaptive"
    ? priceMaxPerHour.amount / BigInt(replicas)
    : priceMaxPerHour.amount;
}

/** What of its egress a job pays for, in bytes and in micro-units a GiB at most; `undefined` where it takes no offer that prices egress apart. */
export interface EgressLimit {
  readonly bytesMax: number;
  readonly priceMaxPerGiB: bigint;
}

export function egressLimitOf({
  egressGiBMax,
  egressPriceMaxPerGiB,
}: Pick<JobSpec, "egressGiBMax" | "egressPriceMaxPerGiB">): EgressLimit | undefined {
  if (egressGiBMax === undefined || egressPriceMaxPerGiB === undefined) return undefined;
  return { bytesMax: egressBytesOf(egressGiBMax), priceMaxPerGiB: egressPriceMaxPerGiB.amount };
}

/** All that a job may cost without a budget, which is locked for it: time at its highest price, and egress in full. */
export function fullHoldOf(spec: JobSpec): bigint {
  const limit = egressLimitOf(spec);
  const egress = limit === undefined ? 0n : egressHoldFor(limit.priceMaxPerGiB, limit.bytesMax);
  return holdFor(spec.priceMaxPerHour.amount, spec.durationMaxS) + egress;
}

/** What a worker may offer beyond what every worker can, and what a job that needs it asks for; `earnings`, `direct`, `moves`, `ticks` and `usage` (its ticks tell of traffic), which no job needs, are messages. */
export const WORKER_FEATURES = [
  "sandboxed",
  "egress",
  "secrets",
  "image-upload",
  "image-digest",
  "earnings",
  "proofs",
  "direct",
  "transparent",
  "moves",
  "stalls",
  "exclusive",
  "ticks",
  "usage",
] as const;
export type WorkerFeature = (typeof WORKER_FEATURES)[number];

/** The features a job needs of its worker, in a fixed order. `image-digest` is never needed: who offers it can be told which digest a tag stands for. */
export function featuresOf(spec: JobSpec): readonly WorkerFeature[] {
  const needed: readonly [boolean, WorkerFeature][] = [
    [spec.isolation === "sandboxed", "sandboxed"],
    [spec.network === "egress", "egress"],
    [spec.failover === "exclusive", "exclusive"],
    [Object.keys(spec.secrets).length > 0 || spec.registryAuth !== undefined, "secrets"],
    [uploadedImage(spec.image) !== undefined, "image-upload"],
    [spec.checkpoint.transparent === true, "transparent"],
  ];
  return needed.filter(([present]) => present).map(([, feature]) => feature);
}

const CLASS_PREFIX = "transparent-checkpoint:";
export type TransparentFeature = `${typeof CLASS_PREFIX}${string}`;
export type OfferedFeature = WorkerFeature | TransparentFeature;

/** The feature of a worker that restores what workers of the same class have saved: the same gVisor on processors that can do the same. */
export function transparentFeature(memoryClass: string): TransparentFeature {
  return `${CLASS_PREFIX}${memoryClass}`;
}

/** Which class a worker with these features belongs to; undefined where it takes no transparent checkpoints. */
export function transparentClassOf(features: Iterable<string>): string | undefined {
  for (const feature of features) if (feature.startsWith(CLASS_PREFIX)) return feature.slice(CLASS_PREFIX.length);
  return undefined;
}
