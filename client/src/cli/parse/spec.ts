// A job's specification from a file and flags: flags win. The orchestrator judges it; here only what people write shorter is spelt out.
import { readFile } from "node:fs/promises";
import { text as textOf } from "node:stream/consumers";
import { usageError } from "../exit-codes.ts";
import type { SecretFields, SecretFlags } from "./secrets.ts";
import {
  type LocalInput,
  parseCheckpointName,
  parseCount,
  parseDecimal,
  parseDurationS,
  parseInput,
  parseMemoryMiB,
  parseMoney,
  parsePairs,
} from "./values.ts";

/** A specification is small; what is larger is not one. */
const MIB_PER_GIB = 1024;
const SPEC_FILE_BYTES_MAX = 1024 * 1024;

/** Flags of `run` and `quote` that make up a specification, as commander gives them. */
export interface SpecFlags extends SecretFlags {
  readonly image?: string;
  /** An archive on this disk, as `docker save` writes it; instead of `image`. */
  readonly imageFile?: string;
  readonly name?: string;
  readonly env?: readonly string[];
  readonly cpus?: string;
  readonly memory?: string;
  readonly disk?: string;
  readonly gpus?: string;
  readonly gpuModel?: string;
  readonly gpuMemory?: string;
  readonly priceMax?: string;
  readonly duration?: string;
  readonly budget?: string;
  readonly standby?: string;
  readonly verify?: string;
  readonly verifyRuns?: string;
  readonly verifyTolerance?: string;
  readonly failover?: string;
  readonly network?: string;
  readonly egressMax?: string;
  readonly egressPriceMax?: string;
  readonly checkpointInterval?: string;
  readonly checkpointKeep?: string;
  readonly fromCheckpoint?: string;
  readonly input?: readonly string[];
  readonly output?: readonly string[];
  readonly region?: readonly string[];
  readonly worker?: readonly string[];
  readonly provider?: readonly string[];
  readonly avoid?: readonly string[];
  readonly queueFor?: string;
  readonly retries?: string;
  readonly failovers?: string;
  readonly shm?: string;
  readonly stopGrace?: string;
}

type Fields = Record<string, unknown>;

export interface ParsedSpec {
  /** As it goes over the wire, but for the local inputs. */
  readonly spec: Fields;
  /** To be uploaded; each becomes an input of the job. */
  readonly localInputs: readonly LocalInput[];
  /** To be uploaded; it becomes the image. */
  readonly imageFile?: string | undefined;
}

/** Reads the file, if any, and lays flags and command over it. Throws a usage error that says what is missing or wrong. */
export async function readSpec(
  file: string | undefined,
  flags: SpecFlags,
  command: readonly string[] | null,
): Promise<ParsedSpec> {
  const fromFile = file === undefined ? {} : await parseSpecText(await readSpecFile(file), file);
  if (flags.image !== undefined && flags.imageFile !== undefined) {
    throw usageError("--image and --image-file both name what is to run: give one of them.");
  }
  const parsed = { ...buildSpec(fromFile, flags, command), imageFile: flags.imageFile };
  if (parsed.spec["image"] === undefined && flags.imageFile === undefined) {
    throw usageError(
      "There is nothing to run: give a specification file (qubix run job.yaml) or an image (qubix run --image IMAGE --price-max 0.60/h --duration 1h -- COMMAND).",
    );
  }
  if (parsed.spec["priceMaxPerHour"] === undefined) {
    throw usageError("The highest price is missing: add --price-max, e.g. --price-max 0.60/h; nothing dearer is used.");
  }
  if (parsed.spec["durationMaxS"] === undefined) {
    throw usageError("The longest duration is missing: add --duration, e.g. --duration 1h; longer jobs are stopped.");
  }
  return parsed;
}

/** `-` is standard input. */
async function readSpecFile(file: string): Promise<string> {
  try {
    const text = file === "-" ? await textOf(process.stdin) : await readFile(file, "utf8");
    if (text.length > SPEC_FILE_BYTES_MAX) throw new Error("it is larger than 1 MiB");
    return text;
  } catch (error) {
    throw usageError(`Cannot read the specification ${file}: ${(error as Error).message}.`);
  }
}

