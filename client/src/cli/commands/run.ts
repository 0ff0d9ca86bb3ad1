// `qubix run`: submit a job; with --wait, follow it to its end.
import { uploadPath } from "../../node/upload.ts";
import type { JobSpec } from "../../sdk/types.ts";
import { EXIT_OK, usageError } from "../exit-codes.ts";
import { createStatusLine } from "../format/progress.ts";
import { formatBytes, plural } from "../format/units.ts";
import { readSecrets } from "../parse/secrets.ts";
import { type ParsedSpec, readSpec, type SpecFlags, withSecrets } from "../parse/spec.ts";
import type { Handler, Session } from "../session.ts";
import { waitForJob } from "./wait.ts";

export interface RunOptions extends SpecFlags {
  readonly wait?: boolean;
  readonly logs?: boolean;
  readonly outputDir?: string;
  readonly idempotencyKey?: string;
}

export const run: Handler<RunOptions> = async (session, [file], options) => {
  const parsed = await readSpec(file, options, session.rest);
  const secrets = await readSecrets(options, {
    ...session.io,
    stdin: process.stdin,
    stdinTaken: file === "-",
    warn: (text) => session.note(text),
  });
  const spec = await uploadFiles(session, { ...parsed, spec: withSecrets(parsed.spec, secrets) });
  const job = await session.client.jobs.create(spec, { idempotencyKey: options.idempotencyKey });
  if (options.wait === true || options.logs === true || options.outputDir !== undefined) {
    return await waitForJob(session, job, { logs: options.logs === true, outputDir: options.outputDir });
  }
  if (session.json) session.printJson(job);
  else {
    session.print(job.id);
    session.note(`Submitted. Follow it with \`qubix events ${job.id} -f\`, stop it with \`qubix cancel ${job.id}\`.`);
  }
  return EXIT_OK;
};

/** Uploads what lies on this disk: the image, and the inputs of the specification. */
async function uploadFiles(session: Session, { spec, localInputs, imageFile }: ParsedSpec): Promise<JobSpec> {
  const uploaded: { upload: string; to: string }[] = [];
  for (const { local, to } of localInputs) {
    if (!to.startsWith("/"))
      throw usageError(`The input ${local} needs a path in the container that begins with /, not "${to}".`);
  }
  const image = imageFile === undefined ? {} : { image: `upload:${await uploadOne(session, imageFile)}` };
  for (const { local, to } of localInputs) uploaded.push({ upload: await uploadOne(session, local), to });
  const others: readonly unknown[] = Array.isArray(spec["inputs"]) ? spec["inputs"] : [];
  const inputs = uploaded.length === 0 ? {} : { inputs: [...others, ...uploaded] };
  // The orchestrator judges what the person wrote; here it is passed on as it is.
  return { ...spec, ...image, ...inputs } as unknown as JobSpec;
}

/** The upload's id. */
async function uploadOne(session: Session, local: string): Promise<string> {
  const status = createStatusLine(session.json ? { write: () => {} } : session.io.stderr);
  const upload = await uploadPath(session.client, local, {
    onProgress: ({ bytes, bytesTotal, bytesMoved }) =>
      status.set(
        `uploading ${local}: ${formatBytes(bytes)} of ${formatBytes(bytesTotal)}, ${formatBytes(bytesMoved)} sent`,
      ),
  });
  status.clear();
  session.note(`Uploaded ${local}: ${plural(upload.files, "file")}, ${formatBytes(upload.bytes)}.`);
  return upload.id;
}
