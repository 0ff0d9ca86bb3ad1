// Two files with the same name, compared number by number where their format is one that holds numbers, and byte by byte otherwise.
// Formats: npy (numpy.lib.format 1.0 to 3.0), npz (a zip of those), safetensors (github.com/huggingface/safetensors), JSON, and text with numbers in it.
import { inflateRawSync } from "node:zlib";
import type { Tolerance } from "@qubix/shared/protocol";
import { areClose, isClose, NUMBER_TYPES, viewOf } from "./numbers.ts";

/** Of a file in a zip, unpacked: a small file must not become a large one. */
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024;
/** Levels of JSON that are gone down. */
const JSON_DEPTH_MAX = 500;

/** Whether the files are the same. Throws where one is not what its name says, and they are not equal byte for byte. */
export function isSameFile(path: string, a: Buffer, b: Buffer, tolerance: Tolerance): boolean {
  if (a.equals(b)) return true;
  const extension = path.slice(path.lastIndexOf(".") + 1).toLowerCase();
  switch (extension) {
    case "npy":
      return isSameNpy(a, b, tolerance);
    case "npz":
      return isSameNpz(a, b, tolerance);
    case "safetensors":
      return isSameSafetensors(a, b, tolerance);
    case "json":
      return isSameJson(JSON.parse(a.toString("utf8")), JSON.parse(b.toString("utf8")), tolerance, 0);
    case "csv":
    case "tsv":
    case "txt":
    case "jsonl":
    case "ndjson":
    case "log":
    case "md":
      return isSameText(a.toString("utf8"), b.toString("utf8"), tolerance);
    default:
      return false;
  }
}

// ── npy ──

const NPY_MAGIC = Buffer.from("\x93NUMPY", "latin1");

function isSameNpy(a: Buffer, b: Buffer, tolerance: Tolerance): boolean {
  const [one, other] = [npyOf(a), npyOf(b)];
  if (one.descr !== other.descr || one.layout !== other.layout) return false;
  const [, order, kind, size] = /^([<>|=])([a-zA-Z])(\d+)$/.exec(one.descr) ?? [];
  // A complex number is two floats in a row.
  const type = kind === "c" ? NUMBER_TYPES[`f${Number(size) / 2}`] : NUMBER_TYPES[`${kind}${size}`];
  if (type === undefined) return false;
  return areClose(one.data, other.data, type, order !== ">", tolerance);
}

function npyOf(bytes: Buffer): { readonly descr: string; readonly layout: string; readonly data: Buffer } {
  if (!bytes.subarray(0, NPY_MAGIC.length).equals(NPY_MAGIC)) throw new Error("this is no npy file");
  const isShort = bytes.readUInt8(6) === 1;
  const from = isShort ? 10 : 12;
  const length = isShort ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  const header = bytes.subarray(from, from + length).toString("latin1");
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1] ?? "";
  const order = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1] ?? "";
  const shape = /'shape'\s*:\s*\(([^)]*)\)/.exec(header)?.[1] ?? "";
  return { descr, layout: `${order} ${shape.replaceAll(" ", "")}`, data: bytes.subarray(from + length) };
}

// ── npz ──

function isSameNpz(a: Buffer, b: Buffer, tolerance: Tolerance): boolean {
  const [one, other] = [zipOf(a), zipOf(b)];
  if (one.size !== other.size) return false;
  for (const [name, bytes] of one) {
    const its = other.get(name);
    if (its === undefined || !isSameFile(name, bytes, its, tolerance)) return false;
  }
  return true;
}

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const END_BYTES = 22;
const COMMENT_BYTES_MAX = 65_535;

