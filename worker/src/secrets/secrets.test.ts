// Secrets on a worker: opened for the right order only, in memory only, and seen by their container and nobody else.
import { createPrivateKey } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { AttemptRef, JobId, StandbyId } from "@qubix/shared/domain";
import type { OrchestratorMessage, SealedContent } from "@qubix/shared/protocol";
import { rawSealingKey, seal, type SealingContext } from "@qubix/shared/runtime";
import { attemptOf, type Bench, createBench, ensureTinyImage, SECRETS, SECRETS_KEY, shell } from "../runner/testing.ts";
import { makeMemoryFolder, memoryFolderCandidates } from "./memory-folder.ts";
import { loadSealingKey } from "./sealing-key.ts";

const VALUE = "v4lue-that-nobody-else-may-see";
const SECRET_RUN = shell("cat /run/secrets/TOKEN; ls -ln /run/secrets | tail -1; touch /run/secrets/new || true", {
  secretNames: ["TOKEN"],
});
const JOB = "job-1" as JobId;
const STANDBY = "job-1/s1" as StandbyId;
const ATTEMPT = attemptOf(JOB);
const yes = () => true;

beforeAll(ensureTinyImage);

let bench: Bench;
beforeEach(async () => {
  bench = await createBench();
});
afterEach(() => bench.dispose());

function sealed(content: SealedContent, context: Partial<SealingContext>) {
  const whole = {
    orchestratorId: SECRETS.orchestratorId,
    workerId: bench.workerId,
    purpose: "assign" as const,
    jobId: JOB,
    of: ATTEMPT,
    ...context,
  };
  return seal(rawSealingKey(SECRETS_KEY), Buffer.from(JSON.stringify(content)), whole);
}

function assign(attempt: AttemptRef, context: Partial<SealingContext> = {}) {
  const content = { secrets: { TOKEN: VALUE }, registryAuth: { username: "me", password: "pw" } };
  return { kind: "assign", attempt, run: SECRET_RUN, checkpoint: null, sealed: sealed(content, context) } as const;
}

const foldersLeft = () => readdirSync(bench.secretsDir);

describe("secrets that came with an assignment", () => {
  it("are read by the container's user alone, at the place that was promised, and go when it has ended", async () => {
    const order = bench.secrets.receive(assign(ATTEMPT), yes);
    expect(order).not.toHaveProperty("sealed");
    const slot = bench.slot("job-1-r0e1");
    await slot.prepare(JOB, SECRET_RUN, null);
    await slot.start(ATTEMPT, SECRET_RUN);
    expect(await bench.event("exited")).toMatchObject({ exitCode: 0 });
    const [value, list] = bench.log().split(/(?=-r)/);
    expect(value).toBe(VALUE);
    expect(list).toMatch(/^-r-------- +1 65534 +65534 .* TOKEN/);
    expect(bench.log("stderr")).toContain("Read-only file system");
    await expect.poll(foldersLeft).toEqual([]);
  });

  it("are not in the container's description, environment or the slot's folders", async () => {
    bench.secrets.receive(assign(ATTEMPT), yes);
    const slot = bench.slot("job-1-r0e1");
    const run = { ...SECRET_RUN, command: ["sh", "-c", "sleep 60"] };
    await slot.prepare(JOB, run, null);
    await slot.start(ATTEMPT, run);
    const described = JSON.stringify(await bench.describe("job-1-r0e1"));
    expect(described).toContain("/run/secrets");
    expect(described).not.toContain(VALUE);
    for (const entry of readdirSync(bench.dir, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      expect(readFileSync(join(entry.parentPath, entry.name)).includes(VALUE)).toBe(false);
    }
    await slot.remove();
    expect(foldersLeft()).toEqual([]);
  });

  it("are as they were when the order comes again while its container runs", async () => {
    bench.secrets.receive(assign(ATTEMPT), yes);
    const before = bench.secrets.folder("job-1-r0e1") ?? "";
    expect(bench.secrets.handOver("job-1-r0e1", ["TOKEN"], { uid: 65_534, gid: 65_534 })).toBe(true);
    const stat = statSync(join(before, "TOKEN"));
    bench.secrets.receive(assign(ATTEMPT), yes);
    expect(statSync(join(before, "TOKEN"))).toMatchObject({ ino: stat.ino, uid: 65_534, mode: stat.mode });
  });

  it.each<[string, Partial<SealingContext>]>([
    ["epoch", { of: attemptOf(JOB, 2) }],
    ["job", { jobId: "job-2" }],
    ["worker", { workerId: "wrk-other" }],
    ["kind of order", { purpose: "promote" }],
  ])("are not opened when they were made for another %s, and the job is not run without them", async (_what, other) => {
    bench.secrets.receive(assign(ATTEMPT, other), yes);
    const slot = bench.slot("job-1-r0e1");
    await slot.prepare(JOB, SECRET_RUN, null);
    await slot.start(ATTEMPT, SECRET_RUN);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "worker_failed", code: "secrets_lost" });
    expect(bench.events.some(({ kind }) => kind === "started")).toBe(false);
  });

  it.each(["../../out", "a/b", "..", ""])("are not written, and nothing is handed over, by the name %j", (name) => {
    const out = join(bench.secretsDir, "out");
    const content = { secrets: { TOKEN: VALUE, [name]: VALUE } };
    bench.secrets.receive({ ...assign(ATTEMPT), sealed: sealed(content, {}) }, yes);
    expect(existsSync(out)).toBe(false);
    const folder = bench.secrets.folder("job-1-r0e1") ?? "";
    expect(readdirSync(folder)).toEqual([]);
    writeFileSync(out, "the machine's own");
    writeFileSync(join(folder, "TOKEN"), VALUE);
    const before = statSync(out);
    const reader = { uid: 65_534, gid: 65_534 };
    expect(bench.secrets.handOver("job-1-r0e1", ["TOKEN", name], reader)).toBe(false);
    expect(statSync(out)).toMatchObject({ uid: before.uid, mode: before.mode });
  });

  it("are lost with a reboot, which is told and is not the job's fault", async () => {
    bench.secrets.receive(assign(ATTEMPT), yes);
    const slot = bench.slot("job-1-r0e1");
    await slot.prepare(JOB, SECRET_RUN, null);
    rmSync(join(bench.secretsDir, "job-1-r0e1"), { recursive: true });
    await slot.start(ATTEMPT, SECRET_RUN);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "worker_failed", code: "secrets_lost" });
  });
});

