import { describe, expect, it } from "vitest";
import { imageKey, parseImageRef } from "./image-ref.ts";

const digest = `sha256:${"a".repeat(64)}`;

describe("parseImageRef", () => {
  it.each([
    ["python:3.12", "docker.io/library/python:3.12"],
    ["python", "docker.io/library/python:latest"],
    ["qubix/train:local", "docker.io/qubix/train:local"],
    ["ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"],
    ["localhost:5000/x", "localhost:5000/x:latest"],
    ["127.0.0.1:8081/x/y", "127.0.0.1:8081/x/y:latest"],
    [`nvcr.io/nvidia/cuda@${digest}`, `nvcr.io/nvidia/cuda:@${digest}`],
  ])("reads %s", (text, key) => {
    const ref = parseImageRef(text);
    expect(ref && imageKey(ref)).toBe(key);
  });
  it.each([
    "",
    "UPPER",
    "a b",
    "a//b",
    "a:b:c",
    "-a",
    "a@sha256:short",
    "../x",
    "a".repeat(300),
    "a/b\n",
    "http://x/y",
  ])("refuses %j", (text) => {
    expect(parseImageRef(text)).toBeUndefined();
  });
  it("knows images that are never pulled", () => {
    expect(parseImageRef("qubix/train:local")?.local).toBe(true);
    expect(parseImageRef("qubix/train:locals")?.local).toBe(false);
  });
});