/** Files of a zip by name (APPNOTE 6.3: the directory at its end says where they lie). Throws for what it does not know: zip64, encryption, other ways of packing. */
function zipOf(bytes: Buffer): ReadonlyMap<string, Buffer> {
  let end = bytes.length - END_BYTES;
  const least = Math.max(0, end - COMMENT_BYTES_MAX);
  while (end >= least && bytes.readUInt32LE(end) !== END_OF_DIRECTORY) end -= 1;
  if (end < least) throw new Error("this is no zip file");
  const count = bytes.readUInt16LE(end + 10);
  let at = bytes.readUInt32LE(end + 16);
  const files = new Map<string, Buffer>();
  let left = UNPACKED_BYTES_MAX;
  for (let n = 0; n < count; n += 1) {
    if (bytes.readUInt32LE(at) !== DIRECTORY_ENTRY) throw new Error("the directory of the zip file is broken");
    const method = bytes.readUInt16LE(at + 10);
    const packed = bytes.readUInt32LE(at + 20);
    const nameLength = bytes.readUInt16LE(at + 28);
    const skip = bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    const local = bytes.readUInt32LE(at + 42);
    const name = bytes.subarray(at + 46, at + 46 + nameLength).toString("utf8");
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(from, from + packed);
    if (method !== 0 && method !== 8) throw new Error(`${name} is packed in a way that is not known here`);
    const file = method === 0 ? data : inflateRawSync(data, { maxOutputLength: left });
    left -= file.length;
    if (left < 0) throw new Error("the zip file is too large");
    files.set(name, file);
    at += 46 + nameLength + skip;
  }
  return files;
}

// ── safetensors ──

const SAFETENSORS_TYPES: Readonly<Record<string, string>> = {
  BOOL: "b1",
  I8: "i1",
  U8: "u1",
  I16: "i2",
  U16: "u2",
  I32: "i4",
  U32: "u4",
  I64: "i8",
  U64: "u8",
  F16: "f2",
  BF16: "bf2",
  F32: "f4",
  F64: "f8",
};

interface Tensor {
  readonly dtype: string;
  readonly shape: string;
  readonly data: Buffer;
}

function isSameSafetensors(a: Buffer, b: Buffer, tolerance: Tolerance): boolean {
  const [one, other] = [tensorsOf(a), tensorsOf(b)];
  if (one.size !== other.size) return false;
  for (const [name, tensor] of one) {
    const its = other.get(name);
    if (its === undefined || its.dtype !== tensor.dtype || its.shape !== tensor.shape) return false;
    if (tensor.data.equals(its.data)) continue;
    const type = NUMBER_TYPES[SAFETENSORS_TYPES[tensor.dtype] ?? ""];
    if (type === undefined || !areClose(tensor.data, its.data, type, true, tolerance)) return false;
  }
  return true;
}

/** By name; what is written beside them (`__metadata__`) is not compared: it may hold times. */
function tensorsOf(bytes: Buffer): ReadonlyMap<string, Tensor> {
  const length = Number(viewOf(bytes).getBigUint64(0, true));
  if (length > bytes.length - 8) throw new Error("this is no safetensors file");
  const header = JSON.parse(bytes.subarray(8, 8 + length).toString("utf8")) as Readonly<
    Record<
      string,
      { readonly dtype: string; readonly shape: readonly number[]; readonly data_offsets: readonly [number, number] }
    >
  >;
  const tensors = new Map<string, Tensor>();
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = tensor.data_offsets;
    const data = bytes.subarray(8 + length + from, 8 + length + to);
    if (data.length !== to - from) throw new Error("the safetensors file is cut off");
    tensors.set(name, { dtype: tensor.dtype, shape: tensor.shape.join(), data });
  }
  return tensors;
}

// ── JSON and text ──

function isSameJson(a: unknown, b: unknown, tolerance: Tolerance, depth: number): boolean {
  if (depth > JSON_DEPTH_MAX) throw new Error("the JSON is too deep");
  if (typeof a === "number" && typeof b === "number") return isClose(a, b, tolerance);
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  const other = b as Readonly<Record<string, unknown>>;
  return (
    keys.length === others.length &&
    keys.every((key) => Object.hasOwn(other, key)) &&
    Object.entries(a).every(([key, value]) => isSameJson(value, other[key], tolerance, depth + 1))
  );
}

const NUMBER = /([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)/;

/** What lies between the numbers is the same, and the numbers are. */
function isSameText(a: string, b: string, tolerance: Tolerance): boolean {
  const [one, other] = [a.split(NUMBER), b.split(NUMBER)];
  if (one.length !== other.length) return false;
  return one.every((part, at) => {
    const its = other[at] ?? "";
    // Split by a group: every second part is a number.
    return part === its || (at % 2 === 1 && isClose(Number(part), Number(its), tolerance));
  });
}
