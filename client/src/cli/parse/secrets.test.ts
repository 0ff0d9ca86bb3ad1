import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { readSecrets } from "./secrets.ts";

let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "qubix-secrets-"));
  await writeFile(join(folder, "token"), "from a file\n");
  await writeFile(join(folder, "binary"), Buffer.from([0xff, 0xfe, 0x00]));
});
afterAll(() => rm(folder, { recursive: true }));

const warnings: string[] = [];
beforeEach(() => void warnings.splice(0));
const sources = (stdin = "") => ({
  env: { TOKEN: "from a variable" },
  stdin: Readable.from([Buffer.from(stdin)]),
  warn: (message: string) => void warnings.push(message),
});

describe("secrets on the command line", () => {
  it("are named by where they are", async () => {
    const secret = [`A=@${join(folder, "token")}`, "B=env:TOKEN", "C=-"];
    expect(await readSecrets({ secret }, sources("from a pipe"))).toEqual({
      secrets: { A: "from a file\n", B: "from a variable", C: "from a pipe" },
    });
    expect(warnings).toEqual([]);
  });
  it("warn when they stand there themselves, without repeating them", async () => {
    expect(await readSecrets({ secret: ["A=hunter2"] }, sources())).toEqual({ secrets: { A: "hunter2" } });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).not.toContain("hunter2");
  });
  it("do not come from standard input where the specification came from there", async () => {
    const taken = { ...sources(""), stdinTaken: true };
    await expect(readSecrets({ secret: ["A=-"] }, taken)).rejects.toThrow(
      /--secret A: standard input can be read only once/,
    );
    const registry = { registryUser: "ann", registryPasswordFile: "-" };
    await expect(readSecrets(registry, taken)).rejects.toThrow(/--registry-password-file: standard input/);
  });
  it("are not there where none are named", async () => {
    expect(await readSecrets({}, sources())).toEqual({});
  });
  it.each([
    [["A"], /NAME=@FILE/],
    [["A=env:NOT_SET"], /NOT_SET is not set/],
    [["A=@/no/such/file"], /ENOENT/],
    [["A=-", "B=-"], /only once/],
  ])("say what is wrong with %j", async (secret, message) => {
    await expect(readSecrets({ secret }, sources())).rejects.toThrow(message);
  });
  it("are text", async () => {
    const secret = [`A=@${join(folder, "binary")}`];
    await expect(readSecrets({ secret }, sources())).rejects.toThrow(/base64/);
  });
});

describe("a private registry's credentials", () => {
  it("come from a file, without its last line end", async () => {
    const flags = { registryUser: "me", registryPasswordFile: join(folder, "token") };
    expect(await readSecrets(flags, sources())).toEqual({ registryAuth: { username: "me", password: "from a file" } });
    const piped = await readSecrets({ ...flags, registryPasswordFile: "-" }, sources("pw\n"));
    expect(piped.registryAuth?.password).toBe("pw");
  });
  it("need both", async () => {
    await expect(readSecrets({ registryUser: "me" }, sources())).rejects.toThrow(/registry-password-file/);
  });
});
