// The digest of a receipt: by it any change of the file is seen, also of what no signature covers.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** SHA-256 (hexadecimal) of the receipt without its `digest`, as JSON without white space, the keys of every object in the order of their UTF-16 code units. */
export function receiptDigest(receipt: Readonly<Record<string, unknown>>): string {
  const { digest: _, ...rest } = receipt;
  return bytesToHex(sha256(utf8ToBytes(JSON.stringify(sorted(rest)))));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([key, part]) => [key, sorted(part)]));
}
