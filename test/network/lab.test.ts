// What a job with egress reaches, and what it does not: real programs, a real Engine and a real firewall, with neighbours that count what comes.
import type { EventView, JobSpec, JobView, LogLine, Quote } from "@qubix/client/sdk";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ensureTinyImage, TINY_IMAGE } from "../../worker/src/runner/testing.ts";
import { whyNoTestEngine } from "../lib/engine.ts";
import { createLab, HOST, INTERNET, type Lab, LAN, META, META6, NEIGHBOUR_PUBLIC, RESOLVERS } from "./lab.ts";

const reason = whyNoTestEngine();
if (reason !== undefined) console.warn(`skipped: ${reason}`);

const SECOND = 1000;
const UNTIL_TIMEOUT_MS = 60 * SECOND;
const PLAIN = "plain";
const PLAIN_ADDRESS = "172.17.0.2";
/** A service of the owner's, published at a port of the host. */
const PUBLISHED_PORT = 8081;

let lab: Lab;

beforeAll(async () => {
  if (reason !== undefined) return;
  await ensureTinyImage();
  const sizes = ["--cpus", "4", "--memory-mib", "1024", "--disk-mib", "4096"];
  const dns = RESOLVERS.flatMap((address) => ["--dns", address]);
  lab = await createLab([TINY_IMAGE], [...sizes, "--price-per-cpu-hour", "0.10", "--local-image", TINY_IMAGE, ...dns]);
  const greet = ["nc", "-ll", "-p", "8080", "-e", "echo", `hello from ${PLAIN}`];
  const publish = ["--publish", `${PUBLISHED_PORT}:8080`];
  await lab.engine.docker(["run", "--detach", "--name", PLAIN, "--user", "0", ...publish, TINY_IMAGE, ...greet]);
  await until("the worker offers egress", offersEgress);
}, 120 * SECOND);

afterAll(async () => {
  await lab?.call("stop").catch(() => undefined);
  await lab?.stop();
}, 60 * SECOND);

/** Says REACHED for each that greets, or that answers a name. */
function probes(others: readonly string[]): string {
  const mapped = `::ffff:${LAN.address}`;
  const inside = [HOST.lan, HOST.public, HOST.docker0, "127.0.0.1", PLAIN_ADDRESS, LAN.address, ...META, ...others];
  const tcp = [...inside, NEIGHBOUR_PUBLIC, INTERNET.address, mapped, LAN.address6, META6, HOST.lan6, "$gateway"];
  const dns = [HOST.lan, HOST.docker0, LAN.address, ...META, NEIGHBOUR_PUBLIC, LAN.address6, "$gateway", ...RESOLVERS];
  return [
    "gateway=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')",
    "greets() { nc -w 2 $1 $2 </dev/null 2>/dev/null | grep -q hello && echo REACHED tcp $3; }",
    `answers() { timeout 4 nslookup ${INTERNET.name} $1 2>/dev/null | grep -q ${INTERNET.address} && echo REACHED dns $1; }`,
    `named() { timeout 6 wget -q -T 4 -O - http://$1:8080/ 2>&1 | grep -q hello; nc -w 3 $1 8080 </dev/null 2>/dev/null | grep -q hello && echo REACHED name $1; }`,
    ...tcp.map((address) => `greets ${address} 8080 ${address} &`),
    `greets ${HOST.public} ${PUBLISHED_PORT} published &`,
    ...dns.map((address) => `answers ${address} &`),
    `named ${INTERNET.name} &`,
    "timeout 4 nslookup secret.lan >/dev/null 2>&1 &",
    ...[LAN.address, META[0], HOST.lan].map(
      (address) => `ping -c 1 -W 2 ${address} >/dev/null 2>&1 && echo REACHED ping ${address} &`,
    ),
    "wait; echo DONE",
  ].join("\n");
}

function reached(log: string): readonly string[] {
  expect(log).toContain("DONE");
  return [...log.matchAll(/^REACHED (.*)$/gm)].map((match) => match[1] ?? "").toSorted();
}

const ALLOWED = [`tcp ${INTERNET.address}`, ...RESOLVERS.map((address) => `dns ${address}`), `name ${INTERNET.name}`];

