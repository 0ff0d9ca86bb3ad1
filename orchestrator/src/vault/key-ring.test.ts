import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import BetterSqlite3 from "better-sqlite3";
import type { AccountId } from "@qubix/shared/domain";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openKeyRing, openKeys, openMasterKey, rotateKeys } from "./index.ts";

const ALICE = "acc-alice" as AccountId;
const BOB = "acc-bob" as AccountId;
const ROTATE_LOOP = fileURLToPath(new URL("./testing/rotate-loop.ts", import.meta.url));
const KILLS = 4;

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "qubix-keys-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const path = (name: string) => join(dir, name);
const codeOf = (work: () => unknown): unknown => {
  try {
    work();
    return "done";
  } catch (error) {
    return (error as { readonly code?: unknown }).code;
  }
};
/** What the ring gives under this master key, as text. */
const readAll = (masterKey: string, accounts: readonly AccountId[] = [ALICE, BOB]): string => {
  const ring = openKeys(dir, path(masterKey));
  try {
    return [ring.derive("test", 32), ...accounts.map((id) => ring.ofConsumer(id))]
      .map((key) => key.toString("hex"))
      .join();
  } finally {
    ring.close();
  }
};

describe("the key ring", () => {
  it("makes a key for each consumer at the first call, and gives the same ones ever after", () => {
    const ring = openKeys(dir, path("a"));
    expect(ring.hasConsumer(ALICE)).toBe(false);
    const key = ring.ofConsumer(ALICE);
    expect(key).toHaveLength(32);
    expect(ring.hasConsumer(ALICE)).toBe(true);
    expect(ring.ofConsumer(BOB).equals(key)).toBe(false);
    ring.close();
    const again = openKeys(dir, path("a"));
    expect(again.ofConsumer(ALICE).equals(key)).toBe(true);
    again.close();
  });

  it("is not opened by another master key, nor by none, and says what to do", () => {
    readAll("a");
    expect(() => openKeyRing(dir, openMasterKey(path("b")))).toThrow(/--master-key-file/);
    expect(codeOf(() => openKeyRing(dir, openMasterKey(path("b"))))).toBe("master_key_wrong");
    expect(codeOf(() => openKeys(dir, path("c")))).toBe("master_key_unusable");
    expect(existsSync(path("c"))).toBe(false);
  });

  it("takes no key that was changed or put in another's place", () => {
    readAll("a");
    const db = new BetterSqlite3(path("keys.db"));
    const wrapped = db.prepare("SELECT wrapped FROM keys WHERE name = ?").pluck().get(BOB);
    db.prepare("UPDATE keys SET wrapped = ? WHERE name = ?").run(wrapped, ALICE);
    db.close();
    expect(codeOf(() => readAll("a", [ALICE]))).toBe("key_damaged");
    expect(codeOf(() => rotateKeys(dir, path("a"), path("b")))).toBe("key_damaged");
    expect(codeOf(() => readAll("a", [BOB]))).toBe("done");
  });

  it("stays the same under another master key, and the old one opens it no more", () => {
    const before = readAll("a");
    expect(rotateKeys(dir, path("a"), path("b"))).toMatchObject({ keys: 3, to: path("b") });
    expect(readAll("b")).toBe(before);
    expect(codeOf(() => readAll("a"))).toBe("master_key_wrong");
    // Killed before it could say so, and called again.
    expect(rotateKeys(dir, path("a"), path("b")).keys).toBe(3);
    expect(readAll("b")).toBe(before);
    expect(codeOf(() => rotateKeys(dir, path("b"), path("b")))).toBe("master_key_unusable");
    expect(codeOf(() => rotateKeys(path("nowhere"), path("b"), path("c")))).toBe("keys_lost");
  });

  it("is opened whole by the old master key or by the new one after a kill at any moment", async () => {
    const accounts = Array.from({ length: 200 }, (_, n) => `acc-${n}` as AccountId);
    const before = readAll("a", accounts);
    rotateKeys(dir, path("a"), path("b"));
    rotateKeys(dir, path("b"), path("a"));
    for (let kill = 0; kill < KILLS; kill += 1) {
      const [from, to] = codeOf(() => readAll("a", [])) === "done" ? ["a", "b"] : ["b", "a"];
      const args = ["--conditions=qubix-source", ROTATE_LOOP, dir, path(from), path(to)];
      const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
      await once(child.stdout, "data");
      await sleep(Math.random() * 40);
      child.kill("SIGKILL");
      await once(child, "exit");
      const opened = ["a", "b"].filter((name) => codeOf(() => readAll(name, [])) === "done");
      expect(opened).toHaveLength(1);
      expect(readAll(opened[0] ?? "", accounts)).toBe(before);
    }
  });
});