async function parseSpecText(text: string, file: string): Promise<Fields> {
  let value: unknown;
  try {
    // Loaded only when there is YAML to read: the program starts faster without.
    value = file.endsWith(".json") ? JSON.parse(text) : (await import("yaml")).parse(text);
  } catch (error) {
    throw usageError(`${file} is not valid YAML or JSON: ${(error as Error).message.split("\n")[0]}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw usageError(
      `${file} does not hold a specification: fields such as image, command, priceMaxPerHour are expected.`,
    );
  }
  return { ...value };
}

/** Lays flags over the fields of a file. Pure. */
export function buildSpec(file: Fields, flags: SpecFlags, command: readonly string[] | null): ParsedSpec {
  const spec: Fields = { ...file };
  const set = (key: string, value: unknown) => {
    if (value !== undefined) spec[key] = value;
  };
  set("name", flags.name);
  set("image", flags.image);
  set("command", command === null || command.length === 0 ? undefined : command);
  if (flags.env !== undefined) spec["env"] = { ...fieldsOf(spec["env"]), ...parsePairs(flags.env, "--env") };
  mergeInto(spec, "resources", resourcesOf(fieldsOf(fieldsOf(spec["resources"])["gpus"]), flags));
  mergeInto(spec, "checkpoint", {
    intervalS: given(flags.checkpointInterval, (text) => parseDurationS(text, "--checkpoint-interval")),
    keep: given(flags.checkpointKeep, (text) => parseCount(text, "--checkpoint-keep", 1)),
  });
  mergeInto(spec, "placement", {
    regions: flags.region,
    workers: flags.worker,
    providers: flags.provider,
    avoid: flags.avoid,
  });
  set("fromCheckpoint", flags.fromCheckpoint);
  // A file may name it as people do.
  if (typeof spec["fromCheckpoint"] === "string") {
    const where = flags.fromCheckpoint === undefined ? "fromCheckpoint" : "--from-checkpoint";
    spec["fromCheckpoint"] = parseCheckpointName(spec["fromCheckpoint"], where);
  }
  set("standby", flags.standby);
  mergeInto(spec, "verification", {
    mode: flags.verify,
    replicas: given(flags.verifyRuns, (text) => parseCount(text, "--verify-runs", 3)),
    tolerance: given(flags.verifyTolerance, parseTolerance),
  });
  set("failover", flags.failover);
  set("network", flags.network);
  set("outputs", flags.output);
  set(
    "shmMiB",
    given(flags.shm, (text) => parseMemoryMiB(text, "--shm")),
  );
  set(
    "stopGraceS",
    given(flags.stopGrace, (text) => parseDurationS(text, "--stop-grace")),
  );
  set(
    "queueS",
    given(flags.queueFor, (text) => parseDurationS(text, "--queue-for")),
  );
  set(
    "retries",
    given(flags.retries, (text) => parseCount(text, "--retries")),
  );
  set(
    "failoversMax",
    given(flags.failovers, (text) => parseCount(text, "--failovers")),
  );
  set(
    "durationMaxS",
    given(flags.duration, (text) => parseDurationS(text, "--duration")),
  );
  set(
    "priceMaxPerHour",
    given(flags.priceMax, (text) => parseMoney(text, "--price-max")),
  );
  // A file may say its price as people do.
  if (typeof spec["priceMaxPerHour"] === "string") {
    spec["priceMaxPerHour"] = parseMoney(spec["priceMaxPerHour"], "priceMaxPerHour");
  }
  set(
    "budgetMax",
    given(flags.budget, (text) => parseMoney(text, "--budget")),
  );
  if (typeof spec["budgetMax"] === "string") spec["budgetMax"] = parseMoney(spec["budgetMax"], "budgetMax");
  set(
    "egressGiBMax",
    given(flags.egressMax, (text) => parseMemoryMiB(text, "--egress-max") / MIB_PER_GIB),
  );
  set(
    "egressPriceMaxPerGiB",
    given(flags.egressPriceMax, (text) => parseMoney(text, "--egress-price-max")),
  );
  if (typeof spec["egressPriceMaxPerGiB"] === "string") {
    spec["egressPriceMaxPerGiB"] = parseMoney(spec["egressPriceMaxPerGiB"], "egressPriceMaxPerGiB");
  }
  return splitInputs(spec, flags);
}

/** `1e-5` or `1e-5,1e-8`: relative, and absolute. */
function parseTolerance(text: string): Fields {
  const parts = text.split(",");
  const [relative = Number.NaN, absolute = 0] = parts.map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (parts.length > 2 || !(relative >= 0) || !(absolute >= 0)) {
    throw usageError(
      `--verify-tolerance: "${text}" is not a number of at least 0, or two with a comma between: relative, and absolute`,
    );
  }
  return { relative, absolute };
}

function resourcesOf(gpusInFile: Fields, flags: SpecFlags): Fields {
  const gpus = {
    count: given(flags.gpus, (text) => parseCount(text, "--gpus")),
    model: flags.gpuModel,
    memoryMiBMin: given(flags.gpuMemory, (text) => parseMemoryMiB(text, "--gpu-memory")),
  };
  const named = Object.values(gpus).some((value) => value !== undefined);
  // Whoever names a model wants at least one.
  const count = gpus.count ?? gpusInFile["count"] ?? 1;
  return {
    gpus: named ? withoutUndefined({ ...gpusInFile, ...withoutUndefined(gpus), count }) : undefined,
    cpus: given(flags.cpus, (text) => parseDecimal(text, "--cpus")),
    memoryMiB: given(flags.memory, (text) => parseMemoryMiB(text, "--memory")),
    diskMiB: given(flags.disk, (text) => parseMemoryMiB(text, "--disk")),
  };
}

/** Lays secrets over those of a file. */
export function withSecrets(spec: Fields, { secrets, registryAuth }: SecretFields): Fields {
  return {
    ...spec,
    ...(secrets === undefined ? {} : { secrets: { ...fieldsOf(spec["secrets"]), ...secrets } }),
    ...(registryAuth === undefined ? {} : { registryAuth }),
  };
}

/** Inputs with `local` lie on this disk: they are taken out, uploaded, and come back as uploads. */
function splitInputs(spec: Fields, flags: SpecFlags): ParsedSpec {
  const inputs: readonly unknown[] = Array.isArray(spec["inputs"]) ? spec["inputs"] : [];
  const localInputs = [
    ...inputs.filter(isLocalInput).map(({ local, to }) => ({ local, to })),
    ...(flags.input ?? []).map((text) => parseInput(text, "--input")),
  ];
  if (localInputs.length === 0) return { spec, localInputs };
  return { spec: { ...spec, inputs: inputs.filter((input) => !isLocalInput(input)) }, localInputs };
}

function isLocalInput(value: unknown): value is LocalInput {
  const fields = fieldsOf(value);
  return typeof fields["local"] === "string" && typeof fields["to"] === "string";
}

function mergeInto(spec: Fields, key: string, fields: Fields): void {
  const present = withoutUndefined(fields);
  if (Object.keys(present).length > 0) spec[key] = { ...fieldsOf(spec[key]), ...present };
}

function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function withoutUndefined(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

function given<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text);
}
