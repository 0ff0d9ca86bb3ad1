// The command line of `qubix-worker`. Each command's code is loaded only when it is the one that runs: a working agent carries none of the others.
import { Command, Option } from "commander";
import { assertNodeVersion } from "@qubix/shared/runtime";
import { agentVersion, collect, type CommonFlags, parseSeconds, parseUrl, reportFailure } from "./commands/common.ts";
import type { DoctorFlags } from "./commands/doctor.ts";
import type { EnrolFlags } from "./commands/enrol.ts";
import type { SetFlags } from "./commands/set.ts";
import type { StartFlags } from "./commands/start.ts";
import type { DrainFlags } from "./commands/status.ts";

/** Runs one command; resolves with the exit code, for `start` when it has stopped. */
export async function main(argv: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = new Command("qubix-worker")
    .description("Sells this machine's time on a Qubix network.")
    .version(agentVersion())
    .exitOverride()
    .showHelpAfterError();

  program
    .command("enrol")
    .description("joins a network with a one-time token")
    .option("--url <url>", "the orchestrator, e.g. https://qubix.example (QUBIX_URL)", parseUrl)
    .option("--token <token>", "a one-time enrolment token (QUBIX_TOKEN)")
    .option("--name <name>", "what people call this worker (this machine's name; QUBIX_NAME)")
    .option("--data-dir <dir>", "where this worker keeps its key and journal (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action(async (flags: EnrolFlags) => (await import("./commands/enrol.ts")).runEnrol(flags));

  program
    .command("doctor")
    .description("looks at this machine: what is found, what is needed, what to do")
    .option("--data-dir <dir>", "where the worker keeps its key and journal, or will")
    .option("--url <url>", "the orchestrator, before enrolment")
    .option("--registry <host>", "a registry to pull from, instead of the default list; repeatable", collect)
    .option("--egress", "look whether jobs with a network can be taken (yes)")
    .option("--no-egress", "only jobs without a network are to be taken")
    .option("--docker-socket <path>", "the Docker Engine's socket (/var/run/docker.sock)")
    .option("--sandbox-runtime <name>", "the Engine's name for gVisor, which sandboxed jobs run under (runsc)")
    .option("--memory-runtime <name>", "its name for gVisor with transparent checkpoints (qubix-runsc)")
    .option("--config <file>", "settings as JSON; flags and QUBIX_* variables win")
    .option("--json", "print one line of JSON")
    .addHelpText("after", "\nExit code 1 when something that is needed fails; warnings do not count.")
    .action(async (flags: DoctorFlags) => {
      exitCode = await (await import("./commands/doctor.ts")).runDoctorCommand(flags);
    });

  program
    .command("start")
    .description("connects and works until it is stopped; running jobs outlive a restart")
    .option("--data-dir <dir>", "where this worker keeps its key and journal")
    .option("--url <url>", "the orchestrator; afterwards only where its address is no longer the one enrolled with")
    .option("--token <token>", "a one-time enrolment token: enrols where that is not done yet")
    .option("--name <name>", "what people call this worker, when it enrols (this machine's name)")
    .option("--price-per-cpu-hour <price>", "price of one core for one hour, fee included (0.10)")
    .option("--price-per-gpu-hour <price>", "price of one GPU for one hour; without it GPUs are not offered")
    .option(
      "--price-per-gpu-job-cpu-hour <price>",
      "price of one core for one hour, for jobs with GPUs (in the price of the GPU)",
    )
    .option("--price-per-memory-gib-hour <price>", "price of one GiB of memory for one hour (in the other prices)")
    .option("--price-per-disk-gib-hour <price>", "price of one GiB of disk for one hour (in the other prices)")
    .option(
      "--price-per-egress-gib <price>",
      "price of one GiB that a job sends over its network (in the other prices)",
    )
    .option("--currency <code>", "currency of the prices (USD)")
    .option("--standby-percent <n>", "share of the price that a standby pays (25)")
    .option("--region <region>", "where this machine is, e.g. eu-west")
    .option("--cpus <n>", "cores to offer (all)")
    .option("--memory-mib <n>", "memory to offer in MiB (all but a reserve)")
    .option("--disk-mib <n>", "disk to offer in MiB (what is free, but a reserve)")
    .option("--local-image <name>", "a local image (tag local) that jobs may run; repeatable", collect)
    .option("--quiet-hours <hours>", 'no new work then, local time, e.g. "mon-fri 09:00-17:00"; repeatable', collect)
    .option("--maintenance <window>", 'the machine is emptied before, e.g. "2026-12-01T02:00/2h"; repeatable', collect)
    .option("--uplink-mbps-max <n>", "at most this many Mbit/s outwards for checkpoints and outputs (no cap)")
    .option("--registry <host>", "a registry to pull from, instead of the default list; repeatable", collect)
    .option(
      "--allow-private-registry <host[:port]>",
      "a registry to pull from although it is on this machine or in its network; repeatable",
      collect,
    )
    .option(
      "--image-disk-mib <n>",
      "disk for images in MiB; what was not used for longest goes (a quarter of the disk)",
    )
    .option("--yield-gpu <on|off>", "take a GPU back while somebody else uses it; jobs on it move away (on)")
    .option("--yield-gpu-ignore <name>", "a program whose use of a GPU does not count; repeatable", collect)
    .option("--yield-gpu-quiet-min <n>", "minutes of quiet until such a GPU is offered again (10)")
    .option("--no-direct", "fetch and give checkpoints through the orchestrator alone")
    .option(
      "--direct-listen <address>",
      "where other workers connect for checkpoints, e.g. 0.0.0.0:40001 or a port (any free port on all addresses)",
    )
    .option("--egress", "take jobs that may reach the internet, and nothing else (where the self-test passes)")
    .option("--no-egress", "take only jobs without a network")
    .option("--dns <address>", "a public resolver for jobs with a network (9.9.9.9, 1.1.1.1); repeatable", collect)
    .option("--docker-socket <path>", "the Docker Engine's socket (/var/run/docker.sock)")
    .option("--sandbox-runtime <name>", "the Engine's name for gVisor, which sandboxed jobs run under (runsc)")
    .option("--memory-runtime <name>", "its name for gVisor with transparent checkpoints (qubix-runsc)")
    .option(
      "--gpu-proof-program <path>",
      "the program that proves GPUs (qubix-gpu-proof, as built or beside the agent)",
    )
    .option(
      "--metrics-listen <address>",
      "serve metrics for Prometheus there, e.g. 127.0.0.1:9420; a port alone is on loopback",
    )
    .option("--config <file>", "settings as JSON; flags and QUBIX_* variables win")
    .option("--print-config", "print the settings that hold, and end")
    .option("--json", "print one line of JSON when ready")
    .option("--log-level <level>", "trace, debug, info, warn, error or silent (info)")
    .addHelpText("after", "\nEvery flag can be a variable: QUBIX_DATA_DIR, QUBIX_PRICE_PER_CPU_HOUR, …")
    .action(async (flags: StartFlags) => {
      exitCode = await (await import("./commands/start.ts")).runStart(flags);
    });

  program
    .command("status")
    .description("what the running worker is doing")
    .option("--data-dir <dir>", "the worker's data directory (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action(async (flags: CommonFlags) => (await import("./commands/status.ts")).runStatus(flags));

  program
    .command("set")
    .description("changes prices, limits and hours of the running worker; without settings it shows them")
    .option("--price-per-cpu-hour <price>", "price of one core for one hour, fee included")
    .option("--price-per-gpu-hour <price>", "price of one GPU for one hour; none: GPUs are not offered")
    .option("--price-per-gpu-job-cpu-hour <price>", "of one core for jobs with GPUs; none: in the price of the GPU")
    .option("--price-per-memory-gib-hour <price>", "of one GiB of memory for one hour; none: in the other prices")
    .option("--price-per-disk-gib-hour <price>", "of one GiB of disk for one hour; none: in the other prices")
    .option("--price-per-egress-gib <price>", "of one GiB that a job sends over its network; none: in the other prices")
    .option("--currency <code>", "currency of the prices")
    .option("--standby-percent <n>", "share of the price that a standby pays")
    .option("--region <region>", "where this machine is")
    .option("--cpus <n>", "cores to offer; none: all")
    .option("--memory-mib <n>", "memory to offer; none: all but a reserve")
    .option("--disk-mib <n>", "disk to offer; none: what is free, but a reserve")
    .option(
      "--local-image <name>",
      "a local image that jobs may run, instead of those before; repeatable; none",
      collect,
    )
    .option("--quiet-hours <hours>", "hours without new work, instead of those before; repeatable; none", collect)
    .option(
      "--maintenance <window>",
      'times before which the machine is emptied, e.g. "2026-12-01T02:00/2h", instead of those before; repeatable; none',
      collect,
    )
    .option("--uplink-mbps-max <n>", "at most this many Mbit/s outwards for checkpoints and outputs; none: no cap")
    .option("--yield-gpu <on|off>", "take a GPU back while somebody else uses it")
    .option("--yield-gpu-ignore <name>", "a program whose use of a GPU does not count; repeatable; none", collect)
    .option("--yield-gpu-quiet-min <n>", "minutes of quiet until such a GPU is offered again")
    .option("--reset [names...]", "back to what the worker was started with: these, or all")
    .option("--data-dir <dir>", "the worker's data directory (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .addHelpText(
      "after",
      "\nIt holds at once for new work, and across restarts, until --reset or until the worker is started with another\nvalue of that setting. Running jobs keep the price they came with.",
    )
    .action(async (flags: SetFlags) => (await import("./commands/set.ts")).runSet(flags));

  program
    .command("drain")
    .description("takes no new work; what runs goes on, or with --now moves to other workers")
    .addOption(new Option("--undo", "take new work again").conflicts(["now", "deadline", "wait"]))
    .option("--now", "move what runs here to other workers; each job saves first")
    .option("--deadline <seconds>", "with --now: what is still here then is stopped (600)", parseSeconds)
    .option("--wait", "return when nothing runs here any more")
    .option("--data-dir <dir>", "the worker's data directory (QUBIX_DATA_DIR)")
    .option("--json", "print one line of JSON")
    .action(async (flags: DrainFlags) => (await import("./commands/status.ts")).runDrain(flags));

  try {
    assertNodeVersion();
    await program.parseAsync([...argv], { from: "user" });
    return exitCode;
  } catch (error) {
    return reportFailure(error);
  }
}