describe.skipIf(reason !== undefined)("jobs with egress", { timeout: 150 * SECOND }, () => {
  it("reach the internet and its names, and nothing of the host, its networks, its cloud or other jobs", async () => {
    const other = await submit("echo ready; nc -ll -p 8080 -e echo hello from another job");
    const { address: otherAddress } = await containerOf(other);
    const before = await lab.forbiddenPackets();
    const found = new Set<string>();
    // A try may be too slow on a busy machine: then another is made. None may reach more.
    await until("all that is allowed is reached", async () => {
      const job = await submit(probes([otherAddress]));
      await ended(job);
      // Its own loopback is the container's, where nobody greets.
      for (const target of reached(await logOf(job))) {
        expect(ALLOWED).toContain(target);
        found.add(target);
      }
      return ALLOWED.every((target) => found.has(target));
    });
    expect(await lab.forbiddenPackets()).toBe(before);
    for (const where of ["host", "lan", "meta"] as const) expect(lab.hits(where), where).toEqual([]);
    const names = lab.hits("inet").filter(({ protocol }) => protocol === "dns");
    expect(names.map(({ name }) => name)).toContain("secret.lan");
    expect(new Set(names.map(({ at }) => at)), "the Engine asks the resolvers that were named").toEqual(
      new Set(RESOLVERS),
    );
    await nobodyComesIn(otherAddress);
    await lab.call("jobs.cancel", other);
    await ended(other);
  });

  it("(the same tries reach all of that from a container on a plain bridge: they can see)", async () => {
    const { engine } = lab;
    await engine.docker(["network", "create", "--ipv6", "--subnet", "fd99::/64", "six"]);
    const image = ["--user", "0", TINY_IMAGE, "sh", "-c", probes([])];
    const on = (network: string) => engine.docker(["run", "--rm", "--network", network, ...image]);
    const before = await lab.forbiddenPackets();
    const addresses = [HOST.lan, HOST.public, HOST.docker0, LAN.address, ...META, NEIGHBOUR_PUBLIC, INTERNET.address];
    const greeters = [
      ...addresses,
      `::ffff:${LAN.address}`,
      LAN.address6,
      META6,
      HOST.lan6,
      PLAIN_ADDRESS,
      "published",
    ];
    const wanted = [
      ...greeters.map((target) => `tcp ${target}`),
      ...[LAN.address, ...META, LAN.address6, ...RESOLVERS].map((target) => `dns ${target}`),
      ...[LAN.address, META[0], HOST.lan].map((target) => `ping ${target}`),
    ];
    const found = new Set<string>();
    // A try may be too slow on a busy machine: then another is made.
    await until("all is reached", async () => {
      for (const network of ["bridge", "six"]) for (const target of reached(await on(network))) found.add(target);
      return wanted.every((target) => found.has(target));
    });
    expect(await lab.forbiddenPackets()).toBeGreaterThan(before);
    for (const where of ["host", "lan", "meta"] as const) expect(lab.hits(where).length).toBeGreaterThan(0);
  });

  it("stay closed in while their rules are taken away, which is noticed, mended and told", async () => {
    const targets = [LAN.address, META[0] ?? "", HOST.lan, NEIGHBOUR_PUBLIC];
    const job = await submit(`
      while :; do
        for target in ${targets.join(" ")}; do nc -w 1 $target 8080 </dev/null 2>/dev/null | grep hello & done
        nc -w 1 ${INTERNET.address} 8080 </dev/null 2>/dev/null | grep -q hello && echo online
        sleep 0.3
      done`);
    await says(job, /online/);
    const rules = await ownRules();
    const before = await lab.forbiddenPackets();
    const chains = rules
      .flatMap((rule) => /^:(QUBIX-\S+)/.exec(rule)?.[1] ?? [])
      .filter((name) => !name.endsWith("-RAW"));
    expect(chains).toHaveLength(3);

    // One layer goes: the other one holds until it is back.
    for (const chain of chains) await iptables("-F", chain);
    await says(job, /firewall rules around this job's network were changed/);
    expect(await ownRules()).toEqual(rules);
    expect(await lab.forbiddenPackets()).toBe(before);

    // Both go: what gets out until the next look is over then, connections included.
    for (const [table, rule] of rules.flatMap(hookOf)) await iptables("-t", table, "-D", ...rule.split(" "));
    expect(await ownRules()).not.toEqual(rules);
    await says(job, /(firewall rules[\s\S]*){2}/);
    expect(await ownRules()).toEqual(rules);
    const after = await lab.forbiddenPackets();
    await says(job, /(firewall rules[\s\S]*){2}(online[\s\S]*){5}/);
    expect(await lab.forbiddenPackets()).toBe(after);

    // They cannot be set: what would start is not started. Nor set again: what runs is cut off and ended.
    lab.breakFirewall(true);
    const refused = await submit("echo never", false);
    await endsAttempt(refused);
    const last = await lab.forbiddenPackets();
    await iptables("-F", chains[0] ?? "");
    await endsAttempt(job);
    await until("egress is no longer offered", async () => !(await offersEgress()));
    expect(await lab.forbiddenPackets()).toBe(last);
    expect(await logOf(refused)).not.toContain("never");
    expect(await lab.engine.docker(["ps", "--quiet", "--filter", `label=qubix.worker=${lab.workerId}`])).toBe("");
    for (const id of [refused, job]) await lab.call("jobs.cancel", id);
    lab.breakFirewall(false);
    await until(
      "networks and rules are gone",
      async () => (await networks()) === "" && (await ownRules()).length === 0,
    );
  });

  it("leave nothing that the next start of their worker does not take away", async () => {
    await lab.call("restartWorker");
    await until("egress is offered again", offersEgress);
    const job = await submit("echo begun; sleep 600");
    await says(job, /begun/);
    const { id } = await containerOf(job);
    await lab.call("killWorker");
    const labels = ["--label", `qubix.worker=${lab.workerId}`, "--label", "qubix.slot=gone"];
    await lab.engine.docker(["network", "create", ...labels, "stray"]);
    for (const rule of (await ownRules()).flatMap(hookOf)) await iptables("-t", rule[0], "-D", ...rule[1].split(" "));
    await lab.call("startWorker");
    await until("the stray network is gone", async () => !(await networks()).includes("stray"));
    await until("the rules stand again", async () => (await ownRules()).flatMap(hookOf).length === 4);
    expect(await lab.engine.docker(["inspect", "--format", "{{.State.Running}}", id])).toBe("true");
    await lab.call("jobs.cancel", job);
    await ended(job);
    await until(
      "networks and rules are gone",
      async () => (await networks()) === "" && (await ownRules()).length === 0,
    );
  });
});

async function nobodyComesIn(address: string): Promise<void> {
  const greet = `timeout 3 cat </dev/tcp/${address}/8080 2>&1 | grep -q hello || echo nobody`;
  for (const where of [lab.engine.namespace, `${lab.engine.namespace}-lan`]) {
    const { stdout } = await lab.engine.exec([
      "nsenter",
      `--net=/run/netns/${where}`,
      "timeout",
      "5",
      "bash",
      "-c",
      greet,
    ]);
    expect(stdout, where).toMatch(/^(nobody\n)?$/);
  }
}

function egressJob(script: string): JobSpec {
  return {
    image: TINY_IMAGE,
    command: ["/bin/sh", "-c", script],
    network: "egress",
    failover: "speculative",
    resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 },
    priceMaxPerHour: { amount: "600000", currency: "USD" },
    durationMaxS: 300,
    stopGraceS: 1,
  };
}

