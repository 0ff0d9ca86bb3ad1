import { readFileSync } from "node:fs";
import { z } from "zod";
import { QubixError } from "./errors.ts";

/** Where the values of a configuration come from; earlier wins: flags, environment (`QUBIX_*`), file (JSON), the schema's defaults. */
export interface ConfigSources {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly file?: string | undefined;
}

/**
 * Reads a configuration once and freezes it. A key `dataDir` is read from the flag `dataDir`, then `QUBIX_DATA_DIR`, then the file's `dataDir`.
 * Throws `config_invalid` naming every wrong key and where it came from.
 */
export function loadConfig<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  sources: ConfigSources,
): Readonly<z.infer<z.ZodObject<Shape>>> {
  const fromFile = sources.file === undefined ? {} : readConfigFile(sources.file);
  const unknown = Object.keys(fromFile).filter((key) => !(key in schema.shape));
  if (unknown.length > 0) {
    throw new QubixError(
      "config_invalid",
      `${sources.file}: unknown keys ${unknown.join(", ")}; known are ${Object.keys(schema.shape).join(", ")}`,
      { category: "user" },
    );
  }
  const raw: Record<string, unknown> = {};
  const origin: Record<string, string> = {};
  for (const key of Object.keys(schema.shape)) {
    const variable = environmentName(key);
    const flag = sources.flags[key];
    const value = flag ?? sources.env[variable] ?? fromFile[key];
    if (value === undefined) continue;
    raw[key] = value;
    origin[key] =
      flag !== undefined ? "flag" : sources.env[variable] !== undefined ? variable : (sources.file ?? "file");
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return Object.freeze(parsed.data);
  const problems = parsed.error.issues.map((issue) => {
    const key = String(issue.path[0] ?? "");
    if (raw[key] === undefined && key !== "")
      return `${key} is missing: set --${flagName(key)} or ${environmentName(key)}`;
    return `${key || "configuration"} (${origin[key] ?? "missing"}): ${problemText(issue, raw[key])}`;
  });
  throw new QubixError("config_invalid", `Configuration is not valid: ${problems.join("; ")}`, { category: "user" });
}

/** What is wrong with a setting, in words for who wrote it. */
export function problemText(issue: z.core.$ZodIssue, written: unknown): string {
  const isText = issue.code === "invalid_type" && issue.expected === "number" && typeof written === "string";
  return isText ? `"${written}" is not a number` : issue.message;
}

/** `dataDir` → `QUBIX_DATA_DIR`. */
export function environmentName(key: string): string {
  return `QUBIX_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

function flagName(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** The configuration as `--print-config` shows it: secrets by name are hidden. */
export function redactConfig(config: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(config).map(([key, value]) => [
      key,
      /key|token|secret|password/i.test(key) && value !== undefined ? "[redacted]" : value,
    ]),
  );
}

function readConfigFile(path: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    throw new QubixError(
      "config_invalid",
      `Cannot read the configuration file ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      { category: "user", cause },
    );
  }
}
