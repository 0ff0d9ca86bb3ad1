import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { describe, expect, it } from "vitest";
import type { Sealed } from "../protocol/worker-messages.ts";
import { open, rawSealingKey, seal, sealWith, type SealingContext } from "./sealing.ts";

const own = generateKeyPairSync("x25519").privateKey;
const publicKey = rawSealingKey(own);
const secret = Buffer.from("correct horse battery staple");
const context: SealingContext = {
  orchestratorId: "orc-1",
  workerId: "wrk-1",
  purpose: "assign",
  jobId: "job-1",
  of: { replica: 0, epoch: 1 },
};

/** A key of which the private part is these 32 bytes (RFC 7748, in the PKCS #8 of RFC 8410). */
function keyFrom(hex: string) {
  const der = Buffer.from(`302e020100300506032b656e04220420${hex}`, "hex");
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
}

function flipped(text: string, bit: number): string {
  const bytes = Buffer.from(text, "base64url");
  const at = bit >> 3;
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
  return bytes.toString("base64url");
}

describe("sealing", () => {
  it("gives back what was sealed, to the holder of the key, and shows nothing of it", () => {
    const sealed = seal(publicKey, secret, context);
    expect(open(own, sealed, context)).toEqual(secret);
    expect(Buffer.from(sealed.box, "base64url").includes(secret.subarray(0, 8))).toBe(false);
    expect(open(own, seal(publicKey, Buffer.alloc(0), context), context)).toHaveLength(0);
  });

  it("never makes the same box twice", () => {
    const [a, b] = [seal(publicKey, secret, context), seal(publicKey, secret, context)];
    expect(a.ephemeralKey).not.toBe(b.ephemeralKey);
    expect(a.box).not.toBe(b.box);
  });

  it.each<[string, Partial<SealingContext>]>([
    ["orchestrator", { orchestratorId: "orc-2" }],
    ["worker", { workerId: "wrk-2" }],
    ["purpose", { purpose: "promote" }],
    ["job", { jobId: "job-2" }],
    ["replica", { of: { replica: 1, epoch: 1 } }],
    ["epoch", { of: { replica: 0, epoch: 2 } }],
    ["standby", { of: { standbyId: "job-1/s1" } }],
  ])("does not open for another %s", (_what, other) => {
    const sealed = seal(publicKey, secret, context);
    expect(() => open(own, sealed, { ...context, ...other })).toThrow(
      expect.objectContaining({ code: "sealed_unreadable" }),
    );
  });

  it("does not open with another key", () => {
    const other = generateKeyPairSync("x25519").privateKey;
    expect(() => open(other, seal(publicKey, secret, context), context)).toThrow(/another key/);
  });

  it("does not open when a single bit was changed, anywhere", () => {
    const sealed = seal(publicKey, secret, context);
    for (const field of ["ephemeralKey", "nonce", "box"] as const) {
      const bits = Buffer.from(sealed[field], "base64url").length * 8;
      for (let bit = 0; bit < bits; bit += 1) {
        // The topmost bit of an X25519 key is ignored (RFC 7748), but both keys go into the derivation as they came.
        expect(() => open(own, { ...sealed, [field]: flipped(sealed[field], bit) }, context)).toThrow();
      }
    }
  });

  it("takes no short tag, nonce or box", () => {
    const sealed = seal(publicKey, secret, context);
    const box = Buffer.from(sealed.box, "base64url");
    const cut = (bytes: number): Sealed => ({
      ...sealed,
      box: box.subarray(0, box.length - bytes).toString("base64url"),
    });
    for (const bytes of [1, 4, 8, 12, 15, 16, box.length - 4, box.length]) {
      expect(() => open(own, cut(bytes), context)).toThrow(expect.objectContaining({ code: "sealed_unreadable" }));
    }
    expect(() => open(own, { ...sealed, nonce: "AAAA" }, context)).toThrow();
  });

  it("seals to no key that is none, or whose secrets everybody knows", () => {
    const bad = ["", "AAAA", publicKey.slice(1), `${publicKey}A`, Buffer.alloc(32).toString("base64url")];
    for (const key of bad) {
      expect(() => seal(key, secret, context)).toThrow(expect.objectContaining({ code: "sealing_key_invalid" }));
    }
  });

  it("makes the same boxes in every version", () => {
    // Bob of RFC 7748, section 6.1: an agent of today must open what an orchestrator of tomorrow seals.
    const moment = keyFrom("0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20");
    const bob = keyFrom("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    const sealed = sealWith(
      moment,
      Buffer.from("000102030405060708090a0b", "hex"),
      rawSealingKey(bob),
      secret,
      context,
    );
    expect(sealed).toEqual(VECTOR);
    expect(open(bob, VECTOR, context)).toEqual(secret);
    const standby = { ...context, purpose: "prepare" as const, of: { standbyId: "job-1/s1" } };
    expect(open(bob, STANDBY_VECTOR, standby)).toEqual(secret);
  });
});

const VECTOR: Sealed = {
  version: 1,
  ephemeralKey: "B6N8vBQgk8i3VdwbEOhstCY3StFqqFPtC9_AsrhtHHw",
  nonce: "AAECAwQFBgcICQoL",
  box: "0M_Fm3iM8hH_0j1IX8nzO8NFQIEtaiX4dF-PFuXimwlZso1rnQXOWyHSyNc",
};
const STANDBY_VECTOR: Sealed = {
  ...VECTOR,
  box: "4vnFJYNVh0OTA250bjwNiL7sjXGJCNQm6XCSjnpjoVacYwOL2b73ZtsFfkQ",
};
