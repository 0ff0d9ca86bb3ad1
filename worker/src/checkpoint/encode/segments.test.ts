// How bytes that moved are told by the parent's pieces.
import fc from "fast-check";
import { expect, it } from "vitest";
import type { ChunkRef } from "@qubix/shared/protocol";
import { type Move, movedSegments } from "./segments.ts";

/** Pieces one after the other, each of its own bytes. */
const PIECES = fc
  .array(fc.integer({ min: 0, max: 20 }), { maxLength: 12 })
  .map((sizes) =>
    sizes.map((bytes, n): ChunkRef => ({ cid: `piece-${n}` as ChunkRef["cid"], bytes, stored: 1, encoding: "zstd" })),
  );

it("names for every byte that was copied the piece that has it, and where in it", () => {
  fc.assert(
    fc.property(PIECES, fc.nat(), fc.nat(), fc.nat(50), (pieces, a, b, at) => {
      const owners = pieces.flatMap(({ cid, bytes }) => Array.from({ length: bytes }, (_, in_) => `${cid} ${in_}`));
      const [from = 0, to = 0] = [a % (owners.length + 1), b % (owners.length + 1)].toSorted((x, y) => x - y);
      const move: Move = { kind: "copy", at, bytes: to - from, from };
      const told = movedSegments([move], pieces).flatMap((segment) => {
        if (segment.kind !== "known") throw new Error("a copy is known");
        const { cid, part } = segment.ref;
        return Array.from({ length: segment.bytes }, (_, n) => [segment.at + n, `${cid} ${(part?.from ?? 0) + n}`]);
      });
      expect(told).toEqual(owners.slice(from, to).map((owner, n) => [at + n, owner]));
    }),
  );
});
