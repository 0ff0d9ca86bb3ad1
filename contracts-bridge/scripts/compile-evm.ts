// Compiles the Solidity contracts by the pinned `solc`: what is committed beside their sources is what this makes.
// usage: compile-evm.ts           writes contracts/evm/QubixEscrow.json
//        compile-evm.ts --check   exit 1 where that file is not what a fresh compile makes
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compileEscrow } from "../src/evm/testing/compile.ts";

const target = fileURLToPath(new URL("../contracts/evm/QubixEscrow.json", import.meta.url));
const fresh = `${JSON.stringify(compileEscrow(), null, 2)}\n`;
if (!process.argv.includes("--check")) writeFileSync(target, fresh);
else if (readFileSync(target, "utf8") !== fresh) {
  console.error("contracts/evm/QubixEscrow.json is not what its source compiles to: npm run -s contracts");
  process.exit(1);
}
