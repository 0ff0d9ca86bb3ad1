// How long a stranger's machine takes from its first command to the end of its first job: exactly the commands of docs/worker.md, on the provider's side,
// with the image on the machine and a job submitted as soon as it is connected. The limit is a bare container of the same image, started by the Docker client in the same run.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { runProgram, startProgram } from "../../scripts/lib/processes.ts";
import { ensureTinyImage, TINY_IMAGE } from "../../worker/src/runner/testing.ts";
import { monotonicMs } from "../harness/clock.ts";
import { type Api, createAccount, createApi, deposit, startOrchestrator } from "../harness/network.ts";
import { type Cleanup, scratchFolder } from "../harness/processes.ts";
import type { Report } from "../harness/report.ts";

const SECONDS_BAR = 180;
const COMMANDS_BAR = 3;
const JOB_TIMEOUT_MS = 300_000;
const ONLINE_TIMEOUT_MS = 30_000;
const POLL_MS = 50;
const FUNDS = 10_000_000n;

export async function runEnrol(report: Report, cleanup: Cleanup, options: { readonly runs: number }): Promise<void> {
  await ensureTinyImage();
  const seconds: number[] = [];
  const doctor: number[] = [];
  const bare: number[] = [];
  for (let n = 0; n < options.runs; n += 1) {
    const times = await once(report, cleanup, n);
    seconds.push(times.totalS);
    doctor.push(times.doctorS);
    bare.push(bareContainer());
    report.progress(`run ${n + 1}: ${times.totalS.toFixed(1)} s, of which doctor ${times.doctorS.toFixed(1)} s`);
  }
  const n = options.runs;
  const most = Math.max(...seconds);
  report.row(
    { system: "qubix", metric: "first command → first job succeeded, slowest", value: most, unit: "s", n },
    { atMost: SECONDS_BAR },
  );
  report.row({ system: "qubix", metric: "of which doctor", value: Math.max(...doctor), unit: "s", n });
  report.row(
    { system: "qubix", metric: "commands of the provider", value: COMMANDS.length, unit: "commands", n: 1 },
    { atMost: COMMANDS_BAR },
  );
  report.row({
    system: "limit",
    metric: "docker run of the same image, slowest",
    value: Math.max(...bare),
    unit: "s",
    n,
  });
}

/** What a provider types, as the owner's page says. */
const COMMANDS = ["doctor", "start"] as const;

async function once(report: Report, cleanup: Cleanup, n: number): Promise<{ totalS: number; doctorS: number }> {
  const folder = await scratchFolder(cleanup, "enrol");
  const orchestrator = await startOrchestrator(cleanup, { dataDir: join(folder, "orchestrator") });
  const admin = createApi(orchestrator.url, orchestrator.adminKey ?? "");
  cleanup.add(() => admin.close());
  const provider = await createAccount(admin, "provider", "provider");
  const consumer = await createAccount(admin, "consumer", "consumer");
  await deposit(admin, consumer.accountId, FUNDS);
  const { token } = await admin.call<{ token: string }>("POST", "/v1/enrolments", { accountId: provider.accountId });
  const buyer = createApi(orchestrator.url, consumer.key);
  cleanup.add(() => buyer.close());
  const url = orchestrator.url.href;
  const beganMs = monotonicMs();
  const looked = await runProgram("worker", ["doctor", "--url", url]);
  const doctorS = (monotonicMs() - beganMs) / 1000;
  report.check(
    `run ${n + 1}: doctor finds the machine ready`,
    looked.code === 0,
    looked.code === 0 ? "" : looked.stdout.slice(-500),
  );
  const agent = await startProgram("worker", {
    args: [
      "start",
      "--url",
      url,
      "--token",
      token,
      "--data-dir",
      join(folder, "worker"),
      "--local-image",
      TINY_IMAGE,
      "--log-level",
      "warn",
    ],
    logFile: join(folder, "worker.log"),
  });
  cleanup.add(async () => {
    if (agent.running()) await agent.stop();
  });
  // A local image is known to nobody before a worker's offer names it.
  await untilOnline(admin, agent.ready["workerId"] as string);
  const job = await buyer.call<{ id: string }>("POST", "/v1/jobs", {
    name: "first",
    image: TINY_IMAGE,
    command: ["sh", "-c", "echo hello > /out/hello"],
    resources: { cpus: 0.5, memoryMiB: 64, diskMiB: 64 },
    priceMaxPerHour: { amount: "1000000", currency: "USD" },
    durationMaxS: 60,
  });
  const phase = await endOf(() => buyer.call<{ phase: string }>("GET", `/v1/jobs/${job.id}`));
  const totalS = (monotonicMs() - beganMs) / 1000;
  report.check(`run ${n + 1}: the job succeeded`, phase === "succeeded", phase);
  await agent.stop();
  await orchestrator.program.stop();
  return { totalS, doctorS };
}

async function untilOnline(admin: Api, workerId: string): Promise<void> {
  const untilMs = monotonicMs() + ONLINE_TIMEOUT_MS;
  while ((await admin.call<{ phase: string }>("GET", `/v1/workers/${workerId}`)).phase !== "online") {
    if (monotonicMs() > untilMs) throw new Error(`${workerId} is not online after ${ONLINE_TIMEOUT_MS} ms`);
    await sleep(POLL_MS);
  }
}

async function endOf(look: () => Promise<{ phase: string }>): Promise<string> {
  const untilMs = monotonicMs() + JOB_TIMEOUT_MS;
  while (monotonicMs() < untilMs) {
    const { phase } = await look();
    if (["succeeded", "failed", "cancelled"].includes(phase)) return phase;
    await sleep(POLL_MS);
  }
  return "late";
}

function bareContainer(): number {
  const beganMs = monotonicMs();
  execFileSync("docker", ["run", "--rm", "--network", "none", TINY_IMAGE, "sh", "-c", "echo hello"], {
    stdio: "ignore",
  });
  return (monotonicMs() - beganMs) / 1000;
}
