// The hash that chains metering ticks.
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { type TickStatement, tickText } from "../protocol/ticks.ts";

/** SHA-256 of {@link tickText}, hexadecimal: what the next tick names as `prev`. */
export function tickHash(tick: TickStatement): string {
  return bytesToHex(sha256(utf8ToBytes(tickText(tick))));
}
