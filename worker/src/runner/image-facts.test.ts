import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { containerEnvironment } from "./environment.ts";
import { createEngine } from "./engine.ts";
import { imageFacts } from "./image-facts.ts";
import { attemptOf, type Bench, createBench, DOCKER_SOCKET, ensureTinyImage, shell, TINY_IMAGE } from "./testing.ts";

describe("a container's environment", () => {
  const own = { QUBIX_JOB_ID: "job-a" };

  it("has nothing of the loader's and the drivers' own, from neither side", () => {
    const env = containerEnvironment(
      { env: { A: "1", LD_PRELOAD: "/x.so", GCONV_PATH: "/x", NVIDIA_VISIBLE_DEVICES: "all" }, gpuUuids: [] },
      own,
      ["PATH=/bin", "LD_AUDIT=/y.so", "NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_REQUIRE_CUDA=cuda>=12", "QUBIX_EPOCH=9"],
    );
    // A name alone takes the image's variable away.
    expect(env).toEqual([
      "A=1",
      "QUBIX_JOB_ID=job-a",
      "NVIDIA_VISIBLE_DEVICES=void",
      "LD_AUDIT",
      "NVIDIA_REQUIRE_CUDA",
      "QUBIX_EPOCH",
    ]);
  });

  it("names exactly the GPUs that are granted", () => {
    const run = { env: {}, gpuUuids: ["GPU-1", "GPU-2"] };
    const env = containerEnvironment(run, own, ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=all"]);
    expect(env.filter((line) => line.startsWith("NVIDIA_"))).toEqual([
      "NVIDIA_VISIBLE_DEVICES=GPU-1,GPU-2",
      "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ]);
  });
});

describe("an image", () => {
  it("may declare some volumes, under whatever spelling", () => {
    const volumes = { "/data": {}, "/data/": {}, "/a/../b": {} };
    expect(imageFacts({ Id: "sha256:1", Config: { Volumes: volumes } })).toMatchObject({ volumes: ["/data", "/b"] });
    expect(imageFacts({ Id: "sha256:1", Config: null })).toEqual({
      id: "sha256:1",
      env: [],
      volumes: [],
      labels: [],
    });
    const many = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`/v${index}`, {}]));
    expect(imageFacts({ Id: "sha256:1", Config: { Volumes: many } })).toMatchObject({ code: "start_failed" });
  });
});

describe("a hostile image, on the Engine", () => {
  const HOSTILE_IMAGE = "qubix-test/hostile:local";
  let bench: Bench;
  beforeAll(async () => {
    await ensureTinyImage();
    await buildHostile(HOSTILE_IMAGE);
  }, 120_000);
  beforeEach(async () => {
    bench = await createBench(undefined, { localImages: [HOSTILE_IMAGE] });
  });
  afterEach(() => bench.dispose());

  it("sets no variable of the loader, makes no volume of its own, and passes for nobody else's", async () => {
    const attempt = attemptOf("job-a");
    const run = shell("env | sort; grep ' /data ' /proc/mounts; echo x > /data/x && stat -f -c %T /data && id -u", {
      image: HOSTILE_IMAGE,
      env: { LD_AUDIT: "/z.so", KEPT: "yes" },
    });
    const slot = bench.slot("s1");
    await slot.prepare(attempt.jobId, run, null);
    expect(await bench.containers.list()).toEqual(["s1"]);
    expect(await readdir(join(bench.dir, "slots/s1/disk/volumes"))).toHaveLength(1);
    await slot.start(attempt, run);
    expect((await bench.event("exited")).exitCode).toBe(0);
    const log = bench.log();
    expect(log).toContain("KEPT=yes\n");
    expect(log).toContain("FROM_IMAGE=1\n");
    expect(log).toContain("NVIDIA_VISIBLE_DEVICES=void\n");
    expect(log).not.toMatch(/^(LD_|GCONV_PATH|NVIDIA_REQUIRE)/m);
    await expect.poll(() => bench.log("stderr")).toContain("drivers' own: LD_AUDIT");
    const container = createEngine(DOCKER_SOCKET).docker.getContainer(`qubix-${bench.workerId}-s1`);
    const info = await container.inspect();
    expect(info.Mounts.filter((mount) => mount.Type !== "bind")).toEqual([]);
    expect(info.Config.Labels).toMatchObject({ "qubix.worker": bench.workerId, "other.tool": "" });
  });
});

async function buildHostile(name: string): Promise<void> {
  const { docker } = createEngine(DOCKER_SOCKET);
  const archive = pack();
  archive.entry(
    { name: "Dockerfile" },
    [
      `FROM ${TINY_IMAGE}`,
      "ENV FROM_IMAGE=1 LD_PRELOAD=/evil.so GCONV_PATH=/evil NVIDIA_VISIBLE_DEVICES=all NVIDIA_REQUIRE_CUDA=x",
      "LABEL qubix.worker=wrk-other qubix.slot=s9 other.tool=obey",
      "VOLUME /data /work",
      "HEALTHCHECK --interval=1s CMD touch /out/healthy",
    ].join("\n"),
  );
  archive.finalize();
  const stream = await docker.buildImage(Readable.from(archive), { t: name });
  await new Promise<void>((resolve, reject) =>
    docker.modem.followProgress(stream, (error: Error | null) => (error === null ? resolve() : reject(error))),
  );
}
