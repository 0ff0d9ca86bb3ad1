import { describe, expect, it } from "vitest";
import { addressLiteral, refusedAddress } from "./addresses.ts";
import { type RegistryRules, registryProblem } from "./registry.ts";

describe("an address", () => {
  it.each([
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "169.254.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "4000::1",
    "registry.example",
    "0x7f.1",
  ])("%s is not contacted", (address) => {
    expect(refusedAddress(address)).toBeDefined();
  });

  it.each(["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1", "64:ff9b::808:808"])(
    "%s is",
    (address) => {
      expect(refusedAddress(address)).toBeUndefined();
    },
  );

  it.each([
    ["0x7f.1", "127.0.0.1"],
    ["2130706433", "127.0.0.1"],
    ["017700000001", "127.0.0.1"],
    ["127.1", "127.0.0.1"],
    ["[::ffff:127.0.0.1]", "::ffff:7f00:1"],
    ["8.8.8.8", "8.8.8.8"],
    ["registry.example", undefined],
    ["localhost", undefined],
    ["a b", undefined],
  ])("is recognised in %s", (host, address) => {
    expect(addressLiteral(host)).toBe(address);
  });
});

describe("a registry", () => {
  const NAMES: Readonly<Record<string, readonly string[]>> = {
    "registry-1.docker.io": ["93.184.216.34", "2606:4700::1"],
    "auth.docker.io": ["93.184.216.35"],
    "public.example": ["93.184.216.34"],
    "inside.example": ["192.168.1.10"],
    "mixed.example": ["93.184.216.34", "10.0.0.1"],
    "empty.example": [],
  };
  const resolve = async (host: string) => {
    const found = NAMES[host];
    if (found === undefined) throw new Error(`getaddrinfo ENOTFOUND ${host}`);
    return found;
  };
  const rules = (patch: Partial<RegistryRules> = {}): RegistryRules => ({
    registries: [
      "docker.io",
      ...Object.keys(NAMES),
      "unknown.example",
      "127.0.0.1:5000",
      "0x7f.1:5000",
      "2130706433:5000",
    ],
    privateRegistries: [],
    ...patch,
  });

  it.each(["docker.io", "public.example"])("%s is contacted, its names being public", async (registry) => {
    expect(await registryProblem(registry, rules(), resolve)).toBeUndefined();
  });

  it.each([
    ["inside.example", "192.168.1.10, a private address"],
    ["mixed.example", "10.0.0.1, a private address"],
    ["empty.example", "has no address"],
    ["unknown.example", "cannot be resolved on this worker: getaddrinfo ENOTFOUND"],
    ["127.0.0.1:5000", "--allow-private-registry 127.0.0.1:5000"],
    ["0x7f.1:5000", "an IP address in an odd form; write 127.0.0.1"],
    ["2130706433:5000", "an IP address in an odd form; write 127.0.0.1"],
    ["other.example", "--registry"],
  ])("%s is not", async (registry, why) => {
    const problem = await registryProblem(registry, rules(), resolve);
    expect(problem?.code).toBe("image_pull_failed");
    expect(problem?.message).toContain(why);
  });

  it("is not contacted where the name that gives out its tokens lies inside", async () => {
    const inside = async (host: string) => (host === "auth.docker.io" ? ["10.0.0.1"] : ["93.184.216.34"]);
    expect((await registryProblem("docker.io", rules(), inside))?.message).toContain(
      "auth.docker.io stands for 10.0.0.1",
    );
  });

  it("that its owner allows by name and port is contacted wherever it lies", async () => {
    const allowed = rules({ registries: [], privateRegistries: ["inside.example", "127.0.0.1:5000"] });
    expect(await registryProblem("inside.example", allowed, resolve)).toBeUndefined();
    expect(await registryProblem("127.0.0.1:5000", allowed, resolve)).toBeUndefined();
    expect(await registryProblem("127.0.0.1:5001", allowed, resolve)).toBeDefined();
  });
});
