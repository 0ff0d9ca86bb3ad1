// A worker without a peer does not carry libp2p: it would be a third of what an idle agent may take.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const run = promisify(execFile);
const COUNT = `
import { registerHooks } from "node:module";
let loaded = 0;
registerHooks({ load(url, context, next) { if (/node_modules\\/(@libp2p|libp2p)\\//.test(url)) loaded += 1; return next(url, context); } });
await import(process.argv[1]);
console.log(loaded);
process.exit(0);
`;

async function loadedBy(module: string): Promise<number> {
  const path = fileURLToPath(new URL(module, import.meta.url));
  const args = ["--conditions=qubix-source", "--input-type=module", "-e", COUNT, path];
  const { stdout } = await run(process.execPath, args, { timeout: 60_000 });
  return Number(stdout.trim());
}

it("is loaded with the node alone, not with the agent", async () => {
  expect(await loadedBy("../app/agent.ts")).toBe(0);
  // The measure works.
  expect(await loadedBy("node.ts")).toBeGreaterThan(10);
}, 120_000);
