// The operator's file of canaries: jobs and their known results, read once at the start. What could not be given to anybody is refused here, with what to change.
import { readFileSync } from "node:fs";
import {
  EVIDENCE_LENGTH_MAX,
  type JobSpec,
  jobSpecSchema,
  parseImageRef,
  sha256Schema,
  uploadedImage,
  verificationObstacle,
} from "@qubix/shared/protocol";
import { QubixError } from "@qubix/shared/runtime";
import { z } from "zod";
import type { Canary } from "../core/index.ts";
import { sumOfFiles } from "../gateway/tree-content.ts";

/** Each provider gets each of them once: more would never be needed. */
export const CANARIES_MAX = 1_000;
const FILES_MAX = 10_000;
const EXIT_CODE_MAX = 255;
/** What evidence holds beside what is run: who ran it, what it came to, names and digests. */
const EVIDENCE_REST_MAX = 2_048;
/** A stand-in for the manifest of an input: all are as long. */
const MANIFEST = "m".repeat(59);
const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;

const fileSchema = z.strictObject({
  /** As `qubix outputs JOB` names it. */
  path: z.string().min(1).max(4_096),
  bytes: z.number().int().min(0),
  sha256: sha256Schema,
});

const canarySchema = z
  .strictObject({
    /** Tallies are kept by it: a canary that is changed needs another one. */
    name: z.string().regex(NAME, "lower-case letters, digits and hyphens, 63 at most"),
    spec: jobSpecSchema,
    expected: z.strictObject({
      exitCode: z.number().int().min(0).max(EXIT_CODE_MAX).default(0),
      outputs: z.array(fileSchema).min(1).max(FILES_MAX).optional(),
    }),
  })
  .superRefine(({ spec, expected }, context) => {
    const refuse = (path: readonly string[], message: string) =>
      context.addIssue({ code: "custom", path: [...path], message });
    const obstacle = verificationObstacle({ ...spec, verification: { ...spec.verification, mode: "spot-check" } });
    if (obstacle !== undefined) refuse(["spec"], obstacle);
    const { standby, fromCheckpoint, verification, resources, image } = spec;
    const isPinned = uploadedImage(image) !== undefined || parseImageRef(image)?.digest !== undefined;
    if (!isPinned)
      refuse(["spec", "image"], "name it with its digest (IMAGE@sha256:…), or upload:ID of an admin's upload");
    if (standby !== "cold") refuse(["spec", "standby"], "a canary needs none. Leave it out");
    if (fromCheckpoint !== undefined)
      refuse(["spec", "fromCheckpoint"], "a canary begins at its beginning. Leave it out");
    if (verification.mode !== "none") refuse(["spec", "verification"], "its result is known. Leave it out");
    if (resources.gpus.count > 0 && resources.gpus.model === undefined) {
      refuse(["spec", "resources", "gpus", "model"], "name the exact model that the result was made on");
    }
    const length = evidenceLength(spec);
    if (length > EVIDENCE_LENGTH_MAX) {
      refuse(
        ["spec"],
        `its image, command, env, inputs and outputs take ${length} characters as evidence, of which ${EVIDENCE_LENGTH_MAX} are kept: nobody could be accused by it. Put what is long into an input`,
      );
    }
    const isFailing = expected.exitCode !== 0;
    if (isFailing === (expected.outputs !== undefined)) {
      refuse(["expected"], "name its outputs, or an exit code that is not 0: what fails has no outputs");
    }
  });

const canariesSchema = z
  .array(canarySchema)
  .max(CANARIES_MAX)
  .superRefine((canaries, context) => {
    const names = new Set<string>();
    for (const [at, { name }] of canaries.entries()) {
      if (names.has(name))
        context.addIssue({ code: "custom", path: [at, "name"], message: `there are two named ${name}` });
      names.add(name);
    }
  });

/** Of what is kept where somebody is accused by it, so that anybody can run it again. */
function evidenceLength({ image, command, env, outputs, resources: { cpus, gpus }, inputs }: JobSpec): number {
  const run = { image, command, env, outputs, cpus, gpus };
  const trees = inputs.map(({ to }) => ({ manifestCid: MANIFEST, to }));
  return JSON.stringify({ run, inputs: trees }).length + EVIDENCE_REST_MAX;
}

/** Reads and checks the file. Throws `canaries_invalid` with every fault and where it is. */
export function readCanaries(path: string): readonly Canary[] {
  const parsed = canariesSchema.safeParse(parse(path));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path: at, message }) => `${at.join(".") || "the list"}: ${message}`);
    throw invalid(path, faults.join("; "));
  }
  return parsed.data.map(({ name, spec, expected }): Canary => {
    const { exitCode, outputs } = expected;
    const sum = outputs === undefined ? null : sumOfFiles(outputs);
    // What is to fail is not tried again.
    const own = exitCode === 0 ? spec : { ...spec, retries: 0 };
    return { name, spec: own, expected: { exitCode, sum } };
  });
}

function parse(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw invalid(path, error instanceof SyntaxError ? `it is not JSON: ${error.message}` : "it cannot be read", error);
  }
}

function invalid(path: string, why: string, cause?: unknown): QubixError {
  return new QubixError("canaries_invalid", `The canaries in ${path} cannot be used: ${why}.`, {
    category: "user",
    cause,
  });
}
