// The key of the IPFS node, from which its peer id follows: made at the first start, and kept in the data folder.
import { readFile } from "node:fs/promises";
import { open, rename } from "node:fs/promises";
import { join } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { QubixError } from "@qubix/shared/runtime";

const FILE = "ipfs-node.key";

type PrivateKey = ReturnType<typeof privateKeyFromProtobuf>;

/** Rejects with `ipfs_key_unusable`. */
export async function openNodeKey(dataDir: string): Promise<PrivateKey> {
  const path = join(dataDir, FILE);
  try {
    const bytes = await readFile(path).catch((error: unknown) => {
      if ((error as { readonly code?: unknown }).code === "ENOENT") return undefined;
      throw error;
    });
    return bytes === undefined ? await make(path) : privateKeyFromProtobuf(bytes);
  } catch (cause) {
    throw new QubixError(
      "ipfs_key_unusable",
      `The key of the IPFS node in ${path} cannot be used. Mend its permissions, or delete it: then the node gets another peer id.`,
      { category: "platform", cause },
    );
  }
}

async function make(path: string): Promise<PrivateKey> {
  const key = await generateKeyPair("Ed25519");
  const partial = `${path}.new`;
  const file = await open(partial, "w", 0o600);
  try {
    await file.writeFile(privateKeyToProtobuf(key));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, path);
  return key;
}
