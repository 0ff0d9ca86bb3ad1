import { deflateRawSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { isSameFile } from "./formats.ts";

const TOLERANCE = { relative: 0.01, absolute: 0 };
const text = (value: string) => Buffer.from(value);
const same = (path: string, a: Buffer, b: Buffer, tolerance = TOLERANCE) => isSameFile(path, a, b, tolerance);

function npy(descr: string, data: Buffer, shape = "3,", version = 1): Buffer {
  const body = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape}), }`;
  const header = Buffer.from(`${body.padEnd(117)}\n`, "latin1");
  const length = version === 1 ? Buffer.alloc(2) : Buffer.alloc(4);
  if (version === 1) length.writeUInt16LE(header.length);
  else length.writeUInt32LE(header.length);
  return Buffer.concat([Buffer.from("\x93NUMPY", "latin1"), Buffer.from([version, 0]), length, header, data]);
}
const floats = (...values: number[]) => Buffer.from(new Float32Array(values).buffer);
const doubles = (...values: number[]) => Buffer.from(new Float64Array(values).buffer);

describe("npy", () => {
  test.each([1, 2])("of version %i: floats within the tolerance, and no further", (version) => {
    const one = npy("<f4", floats(1, 2, 100), "3,", version);
    expect(same("a.npy", one, npy("<f4", floats(1.005, 2, 100.9), "3,", version))).toBe(true);
    expect(same("a.npy", one, npy("<f4", floats(1, 2, 102), "3,", version))).toBe(false);
  });
  test("of another type, order or shape is another one", () => {
    const one = npy("<f4", floats(1, 2, 3));
    expect(same("a.npy", one, npy("<f8", doubles(1, 2, 3)))).toBe(false);
    expect(same("a.npy", one, npy("<f4", floats(1, 2, 3), "1, 3"))).toBe(false);
    expect(same("a.npy", one, npy(">f4", floats(1, 2, 3)))).toBe(false);
  });
  test("with what is not a number", () => {
    expect(same("a.npy", npy("<f4", floats(NaN, Infinity, 1)), npy("<f4", floats(NaN, Infinity, 1.001)))).toBe(true);
    expect(same("a.npy", npy("<f4", floats(Infinity, 0, 0)), npy("<f4", floats(-Infinity, 0, 0)))).toBe(false);
    expect(same("a.npy", npy("<f4", floats(NaN, 0, 0)), npy("<f4", floats(0, 0, 0)))).toBe(false);
  });
  test("of halves, big-endian integers and complex numbers", () => {
    const halves = (...bits: number[]) => Buffer.from(new Uint16Array(bits).buffer);
    // 1, 1.001 (rounded to a half), 2
    expect(same("a.npy", npy("<f2", halves(0x3c00)), npy("<f2", halves(0x3c01)))).toBe(true);
    expect(same("a.npy", npy("<f2", halves(0x3c00)), npy("<f2", halves(0x4000)))).toBe(false);
    expect(same("a.npy", npy(">i2", Buffer.from([0x03, 0xe8])), npy(">i2", Buffer.from([0x03, 0xe9])))).toBe(true);
    expect(same("a.npy", npy(">i2", Buffer.from([0x03, 0xe8])), npy(">i2", Buffer.from([0xe8, 0x03])))).toBe(false);
    expect(same("a.npy", npy("<c8", floats(1, 2)), npy("<c8", floats(1, 2.001)))).toBe(true);
  });
  test("that holds objects is compared byte by byte", () => {
    expect(same("a.npy", npy("|O", text("abc")), npy("|O", text("abd")))).toBe(false);
  });
  test("that is none cannot be told", () => {
    expect(() => same("a.npy", text("one"), text("other"))).toThrow("no npy file");
  });
});

function zip(files: Readonly<Record<string, Buffer>>, method: 0 | 8): Buffer {
  const locals: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, data] of Object.entries(files)) {
    const packed = method === 8 ? deflateRawSync(data) : data;
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const entry = Buffer.alloc(46);
    entry.writeUInt32LE(0x02014b50, 0);
    entry.writeUInt16LE(method, 10);
    entry.writeUInt32LE(packed.length, 20);
    entry.writeUInt32LE(data.length, 24);
    entry.writeUInt16LE(name.length, 28);
    entry.writeUInt32LE(offset, 42);
    locals.push(local, text(name), packed);
    directory.push(entry, text(name));
    offset += 30 + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, ...directory, end]);
}

test("npz: each array by its name, packed or not", () => {
  const one = zip({ "w.npy": npy("<f4", floats(1, 2, 3)), "b.npy": npy("<f4", floats(0)) }, 8);
  const close = zip({ "b.npy": npy("<f4", floats(0)), "w.npy": npy("<f4", floats(1.001, 2, 3)) }, 0);
  expect(same("a.npz", one, close)).toBe(true);
  expect(same("a.npz", one, zip({ "w.npy": npy("<f4", floats(1, 2, 3)) }, 8))).toBe(false);
  expect(same("a.npz", one, zip({ "w.npy": npy("<f4", floats(9, 2, 3)), "b.npy": npy("<f4", floats(0)) }, 8))).toBe(
    false,
  );
});

function safetensors(tensors: Readonly<Record<string, readonly [string, Buffer]>>, metadata = "x"): Buffer {
  let at = 0;
  const header: Record<string, unknown> = { __metadata__: { made: metadata } };
  for (const [name, [dtype, data]] of Object.entries(tensors)) {
    header[name] = { dtype, shape: [data.length], data_offsets: [at, (at += data.length)] };
  }
  const json = text(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...Object.values(tensors).map(([, data]) => data)]);
}

test("safetensors: tensors by name, whatever is written beside them", () => {
  const one = safetensors({ w: ["F32", floats(1, 2)], h: ["BF16", Buffer.from([0x80, 0x3f])] });
  expect(
    same(
      "m.safetensors",
      one,
      safetensors({ w: ["F32", floats(1.001, 2)], h: ["BF16", Buffer.from([0x80, 0x3f])] }, "y"),
    ),
  ).toBe(true);
  expect(
    same("m.safetensors", one, safetensors({ w: ["F32", floats(1, 2)], h: ["BF16", Buffer.from([0x00, 0x40])] })),
  ).toBe(false);
  expect(same("m.safetensors", one, safetensors({ w: ["F32", floats(1, 2)] }))).toBe(false);
});

test.each([
  [
    "json",
    '{"loss": 1.0, "name": "a", "all": [1, null, true]}',
    '{"name":"a","loss":1.005,"all":[1.001,null,true]}',
    true,
  ],
  ["json", '{"loss": 1.0}', '{"loss": 1.5}', false],
  ["json", '{"loss": 1.0}', '{"loss": "1.0"}', false],
  ["json", "[1]", "[1, 1]", false],
  ["json", '{"a": 1}', '{"toString": 1}', false],
  ["csv", "step,loss\n1,0.100\n2,1e-3\n", "step,loss\n1,0.1005\n2,0.001\n", true],
  ["csv", "step,loss\n1,0.1\n", "step,loss\n1,0.2\n", false],
  ["csv", "step,loss\n1,0.1\n", "step,gain\n1,0.1\n", false],
  ["txt", "accuracy 99.1%", "accuracy 99.2%", true],
  ["bin", "1.0", "1.001", false],
])("%s: %s beside %s", (extension, a, b, expected) => {
  expect(same(`out/result.${extension}`, text(a), text(b))).toBe(expected);
});

test("an absolute tolerance serves numbers about zero", () => {
  expect(same("a.csv", text("0.0"), text("1e-9"))).toBe(false);
  expect(same("a.csv", text("0.0"), text("1e-9"), { relative: 0, absolute: 1e-6 })).toBe(true);
});
