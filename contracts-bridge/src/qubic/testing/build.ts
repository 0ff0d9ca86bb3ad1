// Compiles the contract with its stand-in interface and its harness, by g++.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const CONTRACTS = new URL("../../../contracts/qubic/", import.meta.url);
const HARNESS = fileURLToPath(new URL("testing/harness.cpp", CONTRACTS));
const COMPILE_MS_MAX = 300_000;

export interface Built {
  readonly program: string;
  remove(): void;
}

export function contractSource(): string {
  return readFileSync(new URL("QubixEscrow.h", CONTRACTS), "utf8");
}

/** Variants of the contract as one program, which is told the number of one. `checked`: with checks of memory and arithmetic built in. Throws with the compiler's words. */
export async function buildContracts(sources: readonly string[], checked = false): Promise<Built> {
  const folder = mkdtempSync(join(tmpdir(), "qubix-qpi-"));
  const [header, program] = [join(folder, "variants.h"), join(folder, "harness")];
  const spaces = sources.map((source, n) => `namespace v${n}\n{\n${source}\n}\n`);
  const drives = sources.map((_, n) => `&drive<v${n}::QUBIXESCROW>`).join(", ");
  writeFileSync(header, `${spaces.join("")}static const std::vector<void (*)()> VARIANTS{${drives}};\n`);
  const checks = checked ? ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] : ["-O0"];
  const warnings = ["-Wall", "-Wextra", "-Wno-unused-parameter"];
  try {
    await run("g++", ["-std=c++20", ...warnings, ...checks, `-DQUBIX_VARIANTS="${header}"`, HARNESS, "-o", program], {
      timeout: COMPILE_MS_MAX,
    });
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
  return { program, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
