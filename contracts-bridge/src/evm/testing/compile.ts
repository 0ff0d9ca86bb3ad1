// The Solidity contracts, compiled by the npm package `solc`: the same bytes on every machine.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import solc from "solc";

const SOURCES = new URL("../../../contracts/evm/", import.meta.url);
const require = createRequire(import.meta.url);

export interface Artifact {
  readonly compiler: string;
  readonly abi: readonly unknown[];
  /** Creation code, in hex with 0x. */
  readonly bytecode: `0x${string}`;
}

/** The escrow as it is committed. Throws with the compiler's words. */
export function compileEscrow(): Artifact {
  return compileOne("QubixEscrow", escrowSource());
}

/** The module that is committed: interface and creation code, typed. */
export function artifactText(): string {
  const { compiler, abi, bytecode } = compileEscrow();
  const entries = abi.map((entry) => `  ${JSON.stringify(entry)},\n`).join("");
  return [
    "// Made from contracts/evm/QubixEscrow.sol by `npm run -s contracts`: do not edit.\n",
    `/** The compiler's version. */\nexport const escrowCompiler = ${JSON.stringify(compiler)};\n`,
    `export const escrowAbi = [\n${entries}] as const;\n`,
    `/** Creation code. */\nexport const escrowBytecode = ${JSON.stringify(bytecode)};\n`,
  ].join("\n");
}

/** The text of the escrow. */
export function escrowSource(): string {
  return readFileSync(new URL("QubixEscrow.sol", SOURCES), "utf8");
}

/** Variants of the escrow, by their texts: together, because most of the time goes into what they import. */
export function compileVariants(sources: readonly string[]): readonly Artifact[] {
  return compile("QubixEscrow", sources);
}

let testToken: Artifact | undefined;

/** The token of the tests: each contract that is deployed has one. */
export function compileTestToken(): Artifact {
  return (testToken ??= compileOne("TestToken", readFileSync(new URL("testing/TestToken.sol", SOURCES), "utf8")));
}

function compileOne(name: string, content: string): Artifact {
  const [made] = compile(name, [content]);
  if (made === undefined) throw new Error(`${name} was not compiled`);
  return made;
}

function compile(name: string, contents: readonly string[]): readonly Artifact[] {
  const file = (n: number) => `${name}-${n}.sol`;
  const input = {
    language: "Solidity",
    sources: Object.fromEntries(contents.map((content, n) => [file(n), { content }])),
    settings: {
      optimizer: { enabled: true, runs: 1_000 },
      evmVersion: "cancun",
      // No hash of the sources' metadata in the code: comments do not change it.
      metadata: { bytecodeHash: "none", appendCBOR: false },
      outputSelection: { "*": { [name]: ["abi", "evm.bytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: imported })) as Output;
  const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(errors.map(({ formattedMessage }) => formattedMessage).join("\n"));
  return contents.map((_, n) => {
    const made = output.contracts?.[file(n)]?.[name];
    if (made === undefined) throw new Error(`there is no contract ${name} in its source`);
    return { compiler: solc.version(), abi: made.abi, bytecode: `0x${made.evm.bytecode.object}` };
  });
}

interface Output {
  readonly errors?: readonly { readonly severity: string; readonly formattedMessage: string }[];
  readonly contracts?: Readonly<
    Record<
      string,
      Readonly<
        Record<
          string,
          { readonly abi: readonly unknown[]; readonly evm: { readonly bytecode: { readonly object: string } } }
        >
      >
    >
  >;
}

function imported(path: string): { contents: string } | { error: string } {
  try {
    return { contents: readFileSync(require.resolve(path), "utf8") };
  } catch {
    return { error: `${fileURLToPath(SOURCES)} imports ${path}, which is not installed` };
  }
}
