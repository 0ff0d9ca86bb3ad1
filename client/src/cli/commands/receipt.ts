// `qubix receipt`: a job's whole account, verified here and not only said to be right; or one that was saved to a file, verified without a network.
import { readFile, writeFile } from "node:fs/promises";
import { verifySignature } from "@qubix/shared/signatures";
import { QubixError } from "@qubix/shared/errors";
import { type ReceiptVerdict, verifyReceipt } from "@qubix/shared/receipts";
import { EXIT_NOT_VERIFIED, EXIT_OK, usageError } from "../exit-codes.ts";
import { problemsText, receiptText, verdictText } from "../format/receipt.ts";
import type { Handler, Session } from "../session.ts";

/** Larger than the largest receipt: its ticks are bounded for each job. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;

export interface ReceiptOptions {
  readonly verify?: string;
  readonly output?: string;
  readonly ticks?: boolean;
}

export const receipt: Handler<ReceiptOptions> = async (session, [job], options) => {
  if (options.verify !== undefined) {
    if (job !== undefined || options.output !== undefined)
      throw usageError("--verify FILE takes no job and no --output.");
    return verifyFile(session, options.verify, options);
  }
  if (job === undefined) throw usageError("Which job? `qubix receipt JOB`, or `qubix receipt --verify FILE`.");
  const fetched = await session.client.jobs.receipt(job);
  const verdict = verifyReceipt(fetched, verifySignature);
  if (options.output !== undefined) {
    await writeFile(options.output, `${JSON.stringify(fetched)}\n`);
    session.note(`Saved to ${options.output}.`);
  }
  if (session.json) {
    if (options.output === undefined) session.printJson(fetched);
    if (!verdict.verified) session.io.stderr.write(`${JSON.stringify(failureOf(verdict))}\n`);
  } else show(session, verdict, options);
  return verdict.verified ? EXIT_OK : EXIT_NOT_VERIFIED;
};

async function verifyFile(session: Session, file: string, options: ReceiptOptions): Promise<number> {
  const verdict = verifyReceipt(await readJson(file), verifySignature);
  const { verified, problems, figures } = verdict;
  if (session.json) session.printJson({ verified, problems, figures });
  else show(session, verdict, options);
  return verified ? EXIT_OK : EXIT_NOT_VERIFIED;
}

function show(session: Session, verdict: ReceiptVerdict, { ticks = false }: ReceiptOptions): void {
  if (verdict.receipt !== null) {
    session.print(receiptText(verdict.receipt, session.colors, ticks));
    session.print("");
  }
  session.print(verdict.verified ? verdictText(verdict, session.colors) : problemsText(verdict, session.colors));
}

function failureOf({ problems }: ReceiptVerdict): object {
  return { code: "receipt_not_verified", detail: "The receipt does not add up.", problems };
}

/** Undefined for what is not JSON: then it is no receipt. */
async function readJson(file: string): Promise<unknown> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new QubixError(
      "file_unreadable",
      `Cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        category: "user",
        cause,
      },
    );
  }
  if (bytes.length > FILE_BYTES_MAX) throw usageError(`${file} is larger than any receipt.`);
  try {
    // A byte that is no UTF-8 must not pass for another character.
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}
