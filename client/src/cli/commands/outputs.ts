// `qubix outputs`: list, print one, fetch.
import { downloadOutputs, outputNotFound } from "../../node/download.ts";
import { EXIT_FAILED, EXIT_OK } from "../exit-codes.ts";
import { formatTable } from "../format/table.ts";
import { formatBytes, plural } from "../format/units.ts";
import type { Handler, Session } from "../session.ts";

export const outputs: Handler<{ readonly to?: string }> = async (session, [id = "", path], options) => {
  if (options.to !== undefined) return await fetchOutputs(session, id, options.to, path);
  return path === undefined ? await listOutputs(session, id) : await printOutput(session, id, path);
};

/** Fetches a job's outputs and says what was fetched. */
export async function fetchOutputs(session: Session, id: string, folder: string, path?: string): Promise<number> {
  const files = await downloadOutputs(session.client, id, folder, {
    path,
    onFile: (file) => {
      if (session.json) session.printJson({ type: "output", ...file });
    },
  });
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  session.note(
    files.length === 0
      ? `Job ${id} has no outputs. It leaves them by writing files under /out.`
      : `Fetched ${plural(files.length, "file")} (${formatBytes(bytes)}) into ${folder}.`,
  );
  return EXIT_OK;
}

async function listOutputs(session: Session, id: string): Promise<number> {
  const items = await session.client.jobs.outputs(id);
  if (session.json) {
    session.printJson({ items });
  } else if (items.length === 0) {
    const { phase } = await session.client.jobs.get(id);
    session.note(
      phase === "succeeded"
        ? `Job ${id} left no outputs. A job leaves them by writing files under /out.`
        : `Job ${id} is ${phase}; its outputs are there once it has succeeded.`,
    );
  } else {
    session.print(
      formatTable(
        [
          { title: "SIZE", value: (item) => formatBytes(item.bytes), align: "right" },
          { title: "SHA-256", value: (item) => item.sha256 },
          { title: "PATH", value: (item) => item.path },
        ],
        items,
        session.colors,
      ),
    );
    session.note(`Fetch them with \`qubix outputs ${id} --to DIR\`.`);
  }
  return EXIT_OK;
}

/** The bytes as they are, to standard output. */
async function printOutput(session: Session, id: string, path: string): Promise<number> {
  const items = await session.client.jobs.outputs(id);
  if (!items.some((item) => item.path === path)) throw outputNotFound(id, path, items);
  const response = await session.client.jobs.output(id, path);
  const { finished } = await import("node:stream/promises");
  const stdout = process.stdout;
  for await (const bytes of response.body) {
    if (!stdout.write(bytes)) await new Promise((resolve) => stdout.once("drain", resolve));
  }
  if (stdout.writableLength > 0) await finished(stdout.end()).catch(() => EXIT_FAILED);
  return EXIT_OK;
}
