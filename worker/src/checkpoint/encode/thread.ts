// A thread that reads, compares, hashes and compresses, so that the agent's own never waits for it. One question at a time.
import { createHash } from "node:crypto";
import { readSync, writeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { applyLayer, checkSum, cidOf, decodePiece, partOf } from "@qubix/shared/chunks";
import { CHUNK_BYTES_MAX, CHUNK_STORED_BYTES_MAX } from "@qubix/shared/limits";
import { align, type OpenFile } from "./align.ts";
import { makePiece } from "./pieces.ts";
import type { Answer, Ask, Reply, Request, TaskKind } from "./tasks.ts";

const BLOCK_BYTES = 1024 * 1024;

parentPort?.on("message", (request: Request) => {
  const transfer: ArrayBuffer[] = [];
  parentPort?.postMessage(replyTo(request, transfer), transfer);
});

function replyTo(request: Request, transfer: ArrayBuffer[]): Reply {
  try {
    return { kind: "answer", answer: answerTo(request, transfer) };
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return { kind: "failed", code, message };
  }
}

function answerTo(request: Request, transfer: ArrayBuffer[]): Answer<TaskKind> {
  if (request.kind === "pieces") return pieces(request.ask, transfer);
  if (request.kind === "align") return align(request.ask.now, request.ask.before);
  if (request.kind === "sum") return sum(request.ask);
  return write(request.ask, transfer);
}

function pieces({ segments, memory, ...options }: Ask<"pieces">, transfer: ArrayBuffer[]): Answer<"pieces"> {
  const spare = [...memory];
  const made = segments.map((segment) => {
    const into = spare.pop() ?? new ArrayBuffer(CHUNK_STORED_BYTES_MAX);
    const piece = makePiece(segment, options, new Uint8Array(into));
    if (piece.stored === null) spare.push(into);
    else transfer.push(into);
    return piece;
  });
  transfer.push(...spare);
  return { pieces: made, spare };
}

function sum({ fd, bytes }: OpenFile): string {
  const hash = createHash("sha256");
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  for (let at = 0; at < bytes; ) {
    const got = readSync(fd, block, 0, Math.min(BLOCK_BYTES, bytes - at), at);
    if (got === 0) throw Object.assign(new Error("a file ended early"), { code: "file_changed" });
    hash.update(block.subarray(0, got));
    at += got;
  }
  return hash.digest("hex");
}

/** Made anew for each piece. */
const plainMemory = new Uint8Array(CHUNK_BYTES_MAX);

function write(ask: Ask<"write">, transfer: ArrayBuffer[]): Answer<"write"> {
  const bytes = decode(ask);
  for (let at = 0; at < bytes.length; ) at += writeSync(ask.fd, bytes, at, bytes.length - at, ask.position + at);
  const memory = new Set(ask.stored.map(({ buffer }) => buffer));
  const spare = [...memory].filter((buffer) => buffer instanceof ArrayBuffer);
  transfer.push(...spare);
  return { bytes: bytes.length, spare };
}

function decode({ ref, stored, plain, skip }: Ask<"write">): Uint8Array {
  const names = [ref.cid, ...(ref.layers ?? []).map(({ cid }) => cid)];
  stored.forEach((bytes, index) => {
    if (cidOf(bytes) !== names[skip + index])
      throw corrupt(`the bytes that came for ${names[skip + index]} are others`);
  });
  if (plain === null) return decodePiece(ref, stored, plainMemory);
  stored.forEach((layer, index) => applyLayer(plain, layer, ref.layers?.[skip - 1 + index]));
  checkSum(ref, plain);
  return partOf(ref, plain);
}

function corrupt(what: string): Error {
  return Object.assign(new Error(`A stored tree is damaged: ${what}`), { code: "tree_corrupt" });
}
