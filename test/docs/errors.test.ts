// docs/errors.md and the code say the same: every documented code is met by a test, and every code that the API can answer is documented.
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { CLOSE_CODES } from "../../orchestrator/src/gateway/limits.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const page = readFileSync(join(ROOT, "docs/errors.md"), "utf8");

const tests = textOf("{shared,orchestrator,worker,client,test}/{src,system}/**/*.test.ts");
const sources = textOf("orchestrator/src/{api,core,app}/**/*.ts", (file) => !/\.test\.ts$|\/testing\//.test(file));

/** Codes that no caller meets: asserts of the code itself, and what stops the program before it listens. */
const NOT_FOR_CALLERS = [
  "data_dir_unusable",
  "no_actor",
  "unexpected_reply",
  "no_address",
  "listen_failed",
  "not_started",
  "not_ready",
  "config_invalid",
  "key_file_unsafe",
  "chain_currency_taken",
];

describe("docs/errors.md", () => {
  it.each(codesOf("Problem codes"))("%s is met by a test", (code) => {
    expect(tests).toContain(`"${code}"`);
  });
  it.each(codesOf("Why a job ended"))("%s is met by a test", (code) => {
    expect(tests).toContain(`"${code}"`);
  });
  it("names every code with which the core refuses or the API throws", () => {
    const refused = [...sources.matchAll(/refuse\(\s*state,\s*\d+,\s*"([a-z_]+)"/g)].map((match) => match[1] ?? "");
    const thrown = [...sources.matchAll(/new QubixError\(\s*"([a-z_]+)"/g)].map((match) => match[1] ?? "");
    expect(refused.length).toBeGreaterThan(10);
    const documented = new Set([...codesOf("Problem codes"), ...NOT_FOR_CALLERS]);
    expect([...new Set([...refused, ...thrown])].filter((code) => !documented.has(code))).toEqual([]);
  });
  it("names every code with which a worker's socket is closed", () => {
    for (const code of Object.values(CLOSE_CODES))
      expect(sectionOf("Why a worker's socket was closed")).toContain(String(code));
  });
});

function textOf(pattern: string, wanted: (file: string) => boolean = () => true): string {
  const files = globSync(pattern, { cwd: ROOT }).filter(wanted);
  return files.map((file) => readFileSync(join(ROOT, file), "utf8")).join("\n");
}

function sectionOf(title: string): string {
  return page.split(/^## /m).find((section) => section.startsWith(title)) ?? "";
}

/** The codes in the first column of a section's table. */
function codesOf(title: string): string[] {
  return sectionOf(title)
    .split("\n")
    .filter((line) => line.startsWith("| `"))
    .flatMap((line) => [...(line.split("|")[1] ?? "").matchAll(/`([a-z_]+)`/g)].map((match) => match[1] ?? ""));
}
