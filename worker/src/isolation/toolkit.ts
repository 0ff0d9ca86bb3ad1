// The NVIDIA container toolkit, which gives containers their GPUs by a hook that runs as root: until 1.17.8 an image could make that hook load a library of
// its own (CVE-2025-23266), and with it take the machine. GPUs are offered only with a later one.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);
export const TOOLKIT_VERSION_MIN = "1.17.8";
/** Only print their version. Any of them will do: they are built and installed together. */
const PROGRAMS = ["nvidia-container-runtime-hook", "nvidia-ctk", "nvidia-container-cli"] as const;
const TIMEOUT_MS = 10_000;

export type ToolkitCheck =
  | { readonly kind: "good"; readonly version: string }
  | { readonly kind: "old"; readonly version: string }
  | { readonly kind: "absent" };

/** Asks the programs of the toolkit, the hook itself first. */
export async function checkToolkit(ask: (program: string) => Promise<string> = askProgram): Promise<ToolkitCheck> {
  for (const program of PROGRAMS) {
    const version = parseToolkitVersion(await ask(program).catch(() => ""));
    if (version !== undefined) return judgeToolkit(version);
  }
  return { kind: "absent" };
}

/** `NVIDIA Container Runtime Hook version 1.17.8`, `NVIDIA Container Toolkit CLI version 1.17.8-rc.1`, `cli-version: 1.17.8`. */
export function parseToolkitVersion(text: string): string | undefined {
  return /(?:^cli-version:|\bversion)\s+v?([0-9]+\.[0-9]+\.[0-9]+(?:[-~][0-9A-Za-z.]+)?)/im.exec(text)?.[1];
}

export function judgeToolkit(version: string): ToolkitCheck {
  const found = numbersOf(version);
  const needed = numbersOf(TOOLKIT_VERSION_MIN);
  for (const [index, part] of needed.entries()) {
    const difference = (found[index] ?? 0) - part;
    if (difference !== 0) return { kind: difference > 0 ? "good" : "old", version };
  }
  // A candidate of the version that mends it need not have mended it.
  return { kind: /[-~]rc/i.test(version) ? "old" : "good", version };
}

function numbersOf(version: string): number[] {
  return (/^[0-9.]+/.exec(version)?.[0] ?? "0").split(".").map(Number);
}

async function askProgram(program: string): Promise<string> {
  return (await run(program, ["--version"], { timeout: TIMEOUT_MS })).stdout;
}
