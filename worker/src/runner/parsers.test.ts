import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createBootClock } from "./boot-clock.ts";
import { holdsMoreThan } from "./disk-watch.ts";
import { EngineError } from "./engine.ts";
import { pullFailure } from "./images/pull.ts";
import { firstFileOfTar, needsFiles, resolveUser } from "./image-user.ts";
import { parseProgress, parseProgressFile, readProgress, readProgressFile } from "./progress.ts";

const PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nweb:x:33:33::/:/bin/false\n";
const GROUP = "root:x:0:\nvideo:x:44:app\n";

describe("an image's user", () => {
  it.each([
    ["", 0, 0],
    ["root", 0, 0],
    ["1000", 1000, 1001],
    ["4242", 4242, 0],
    ["4242:7", 4242, 7],
    ["app", 1000, 1001],
    ["app:video", 1000, 44],
    ["app:5", 1000, 5],
    ["0:44", 0, 44],
  ])("%s is %i:%i", (user, uid, gid) => {
    expect(resolveUser(user, PASSWD, GROUP)).toEqual({ uid, gid });
  });

  it("is unknown where the files do not have it", () => {
    expect(resolveUser("nobody", PASSWD, GROUP)).toBeUndefined();
    expect(resolveUser("app:audio", PASSWD, GROUP)).toBeUndefined();
    expect([needsFiles("1:2"), needsFiles("root"), needsFiles("1"), needsFiles("app")]).toEqual([
      false,
      false,
      true,
      true,
    ]);
  });

  it.each(["99999999999:0", "0:2147483648", "99999999999", "torn", "minus:video", "app:wide"])(
    "%s is nobody that a container can run as: the image's fault, and not its worker's",
    (user) => {
      const passwd = `${PASSWD}torn:x::1:\nminus:x:-1:1:\n`;
      expect(resolveUser(user, passwd, `${GROUP}wide:x:4294967296:\n`)).toBeUndefined();
    },
  );

  it("comes from the first file of the Engine's archive", () => {
    const header = Buffer.alloc(512);
    header.write("passwd", 0);
    header.write("00000000005\0", 124);
    header.write("0", 156);
    expect(firstFileOfTar(Buffer.concat([header, Buffer.from("hello").subarray(0, 5), Buffer.alloc(507)]))).toBe(
      "hello",
    );
    expect(firstFileOfTar(Buffer.alloc(1024))).toBe("");
  });
});

describe("progress", () => {
  it.each([
    ["0.25", 0.25],
    ["25%\n", 0.25],
    [" 30 / 120 ", 0.25],
    ["1", 1],
    ["1e-2", 0.01],
    ["2", null],
    ["-1", null],
    ["5/0", null],
    ["", null],
    ["abc", null],
    ["0x1", null],
  ])("%j is %s", (text, value) => {
    expect(parseProgress(text)).toBe(value);
  });
});

describe("a progress file's deadline", () => {
  it.each([
    ["0.42 deadline=600", 0.42, 600],
    ["30/120 deadline=1.5\n", 0.25, 1.5],
    ["deadline=90", null, 90],
    ["0.42", 0.42, null],
    ["0.42 deadline=0", 0.42, null],
    ["0.42 deadline=86401", 0.42, null],
    ["0.42 deadline=soon", null, null],
    ["0.42deadline=6", null, null],
  ])("%j is %s and %s", (text, progress, deadlineS) => {
    expect(parseProgressFile(text)).toEqual({ progress, deadlineS });
  });
});

describe("what a job may have left on disk", () => {
  let dir = "";
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "qubix-disk-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("is no progress when it is a link or a folder", async () => {
    await writeFile(join(dir, "target"), "0.5");
    await symlink(join(dir, "target"), join(dir, "progress"));
    expect(await readProgress(dir)).toBeNull();
    await mkdir(join(dir, "folder/progress"), { recursive: true });
    expect(await readProgress(join(dir, "folder"))).toBeNull();
    await writeFile(join(dir, "folder/x"), "");
    expect(await readProgress(join(dir, "absent"))).toBeNull();
  });

  it("marks another content, and where there is a deadline each writing", async () => {
    const mark = async (text: string) => {
      await writeFile(join(dir, "progress"), text);
      return (await readProgressFile(dir))?.mark;
    };
    const [same, again, other] = [await mark("1/4"), await mark("1/4\n"), await mark("2/4")];
    expect(again).toBe(same);
    expect(other).not.toBe(same);
    expect(await mark("1/4 deadline=9")).not.toBe(await mark("1/4 deadline=9"));
    expect(await readProgressFile(dir)).toMatchObject({ progress: 0.25, dueMs: 9_000 });
  });

  it("is counted by what it takes: blocks, many small files, depth", async () => {
    await writeFile(join(dir, "big"), Buffer.alloc(1024 * 1024, 1));
    expect(await holdsMoreThan([dir], 2n * 1024n * 1024n)).toBe(false);
    expect(await holdsMoreThan([dir], 900n * 1024n)).toBe(true);
    for (let i = 0; i < 50; i += 1) await writeFile(join(dir, `f${i}`), "");
    expect(await holdsMoreThan([dir], 1024n * 1024n + 4096n)).toBe(true);
    await mkdir(join(dir, "d/".repeat(300)), { recursive: true });
    expect(await holdsMoreThan([join(dir, "d")], 1n << 40n)).toBe(true);
    expect(await holdsMoreThan([join(dir, "absent")], 0n)).toBe(false);
  });
});

describe("a pull that fails", () => {
  const error = (message: string, status = 500) => new EngineError("docker_error", message, status);
  it.each([
    [error("manifest unknown"), "image_not_found"],
    [
      error("pull access denied for x, repository does not exist or may require 'docker login'", 404),
      "image_not_found",
    ],
    [error("dial tcp: lookup registry-1.docker.io: no such host"), "image_pull_failed"],
    [error("toomanyrequests: rate limit"), "image_pull_failed"],
    [new Error("net/http: TLS handshake timeout"), "image_pull_failed"],
  ])("%s: %s", (cause, code) => {
    expect(pullFailure("docker.io/x", cause).problem.code).toBe(code);
  });
});

it("has a clock that only goes forward", async () => {
  const clock = createBootClock();
  const first = clock.nowMs();
  await new Promise((resolve) => setTimeout(resolve, 30));
  expect(clock.nowMs()).toBeGreaterThanOrEqual(first + 10);
  expect(createBootClock().bootId).toBe(clock.bootId);
});
