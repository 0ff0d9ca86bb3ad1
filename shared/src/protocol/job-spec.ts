// The job specification: what a consumer writes. Strict: an unknown field is an error that names it.
import { z } from "zod";
import { accountIdSchema, moneySchema, nameSchema, regionSchema, workerIdSchema } from "./common.ts";
import { parseImageRef } from "./image-ref.ts";

const ENV_COUNT_MAX = 200;
const ENV_VALUE_LENGTH_MAX = 32_768;
const COMMAND_PARTS_MAX = 500;
const COMMAND_PART_LENGTH_MAX = 32_768;
const DAY_S = 86_400;

const containerPath = z
  .string()
  .max(1024)
  .regex(/^\/[^\u0000]*$/, "a path inside the container begins with /")
  .refine((path) => !path.split("/").includes(".."), "a path may not contain ..");

const outputPattern = containerPath.refine(
  (path) => path === "/out" || path.startsWith("/out/"),
  "outputs lie under /out, e.g. /out/**",
);

const envSchema = z
  .record(
    z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, "an environment variable is letters, digits and _"),
    z.string().max(ENV_VALUE_LENGTH_MAX),
  )
  .refine((env) => Object.keys(env).length <= ENV_COUNT_MAX, `at most ${ENV_COUNT_MAX} variables`)
  .refine(
    (env) => Object.keys(env).every((key) => !key.startsWith("QUBIX_")),
    "names that begin with QUBIX_ are the network's own",
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
  .strictObject({ upload: z.string().max(200).optional(), url: z.string().max(4096).optional(), to: containerPath })
  .refine((input) => (input.upload === undefined) !== (input.url === undefined), "an input has either upload or url");

export const jobSpecSchema = z
  .strictObject({
    name: nameSchema.optional(),
    image: z
      .string()
      .refine(
        (text) => parseImageRef(text) !== undefined,
        "not an image reference, e.g. docker.io/library/python:3.12",
      ),
    command: z.array(z.string().max(COMMAND_PART_LENGTH_MAX)).max(COMMAND_PARTS_MAX).default([]),
    env: envSchema.default({}),
    secrets: z.record(z.string(), z.string()).default({}),
    inputs: z.array(inputSchema).max(100).default([]),
    outputs: z.array(outputPattern).max(100).default(["/out/**"]),
    resources: resourcesSchema.prefault({}),
    checkpoint: z
      .strictObject({
        intervalS: z.number().int().min(1).max(DAY_S).default(30),
        keep: z.number().int().min(1).max(10).default(3),
      })
      .prefault({}),
    standby: z.enum(["cold", "hot", "mirror"]).default("cold"),
    failover: z.enum(["speculative", "exclusive"]).optional(),
    isolation: z.enum(["standard", "sandboxed"]).default("standard"),
    network: z.enum(["none", "egress"]).default("none"),
    placement: placementSchema.prefault({}),
    shmMiB: z.number().int().min(1).max(1_048_576).default(64),
    stopGraceS: z.number().int().min(0).max(300).default(10),
    priceMaxPerHour: moneySchema,
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
    stallAfterS: z.number().int().min(1).max(DAY_S).default(300),
  })
  .transform((spec) => ({
    ...spec,
    failover: spec.failover ?? (spec.network === "egress" ? ("exclusive" as const) : ("speculative" as const)),
  }));

/** A specification with every default filled in; money as `bigint`. */
export type JobSpec = z.output<typeof jobSpecSchema>;
/** What a person or program may write. */
export type JobSpecInput = z.input<typeof jobSpecSchema>;

/** What the specification may name in future but no part of the network does yet; each answers 422 `not_available`. */
export function unavailableFeatures(spec: JobSpec): readonly string[] {
  const named: [boolean, string][] = [
    [spec.standby === "mirror", "standby: mirror"],
    [spec.failover === "exclusive", "failover: exclusive"],
    [spec.isolation === "sandboxed", "isolation: sandboxed"],
    [spec.network === "egress", "network: egress"],
    [Object.keys(spec.secrets).length > 0, "secrets"],
    [spec.inputs.some((input) => input.url !== undefined), "inputs by url"],
    [spec.stallAfterS !== 300, "stallAfterS"],
  ];
  return named.filter(([present]) => present).map(([, feature]) => feature);
}
