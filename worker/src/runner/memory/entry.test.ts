import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type SlotFolders, slotFolders } from "../slot-folders.ts";
import { closeEntry, dropEntry, lookAtFiles, nameImage, openEntry, placeFiles } from "./entry.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "qubix-memory-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

async function slot(name: string): Promise<SlotFolders> {
  const folders = slotFolders(dir, name);
  const { work, out, progress, checkpoint, own } = folders;
  for (const folder of [work, out, progress, checkpoint, own, folders.imageVolume(0)]) {
    await mkdir(folder, { recursive: true });
  }
  return folders;
}

async function entryOf(folders: SlotFolders): Promise<string> {
  await writeFile(join(await openEntry(folders), "checkpoint.img"), "memory");
  return `${await closeEntry(folders)}#1.1`;
}

describe("an entry of memory and files", () => {
  it("holds all that a container may write, and gives it back to another slot, once or twice", async () => {
    const from = await slot("from");
    await writeFile(join(from.work, "a"), "1", { mode: 0o750 });
    await mkdir(join(from.work, "empty"));
    await symlink("../a", join(from.work, "empty/link"));
    await writeFile(join(from.imageVolume(0), "v"), "2");
    await writeFile(join(from.progress, "progress"), "0.5");
    const entry = await entryOf(from);
    const name = entry.slice(0, entry.indexOf("#"));
    expect(await readdir(from.checkpoint)).toEqual([name]);
    const to = await slot("to");
    await writeFile(join(to.work, "old"), "not of the checkpoint");
    await rm(to.checkpoint, { recursive: true });
    // As a tree travels: without links.
    await mkdir(to.checkpoint);
    await rename(join(from.checkpoint, name), join(to.checkpoint, name));
    await placeFiles(to, entry);
    await placeFiles(to, entry);
    expect((await readdir(to.work)).toSorted()).toEqual(["a", "empty"]);
    expect((await lstat(join(to.work, "a"))).mode & 0o777).toBe(0o750);
    expect(await readlink(join(to.work, "empty/link"))).toBe("../a");
    expect(await readFile(join(to.imageVolume(0), "v"), "utf8")).toBe("2");
    expect(await readFile(join(to.progress, "progress"), "utf8")).toBe("0.5");
    await nameImage(to, entry);
    const image = await readFile(join(to.own, "restore"), "utf8");
    expect(await readFile(join(image, "checkpoint.img"), "utf8")).toBe("memory");
    await nameImage(to, null);
    expect(await readdir(to.own)).toEqual([]);
  });

  it("gets a name after those that are there, and none before it is whole", async () => {
    const folders = await slot("from");
    await openEntry(folders);
    expect((await readdir(folders.checkpoint)).filter((name) => !name.startsWith("."))).toEqual([]);
    await dropEntry(folders);
    expect(await readdir(folders.checkpoint)).toEqual([]);
    await entryOf(folders);
    await entryOf(folders);
    expect((await readdir(folders.checkpoint)).toSorted()).toEqual(["memory-1", "memory-2"]);
  });

  it("of a stranger leads nowhere: links stay inside it, and do not lead through one another", async () => {
    const folders = await slot("to");
    const outside = join(dir, "outside");
    await mkdir(outside);
    const entry = join(folders.checkpoint, "memory-1");
    await mkdir(join(entry, "files/work"), { recursive: true });
    await mkdir(join(entry, "files/control"), { recursive: true });
    const links = [
      { path: "work/out", target: outside },
      { path: "work/out/planted", target: "/etc/passwd" },
      { path: "work/../../planted", target: "/etc/passwd" },
      { path: "work//planted", target: "/etc/passwd" },
      { path: "../planted", target: "/etc/passwd" },
      { path: 7, target: "/etc/passwd" },
      null,
    ];
    await writeFile(join(entry, "links.json"), JSON.stringify(links));
    await placeFiles(folders, "memory-1#1.1");
    expect(await readdir(outside)).toEqual([]);
    expect(await readdir(folders.work)).toEqual(["out"]);
    expect((await readdir(folders.checkpoint)).toSorted()).toEqual(["memory-1"]);
    expect(await readdir(folders.root)).not.toContain("control");
  });

  it("is not begun where there is what no tree can hold", async () => {
    const folders = await slot("from");
    await writeFile(join(folders.work, "a"), "12345");
    expect(await lookAtFiles(folders)).toEqual({ bytes: 5, unfit: [] });
    const server = createServer().listen(join(folders.work, "socket"));
    await new Promise((resolve) => server.once("listening", resolve));
    expect((await lookAtFiles(folders)).unfit).toEqual([join(folders.work, "socket")]);
    server.close();
  });
});
