// Whatever a job and its image say, nothing outside of this list is ever asked of the Engine. The list is written without a look at what builds the request:
// it knows every key of a request by name, what it may be, and refuses each that it does not know.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RunSpec } from "@qubix/shared/protocol";
import { containerOptions, type ImageFacts } from "./host-config.ts";
import { slotFolders } from "./slot-folders.ts";

const SPECS = 10_000;
const SLOTS_DIR = "/var/lib/qubix/slots";
const SLOT = "job-a/r0e1";
const FOLDERS = slotFolders(SLOTS_DIR, SLOT);
const SECRETS = "/run/qubix-wrk-x/job-a_r0e1";
const ROOT = `${SLOTS_DIR}/job-a_r0e1`;
const HOST_CPUS = 8;
const MIB = 1_048_576;

type Check = (value: unknown, given: Given) => boolean;
interface Given {
  readonly run: RunSpec;
  readonly image: ImageFacts;
}

const is =
  (wanted: unknown): Check =>
  (value) =>
    JSON.stringify(value) === JSON.stringify(wanted);

const absentOr =
  (check: Check): Check =>
  (value, given) =>
    value === undefined || check(value, given);

const HOST_CONFIG: Readonly<Record<string, Check>> = {
  Privileged: is(false),
  CapDrop: is(["ALL"]),
  CapAdd: is([]),
  SecurityOpt: is(["no-new-privileges:true"]),
  ReadonlyRootfs: is(true),
  NetworkMode: (value, { run }) => value === (run.network === "egress" ? "qubix-wrk-x-job-a_r0e1" : "none"),
  Dns: absentOr((value, { run }) => run.network === "egress" && is(["9.9.9.9", "1.1.1.1"])(value, { run } as Given)),
  DnsSearch: absentOr((value, { run }) => run.network === "egress" && is(["."])(value, { run } as Given)),
  IpcMode: is("private"),
  CgroupnsMode: is("private"),
  PidsLimit: (value) => isCount(value) && value >= 512 && value <= 4096,
  Memory: (value, { run }) => value === run.memoryMiB * MIB,
  MemorySwap: (value, { run }) => value === run.memoryMiB * MIB,
  MemorySwappiness: is(0),
  OomScoreAdj: (value) => isCount(value) && value <= 1000,
  NanoCpus: (value, { run }) => isCount(value) && value <= HOST_CPUS * 1e9 && value <= Math.ceil(run.cpus * 1e9),
  ShmSize: (value, { run }) => value === run.shmMiB * MIB,
  Ulimits: (value) => isArray(value) && value.every(isLimit) && new Set(value.map(nameOf)).size === value.length,
  Tmpfs: (value, { run }) => keysOf(value).join() === "/tmp" && isTmp((value as { "/tmp": unknown })["/tmp"], run),
  LogConfig: is({ Type: "json-file", Config: { "max-size": "32m", "max-file": "2" } }),
  Init: is(true),
  RestartPolicy: is({ Name: "no" }),
  AutoRemove: is(false),
  Mounts: (value, given) => isArray(value) && value.every((mount) => isMount(mount, given)) && targetsDiffer(value),
  Runtime: absentOr(
    (value, { run }) => value === (run.transparent === true ? "qubix-runsc" : "runsc") && run.isolation === "sandboxed",
  ),
  DeviceRequests: absentOr(
    (value, { run }) =>
      run.gpuUuids.length > 0 &&
      is([{ Driver: "nvidia", DeviceIDs: run.gpuUuids, Capabilities: [["gpu"]] }])(value, { run } as Given),
  ),
};