async function submit(script: string, isAwaited = true): Promise<string> {
  const { id } = await lab.call<JobView>("jobs.create", egressJob(script));
  if (isAwaited) await until("the job runs", async () => !["queued", "starting"].includes((await jobOf(id)).phase));
  return id;
}

const jobOf = (id: string) => lab.call<JobView>("jobs.get", id);

async function ended(id: string): Promise<void> {
  await until("the job ends", async () => (await jobOf(id)).endedAt !== null);
}

async function endsAttempt(id: string): Promise<void> {
  await until("an attempt ends for want of isolation", async () => {
    const events = await lab.call<readonly EventView[]>("jobs.eventsAll", id);
    return events.some((event) => JSON.stringify(event).includes("isolation_failed"));
  });
}

async function logOf(id: string): Promise<string> {
  return (await lab.call<readonly LogLine[]>("jobs.logs", id)).map(({ text }) => text).join("");
}

async function says(id: string, text: RegExp): Promise<void> {
  await until(`the job says ${text.source}`, async () => text.test(await logOf(id)));
}

async function offersEgress(): Promise<boolean> {
  const quote = await lab.call<Quote>("quotes.create", egressJob("true"));
  return quote.offers.matching > 0;
}

async function containerOf(jobId: string): Promise<{ readonly id: string; readonly address: string }> {
  const ids = (await lab.engine.docker(["ps", "--quiet", "--filter", `label=qubix.worker=${lab.workerId}`])).split(
    "\n",
  );
  const format = "{{.Id}} {{.Config.Env}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
  const found = (await lab.engine.docker(["inspect", "--format", format, ...ids]))
    .split("\n")
    .find((line) => line.includes(jobId));
  const parts = found?.split(" ") ?? [];
  return { id: parts[0] ?? "", address: parts.at(-1) ?? "" };
}

const networks = () =>
  lab.engine.docker([
    "network",
    "ls",
    "--quiet",
    "--no-trunc",
    "--format",
    "{{.Name}}",
    "--filter",
    `label=qubix.worker=${lab.workerId}`,
  ]);

async function iptables(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await lab.engine.exec(["iptables", "-w", "5", ...args]);
  expect(code, `iptables ${args.join(" ")}: ${stderr}`).toBe(0);
}

/** The rules of job networks, each after the name of its table. */
async function ownRules(): Promise<readonly string[]> {
  const { stdout } = await lab.engine.exec(["iptables-save"]);
  return stdout.split("\n").filter((line) => /QUBIX-|-[io] qx/.test(line));
}

/** The rules that lead into ours, with their table. */
function hookOf(rule: string): readonly (readonly [table: string, rule: string])[] {
  const found = /^-A ((PREROUTING|INPUT|DOCKER-USER) .*)$/.exec(rule);
  return found === null ? [] : [[found[2] === "PREROUTING" ? "raw" : "filter", found[1] ?? ""]];
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + UNTIL_TIMEOUT_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}
