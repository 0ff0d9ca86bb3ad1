// Compiles the escrow contract by the pinned `solc` into src/evm/artifact.ts, which is committed: a fresh compile makes the same.
// usage: compile-evm.ts           writes it
//        compile-evm.ts --check   exit 1 where the file is not what a fresh compile makes
import { readFileSync, writeFileSync } from "node:fs";
import { artifactText } from "../src/evm/testing/compile.ts";

const target = new URL("../src/evm/artifact.ts", import.meta.url);
if (!process.argv.includes("--check")) writeFileSync(target, artifactText());
else if (readFileSync(target, "utf8") !== artifactText()) {
  console.error("src/evm/artifact.ts is not what contracts/evm/QubixEscrow.sol compiles to: npm run -s contracts");
  process.exit(1);
}