const REQUEST: Readonly<Record<string, Check>> = {
  name: is("qubix-wrk-x-job-a_r0e1"),
  Image: (value, { image }) => value === image.id,
  Cmd: absentOr((value, { run }) => run.command.length > 0 && is(run.command)(value, { run } as Given)),
  Env: (value, given) => isArray(value) && isEnvironment(value, given),
  Labels: (value, { image }) =>
    Object.entries(value as object).every(([label, text]) =>
      label === "qubix.worker" ? text === "wrk-x" : label === "qubix.slot" ? text === SLOT : text === "",
    ) && keysOf(value).every((label) => image.labels.includes(label) || label.startsWith("qubix.")),
  Healthcheck: is({ Test: ["NONE"] }),
  AttachStdin: is(false),
  AttachStdout: is(false),
  AttachStderr: is(false),
  OpenStdin: is(false),
  Tty: is(false),
  NetworkDisabled: (value, { run }) => value === (run.network !== "egress"),
  HostConfig: (value, given) => complaints(value, HOST_CONFIG, given).length === 0,
};

/** What must be in every request: leaving one out would be the Engine's weaker default. */
const NEVER_ABSENT = [
  ...Object.keys(HOST_CONFIG).filter((key) => !["Runtime", "DeviceRequests", "Dns", "DnsSearch"].includes(key)),
  "name",
  "Image",
  "Env",
  "Labels",
  "Healthcheck",
  "NetworkDisabled",
  "HostConfig",
];

