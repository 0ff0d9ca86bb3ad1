// Writes docs/architecture/states.md from the state tables, or with --check says whether it is current.
import { readFileSync, writeFileSync } from "node:fs";
import { STATE_TABLES, type StateTable } from "@qubix/shared/domain";

const FILE = new URL("../docs/architecture/states.md", import.meta.url);

const text = `# State machines

Generated from \`shared/src/domain/states/\` by \`npm run docs\`. Each machine is a table \`phase × event → next\`; what is not listed is
either ignored (late or duplicated) or illegal (the core throws, and the event is dropped alone).

${STATE_TABLES.map(sectionOf).join("\n")}`;

if (!process.argv.includes("--check")) {
  writeFileSync(FILE, text);
} else if (readFileSync(FILE, "utf8") !== text) {
  process.stderr.write("docs/architecture/states.md is not current: run npm run docs\n");
  process.exitCode = 1;
}

function sectionOf(table: StateTable<string, string>): string {
  const arrows: string[] = [];
  const rows: string[] = [];
  for (const [phase, events] of Object.entries(table.cells)) {
    for (const [event, cell] of Object.entries(events)) {
      if (typeof cell !== "object") continue;
      arrows.push(`  ${node(phase)} --> ${node(cell.next)}: ${event}`);
      rows.push(`| ${phase} | ${event} | ${cell.next} | ${cell.guard ?? ""} | ${cell.effects ?? ""} |`);
    }
  }
  const ends = table.final.map((phase) => `  ${node(phase)} --> [*]`);
  return `## ${table.name}

\`\`\`mermaid
stateDiagram-v2
  [*] --> ${node(table.initial)}
${[...arrows, ...ends].join("\n")}
\`\`\`

| phase | event | next | guard | effects |
| --- | --- | --- | --- | --- |
${rows.join("\n")}
`;
}

function node(phase: string): string {
  return phase.replaceAll(" ", "_");
}
