import { execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "@qubix/shared/runtime";
import { createTextHash, masterKeyFile, openMasterKey, openVault } from "./index.ts";

const logger = createLogger("test", "silent");
const content = {
  secrets: { TOKEN: "a very secret value" },
  registryAuth: { username: "me", password: "pass phrase" },
};

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "qubix-vault-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const folder = () => join(dir, "vault");
const keyFile = () => masterKeyFile(dir, undefined);
const open = () => openVault(folder(), openMasterKey(keyFile()), logger);
const entries = () => readdirSync(folder()).filter((name) => name !== "key-check");

/** No file of this process grows beyond: like a full disk, the system takes what still fits of a write, and refuses the next. */
function limitFiles(bytes: number | "unlimited"): void {
  execFileSync("prlimit", ["--pid", String(process.pid), `--fsize=${bytes}:`]);
}

describe("the master key", () => {
  it.runIf(process.platform === "linux")("is whole on the disk or not there at all", () => {
    limitFiles(20);
    try {
      expect(() => openMasterKey(keyFile())).toThrow(expect.objectContaining({ code: "master_key_unusable" }));
    } finally {
      limitFiles("unlimited");
    }
    const made = openMasterKey(keyFile()).derive("a test", 32);
    expect(openMasterKey(keyFile()).derive("a test", 32)).toEqual(made);
  });
});

describe("the vault", () => {
  it("gives back what was put in, also after a restart, and has nothing of it on disk in the clear", async () => {
    const id = await open().put(content);
    expect(open().get(id)).toEqual(content);
    expect(statSync(join(folder(), id)).mode & 0o777).toBe(0o600);
    expect(statSync(keyFile()).mode & 0o777).toBe(0o600);
    const text = readFileSync(join(folder(), id)).toString("latin1");
    for (const word of ["very secret", "TOKEN", "pass phrase"]) expect(text).not.toContain(word);
  });

  it("says that an entry is gone, changed, or another's, and nothing of what it held", async () => {
    const vault = open();
    const [one, two] = [await vault.put(content), await vault.put({ secrets: { A: "b" } })];
    const unreadable = (id: string) =>
      expect(() => vault.get(id)).toThrow(expect.objectContaining({ code: "vault_unreadable" }));
    const bytes = readFileSync(join(folder(), one));
    writeFileSync(join(folder(), one), bytes.subarray(0, bytes.length - 12));
    unreadable(one);
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    writeFileSync(join(folder(), one), bytes);
    unreadable(one);
    renameSync(join(folder(), two), join(folder(), one));
    unreadable(one);
    unreadable(two);
  });

  it("removes what no job names, but not what is about to be named", async () => {
    const vault = open();
    const [wanted, orphan, coming] = [await vault.put(content), await vault.put(content), await vault.put(content)];
    writeFileSync(join(folder(), "0123.new"), "torn");
    vault.settle(wanted);
    vault.settle(orphan);
    vault.sweep(new Set([wanted]));
    expect(entries().toSorted()).toEqual([wanted, coming].toSorted());
    vault.remove(coming);
    vault.remove(coming);
    expect(entries()).toEqual([wanted]);
    // The next start knows of none that is under way.
    open().sweep(new Set());
    expect(entries()).toEqual([]);
  });

  it("is not opened under another master key as long as it holds something", async () => {
    const vault = open();
    const id = await vault.put(content);
    rmSync(keyFile());
    expect(open).toThrow(expect.objectContaining({ code: "master_key_wrong" }));
    vault.remove(id);
    expect(open().get(await open().put(content))).toEqual(content);
  });

  it("says when it cannot keep a secret, so that the job is not accepted", async () => {
    const vault = open();
    rmSync(folder(), { recursive: true });
    await expect(vault.put(content)).rejects.toMatchObject({
      code: "vault_not_writable",
      status: 503,
      retryable: true,
    });
  });

  it("refuses a master key that others can read, or that is none", () => {
    open();
    chmodSync(keyFile(), 0o644);
    expect(open).toThrow(/chmod 600/);
    writeFileSync(keyFile(), "short");
    chmodSync(keyFile(), 0o600);
    expect(open).toThrow(expect.objectContaining({ code: "master_key_unusable" }));
  });
});

it("hashes of texts are the same after a restart, and others under another key", () => {
  const hash = (name: string) => createTextHash(openMasterKey(join(dir, name)))("{}");
  expect(hash("a")).toBe(hash("a"));
  expect(hash("a")).not.toBe(hash("b"));
});