describe("a standby", () => {
  it("gets the registry's credentials first, and the secrets when it is to run", async () => {
    const registryAuth = { username: "me", password: "pw" };
    const run = { ...SECRET_RUN, registryAuth: true as const };
    const prepare: OrchestratorMessage = {
      kind: "prepare",
      standbyId: STANDBY,
      jobId: JOB,
      run,
      checkpoint: null,
      sealed: sealed({ registryAuth }, { purpose: "prepare", of: { standbyId: STANDBY } }),
    };
    bench.secrets.receive(prepare, yes);
    expect(bench.secrets.registryAuth("job-1-s1")).toEqual(registryAuth);
    const slot = bench.slot("job-1-s1");
    await slot.prepare(JOB, run, null);
    await bench.event("prepared");
    const attempt = attemptOf(JOB, 2);
    const promote: OrchestratorMessage = {
      kind: "promote",
      standbyId: STANDBY,
      attempt,
      checkpoint: null,
      sealed: sealed({ secrets: { TOKEN: VALUE } }, { purpose: "promote", of: attempt }),
    };
    bench.secrets.receive(promote, yes);
    await slot.start(attempt, run);
    expect(await bench.event("exited")).toMatchObject({ exitCode: 0 });
    expect(bench.log()).toContain(VALUE);
  });
});

describe("credentials of a registry", () => {
  it("that did not come leave the job unrun: its image may be another's", async () => {
    const slot = bench.slot("job-1-r0e1");
    await slot.prepare(JOB, { ...SECRET_RUN, registryAuth: true }, null);
    expect((await bench.event("failed")).outcome).toMatchObject({ kind: "worker_failed", code: "secrets_lost" });
  });
});

describe("the store", () => {
  it("reaps what no slot knows, and keeps what one does", () => {
    bench.secrets.receive(assign(ATTEMPT), yes);
    bench.secrets.receive(assign(attemptOf(JOB, 2), { of: attemptOf(JOB, 2) }), yes);
    bench.secrets.reap(new Set(["job-1-r0e2"]));
    expect(foldersLeft()).toEqual(["job-1-r0e2"]);
    expect(readFileSync(join(bench.secrets.folder("job-1-r0e2") ?? "", "TOKEN"), "utf8")).toBe(VALUE);
  });
});

it("leave no folder behind when the agent stops, unless a container runs on with them", () => {
  bench.secrets.receive(assign(ATTEMPT), yes);
  bench.secrets.close();
  expect(foldersLeft()).toEqual(["job-1-r0e1"]);
  bench.secrets.remove("job-1-r0e1");
  bench.secrets.close();
  expect(existsSync(bench.secretsDir)).toBe(false);
});

describe("its folder", () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join("/dev/shm", "qubix-test-"));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  it("lies in memory, and is open to its owner alone", () => {
    const folder = makeMemoryFolder(["/nowhere", tmpdirOnDisk(), dir], "own");
    expect(folder).toBe(join(dir, "own"));
    expect(statSync(folder ?? "").mode & 0o777).toBe(0o700);
    chmodSync(folder ?? "", 0o755);
    makeMemoryFolder([dir], "own");
    expect(statSync(folder ?? "").mode & 0o777).toBe(0o700);
  });
  it("is no other's link", () => {
    mkdirSync(join(dir, "trap"));
    symlinkSync(join(dir, "trap"), join(dir, "own"));
    expect(makeMemoryFolder([dir], "own")).toBeUndefined();
  });
  it("is on this machine somewhere", () => {
    expect(memoryFolderCandidates({ XDG_RUNTIME_DIR: "/run/user/1" })).toEqual(["/run", "/run/user/1", "/dev/shm"]);
  });
});

describe("the key", () => {
  it("is made once, for its owner's eyes, and never half", () => {
    const dir = mkdtempSync(join(tmpdir(), "qubix-key-"));
    try {
      const first = rawSealingKey(loadSealingKey(dir));
      expect(rawSealingKey(loadSealingKey(dir))).toBe(first);
      const file = join(dir, "sealing-key.pem");
      expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(createPrivateKey(readFileSync(file)).asymmetricKeyType).toBe("x25519");
      expect(existsSync(`${file}.new`)).toBe(false);
      writeFileSync(file, "half");
      expect(() => loadSealingKey(dir)).toThrow(expect.objectContaining({ code: "key_unreadable" }));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});

/** A folder that a disk holds: the repository's own. */
function tmpdirOnDisk(): string {
  return import.meta.dirname;
}