function complaints(value: unknown, allowed: Readonly<Record<string, Check>>, given: Given): string[] {
  const entries = Object.entries(value as object) as [string, unknown][];
  const found = entries.filter(([key, part]) => !Object.hasOwn(allowed, key) || !allowed[key]?.(part, given));
  const missing = Object.keys(allowed).filter(
    (key) => NEVER_ABSENT.includes(key) && !Object.hasOwn(value as object, key),
  );
  return [...found.map(([key, part]) => `${key}: ${JSON.stringify(part)}`), ...missing.map((key) => `no ${key}`)];
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isArray(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function keysOf(value: unknown): string[] {
  return Object.keys(value as object);
}

function nameOf(limit: unknown): string {
  return (limit as { Name: string }).Name;
}

function isLimit(limit: unknown): boolean {
  const { Name, Soft, Hard, ...rest } = limit as { Name: string; Soft: number; Hard: number };
  if (keysOf(rest).length > 0 || Soft !== Hard) return false;
  if (Name === "core") return Hard === 0;
  if (Name === "nofile") return Hard <= 20_000;
  return Name === "memlock" && Hard <= 64 * MIB;
}

function isTmp(options: unknown, run: RunSpec): boolean {
  const parts = String(options).split(",");
  const size = Number(parts.find((part) => part.startsWith("size="))?.slice(5));
  const known = parts.every((part) => /^(rw|exec|nosuid|nodev|size=[0-9]+|nr_inodes=[0-9]+|mode=1777)$/.test(part));
  return known && parts.includes("nosuid") && parts.includes("nodev") && size <= Math.max(MIB, run.memoryMiB * MIB);
}

type Mounted = Readonly<Record<string, unknown>>;
const WRITABLE = ["work", "out", "checkpoint", "progress"].map((name) => `${ROOT}/disk/${name}`);

function isMount(mount: unknown, { run, image }: Given): boolean {
  // What is saved from outside the job cannot reach.
  if (run.transparent === true && String((mount as Mounted).Source).includes("/checkpoint")) return false;
  const { Type, Source, Target, ReadOnly, BindOptions, ...rest } = mount as Record<string, unknown>;
  if (keysOf(rest).length > 0 || Type !== "bind" || !is({ Propagation: "rprivate" })(BindOptions, {} as Given)) {
    return false;
  }
  const source = String(Source);
  if (source.split("/").some((part) => part === "." || part === "..")) return false;
  if (WRITABLE.includes(source))
    return ReadOnly === false && /^\/(work|out|qubix\/(checkpoint|progress))$/.test(String(Target));
  if (source === `${ROOT}/control`) return ReadOnly === true && Target === "/qubix/control";
  if (/^\/inputs\/[0-9]+$/.test(source.slice(ROOT.length)) && source.startsWith(ROOT)) {
    return ReadOnly === true && run.inputs.some((input) => input.to === Target);
  }
  if (source === SECRETS) return ReadOnly === true && Target === "/run/secrets";
  const ofImage =
    source.startsWith(`${ROOT}/disk/volumes/`) && /^[0-9]+$/.test(source.slice(`${ROOT}/disk/volumes/`.length));
  return ofImage && ReadOnly === false && image.volumes.includes(String(Target));
}

function targetsDiffer(mounts: readonly unknown[]): boolean {
  const targets = mounts.map((mount) => String((mount as { Target: unknown }).Target));
  return new Set(targets).size === targets.length;
}

const HARMFUL = /^(LD_.*|NVIDIA_.*|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|MALLOC_TRACE|HOSTALIASES|RESOLV_HOST_CONF)$/;

function isEnvironment(lines: readonly unknown[], { run, image }: Given): boolean {
  const texts = lines.map(String);
  const granted = run.gpuUuids.length > 0 ? run.gpuUuids.join(",") : "void";
  const set = texts.filter((line) => line.includes("="));
  const bare = texts.filter((line) => !line.includes("="));
  const names = set.map((line) => line.slice(0, line.indexOf("=")));
  const harmful = set.filter((_line, index) => HARMFUL.test(names[index] ?? ""));
  const allowed = [`NVIDIA_VISIBLE_DEVICES=${granted}`, "NVIDIA_DRIVER_CAPABILITIES=compute,utility"];
  const fromImage = image.env.map((line) => line.split("=", 1)[0] ?? "").filter((name) => HARMFUL.test(name));
  return (
    harmful.every((line) => allowed.includes(line)) &&
    set.includes(allowed[0] ?? "") &&
    fromImage.every((name) => bare.includes(name) || names.includes(name)) &&
    set.filter((line) => line.startsWith("QUBIX_JOB_ID=")).join() === "QUBIX_JOB_ID=job-a" &&
    new Set(names).size === names.length
  );
}

// ── Jobs and images, hostile ones above all ─────────────────────────────────────────────────────────────────────────────────────────

const text = fc.oneof(fc.string({ maxLength: 6 }), fc.constantFrom("--privileged", "\n", "a=b", "../..", ""));
const variable = fc.oneof(
  fc.constantFrom(
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "MALLOC_TRACE",
    "QUBIX_JOB_ID",
    "QUBIX_X",
    "PATH",
    "HOME",
    "__proto__",
    "constructor",
    "LOCPATH",
  ),
  fc.stringMatching(/^(LD_|NVIDIA_|QUBIX_)?[A-Za-z_][A-Za-z0-9_]{0,10}$/),
);
const path = fc.oneof(
  fc.constantFrom("/data", "/", "/proc", "/sys/fs/cgroup", "/var/run/docker.sock", "/work", "/tmp", "/qubix/control"),
  fc.constantFrom("/etc", "/dev/mem", "/../../etc", "/out", "/qubix/checkpoint", "/data/../etc", "relative"),
  fc.string().map((name) => `/${name}`),
);
const size = fc.oneof(fc.integer({ min: 1, max: 16_777_216 }), fc.constantFrom(1, 16, 16_777_216));

const runs: fc.Arbitrary<RunSpec> = fc.record(
  {
    image: text,
    command: fc.array(text, { maxLength: 5 }),
    env: fc.dictionary(variable, text, { maxKeys: 8 }),
    outputs: fc.array(path, { maxLength: 3 }),
    inputs: fc.uniqueArray(
      path
        .filter((to) => !["/work", "/out", "/tmp"].includes(to) && !to.startsWith("/qubix"))
        .map((to) => ({ manifestCid: "bafkrei" as never, to })),
      { maxLength: 4, selector: ({ to }) => to },
    ),
    gpuUuids: fc.uniqueArray(
      fc.oneof(
        fc.uuid().map((id) => `GPU-${id}`),
        fc.constant("all"),
      ),
      { maxLength: 4 },
    ),
    cpus: fc.oneof(fc.double({ min: 0.1, max: 1024, noNaN: true }), fc.constantFrom(0.1, 1024)),
    memoryMiB: size,
    diskMiB: size,
    shmMiB: size,
    stopGraceS: fc.nat(),
    checkpointIntervalS: fc.nat(),
    isolation: fc.constant("sandboxed" as const),
    transparent: fc.constant(true as const),
    network: fc.constant("egress" as const),
    secretNames: fc.array(text, { maxLength: 2 }),
    registryAuth: fc.constant(true as const),
    imageDigest: text,
  },
  {
    requiredKeys: [
      ...([
        "image",
        "command",
        "env",
        "outputs",
        "inputs",
        "gpuUuids",
        "cpus",
        "memoryMiB",
        "diskMiB",
        "shmMiB",
      ] as const),
      ...(["stopGraceS", "checkpointIntervalS"] as const),
    ],
  },
);

const images: fc.Arbitrary<ImageFacts> = fc.record({
  id: fc.constant("sha256:abc"),
  env: fc.array(
    fc.tuple(variable, text).map(([name, value]) => `${name}=${value}`),
    { maxLength: 8 },
  ),
  volumes: fc.uniqueArray(path, { maxLength: 4 }),
  labels: fc.uniqueArray(fc.oneof(text, fc.constantFrom("qubix.worker", "qubix.slot", "traefik.enable")), {
    maxLength: 4,
  }),
});

function requestOf(run: RunSpec, image: ImageFacts) {
  return containerOptions({
    workerId: "wrk-x",
    slotId: SLOT,
    jobId: "job-a",
    containerName: "qubix-wrk-x-job-a_r0e1",
    run,
    image,
    folders: FOLDERS,
    ...(run.secretNames === undefined ? {} : { secretsFolder: SECRETS }),
    hostCpus: HOST_CPUS,
    sandboxRuntime: "runsc",
    memoryRuntime: "qubix-runsc",
  });
}

const PLAIN_RUN: RunSpec = {
  image: "docker.io/library/busybox:1",
  command: ["true"],
  env: {},
  outputs: [],
  inputs: [],
  gpuUuids: [],
  cpus: 1,
  memoryMiB: 64,
  diskMiB: 64,
  shmMiB: 8,
  stopGraceS: 1,
  checkpointIntervalS: 1,
};

describe("a container", () => {
  it(`has nothing outside of the allow-list, over ${SPECS} jobs and images`, () => {
    fc.assert(
      fc.property(runs, images, (run, image) => {
        expect(complaints(requestOf(run, image), REQUEST, { run, image })).toEqual([]);
      }),
      { numRuns: SPECS },
    );
  }, 180_000);

  it("would be found out", () => {
    const run: RunSpec = PLAIN_RUN;
    const image: ImageFacts = { id: "sha256:abc", env: ["LD_PRELOAD=/x"], volumes: [], labels: [] };
    const good = requestOf(run, image);
    const given = { run, image };
    expect(complaints(good, REQUEST, given)).toEqual([]);
    const harms: readonly object[] = [
      { Privileged: true },
      { PidMode: "host" },
      { CapAdd: ["SYS_ADMIN"] },
      { Binds: ["/:/host"] },
      { Devices: [] },
      { SecurityOpt: [] },
      { SecurityOpt: ["seccomp=unconfined"] },
      { MaskedPaths: [] },
      { UsernsMode: "host" },
      { Memory: 0 },
      { MemorySwap: -1 },
      { PidsLimit: -1 },
      { NetworkMode: "host" },
      { NetworkMode: "bridge" },
      { Dns: ["192.168.1.1"] },
      { Sysctls: {} },
      { Runtime: "x" },
      { Mounts: [{ ...good.HostConfig.Mounts[0], Source: "/var/run/docker.sock" }] },
      { LogConfig: undefined },
      { Mounts: good.HostConfig.Mounts.map((mount) => ({ ...mount, ReadOnly: false })) },
    ];
    for (const harm of harms) {
      expect(complaints({ ...good.HostConfig, ...harm }, HOST_CONFIG, given), JSON.stringify(harm)).toHaveLength(1);
    }
    const { Privileged: _privileged, ...without } = good.HostConfig;
    expect(complaints(without, HOST_CONFIG, given)).toEqual(["no Privileged"]);
    for (const env of [["NVIDIA_VISIBLE_DEVICES=all"], [...(good.Env ?? []), "LD_PRELOAD=/y"], []]) {
      expect(complaints({ ...good, Env: env }, REQUEST, given)).toHaveLength(1);
    }
  });
});
