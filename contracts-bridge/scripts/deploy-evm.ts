// Deploys the escrow to an EVM chain, and prints its address: `npm run -s contracts:deploy -- --rpc-url URL --key-file FILE --token ADDRESS --admin ADDRESS
// --operator ADDRESS --arbiter ADDRESS --slash-pool ADDRESS`. The key pays for it and gets no right by that.
import { readFileSync, statSync } from "node:fs";
import { parseArgs } from "node:util";
import { type Address, createPublicClient, createWalletClient, getAddress, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { escrowAbi, escrowBytecode } from "../src/evm/index.ts";

const NEEDED = ["rpc-url", "key-file", "token", "admin", "operator", "arbiter", "slash-pool"] as const;
/** Rights that others than the owner have. */
const OTHERS = 0o077;

const { values } = parseArgs({
  options: Object.fromEntries(NEEDED.map((name) => [name, { type: "string" as const }])),
});
const missing = NEEDED.filter((name) => values[name] === undefined);
if (missing.length > 0) fail(`missing: ${missing.map((name) => `--${name}`).join(" ")}`);
const keyFile = String(values["key-file"]);
if ((statSync(keyFile).mode & OTHERS) !== 0) fail(`others than its owner may read ${keyFile}: chmod 600 ${keyFile}`);
const account = privateKeyToAccount(`0x${readFileSync(keyFile, "utf8").trim().replace(/^0x/, "")}`);
const transport = http(String(values["rpc-url"]));
const client = createPublicClient({ transport });
const wallet = createWalletClient({ account, transport });
const roles = [
  addressOf("token"),
  addressOf("admin"),
  addressOf("operator"),
  addressOf("arbiter"),
  addressOf("slash-pool"),
] as const;
const hash = await wallet.deployContract({ chain: null, abi: escrowAbi, bytecode: escrowBytecode, args: roles });
const { contractAddress, blockNumber } = await client.waitForTransactionReceipt({ hash });
const chainId = await client.getChainId();
process.stdout.write(`${JSON.stringify({ contract: contractAddress, chainId, block: Number(blockNumber), hash })}\n`);

/** With its checksum: a letter that is wrong is found here, and not when the money is gone. */
function addressOf(name: (typeof NEEDED)[number]): Address {
  try {
    return getAddress(String(values[name]));
  } catch {
    return fail(`--${name} is no address: ${String(values[name])}`);
  }
}

function fail(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
