import { transparentClassOf, transparentFeature, workerOfferSchema } from "@qubix/shared/protocol";
import { describe, expect, it } from "vitest";
import { belongsTo } from "../runner/sandbox-orphans.ts";
import { judgeDisk, judgeMemoryImages, judgeSandbox, judgeToolkitHere } from "./doctor.ts";
import { assertSeccomp } from "./engine-walls.ts";
import { classOf } from "./memory-images.ts";
import { parseSandboxVersion } from "./sandbox.ts";
import { checkToolkit, judgeToolkit, parseToolkitVersion } from "./toolkit.ts";

describe("the NVIDIA container toolkit", () => {
  it.each([
    ["NVIDIA Container Runtime Hook version 1.17.8\ncommit: f202b80", "1.17.8"],
    ["NVIDIA Container Toolkit CLI version 1.16.2\ncommit: a5a5833c14", "1.16.2"],
    ["cli-version: 1.17.7\nlib-version: 1.17.7\nbuild date: 2025-05-16T12:57+00:00", "1.17.7"],
    ["NVIDIA Container Toolkit CLI version 1.18.0-rc.1", "1.18.0-rc.1"],
    ["command not found", undefined],
  ])("tells its version: %j", (text, version) => {
    expect(parseToolkitVersion(text)).toBe(version);
  });

  it.each([
    ["1.17.8", "good"],
    ["1.18.0", "good"],
    // A candidate of a later version has the mend.
    ["1.18.0-rc.1", "good"],
    ["2.0.0", "good"],
    ["1.17.8-rc.1", "old"],
    ["1.17.7", "old"],
    ["1.9.9", "old"],
    ["1.17.10", "good"],
  ])("%s is %s", (version, kind) => {
    expect(judgeToolkit(version).kind).toBe(kind);
  });

  it("is asked through any of its programs, the hook before the others", async () => {
    const asked: string[] = [];
    const found = await checkToolkit(async (program) => {
      asked.push(program);
      if (program !== "nvidia-ctk") throw new Error("ENOENT");
      return "NVIDIA Container Toolkit CLI version 1.17.4";
    });
    expect(found).toEqual({ kind: "old", version: "1.17.4" });
    expect(asked).toEqual(["nvidia-container-runtime-hook", "nvidia-ctk"]);
    expect(await checkToolkit(() => Promise.reject(new Error("ENOENT")))).toEqual({ kind: "absent" });
  });

  it("is no matter without GPUs, and forbids them when it is too old", () => {
    expect(judgeToolkitHere({ kind: "absent" }, "absent").status).toBe("skip");
    expect(judgeToolkitHere({ kind: "old", version: "1.16.0" }, "gpus").status).toBe("fail");
    expect(judgeToolkitHere({ kind: "good", version: "1.17.8" }, "gpus").status).toBe("ok");
  });
});

describe("gVisor", () => {
  it.each([
    ["runsc version release-20240715.0\nspec: 1.1.0-rc.1", 20_240_715],
    ["runsc version 0.0~20221219.0\nspec: 1.0.2-dev", 20_221_219],
    ["runc version 1.1.5+ds1\nspec: 1.0.2-dev", undefined],
    ["", undefined],
  ])("tells its version: %j", (text, version) => {
    expect(parseSandboxVersion(text)).toBe(version);
  });

  it("leaves processes that are known by the container's id, and by nothing else", () => {
    const id = "7fa926bfb2a582289c93c80cfdbb79762df88209570dd9c79cc1b2bfca414d40";
    const other = id.replaceAll("7", "8");
    const shim = (of: string) => ["/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", of];
    expect(belongsTo(shim(id), id)).toBe(true);
    expect(belongsTo(["runsc-sandbox", "--root=/run/runsc", "boot", `--bundle=/run/moby/${id}`, id], id)).toBe(true);
    expect(belongsTo(["runsc-gofer", "gofer", `--bundle=/run/moby/${id}`], id)).toBe(true);
    expect(belongsTo(shim(other), id)).toBe(false);
    expect(belongsTo(["grep", id], id)).toBe(false);
    expect(belongsTo(["vi", `/run/moby/${id}/config.json`], id)).toBe(false);
  });

  it("is optional, and is told when it does not work", () => {
    expect(judgeSandbox({ kind: "absent" }, "runsc").status).toBe("skip");
    expect(judgeSandbox({ kind: "unfit", found: "gVisor of 20200101" }, "runsc").status).toBe("warn");
    expect(judgeSandbox({ kind: "ready", version: 20_240_715 }, "runsc").status).toBe("ok");
  });
});

describe("transparent checkpoints", () => {
  it("are optional, and are told when they do not work", () => {
    expect(judgeMemoryImages({ kind: "absent" }, "qubix-runsc").status).toBe("skip");
    expect(judgeMemoryImages({ kind: "unfit", found: "a counter went on at 1" }, "qubix-runsc").status).toBe("warn");
    expect(judgeMemoryImages({ kind: "ready", memoryClass: "20221219.a1b2c3d4" }, "qubix-runsc").status).toBe("ok");
  });

  it("are shared by workers of one class alone, whose name an offer takes", () => {
    const entry = { path: "/usr/bin/runsc", runtimeArgs: ["--platform=ptrace"] };
    const own = classOf(20_221_219, "runsc version 0.0~20221219.0", entry, "flags : fpu sse");
    expect(
      classOf(20_221_219, "runsc version 0.0~20221219.0", { ...entry, path: "/opt/runsc" }, "flags : fpu sse"),
    ).toBe(own);
    for (const other of [
      classOf(20_221_219, "runsc version 0.0~20221219.1", entry, "flags : fpu sse"),
      classOf(20_221_219, "runsc version 0.0~20221219.0", { path: entry.path }, "flags : fpu sse"),
      classOf(20_221_219, "runsc version 0.0~20221219.0", entry, "flags : fpu sse avx"),
    ]) {
      expect(other).not.toBe(own);
    }
    const offer = workerOfferSchema.shape.features.parse([transparentFeature(own)]);
    expect(transparentClassOf(offer ?? [])).toBe(own);
  });
});

describe("an Engine", () => {
  it("without a filter of system calls runs no jobs", () => {
    expect(() => assertSeccomp(["name=seccomp,profile=default"])).not.toThrow();
    expect(() => assertSeccomp(["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"])).not.toThrow();
    expect(() => assertSeccomp(["name=seccomp,profile=unconfined"])).toThrow(/turned off/);
    expect(() => assertSeccomp(["name=apparmor"])).toThrow(/no seccomp filter/);
    expect(() => assertSeccomp(undefined)).toThrow(/no seccomp filter/);
  });

  it("that does not see the agent's mounts has its jobs' disks watched", () => {
    expect(judgeDisk({ kind: "volumes" }).status).toBe("ok");
    expect(judgeDisk({ kind: "watched", why: "not root" })).toMatchObject({ status: "warn" });
  });
});
