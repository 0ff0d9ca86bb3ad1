// Runs the system's network tools: with a time-out, and with the folders of such tools on the path, which a service may lack.
import { spawn } from "node:child_process";
import { QubixError } from "@qubix/shared/runtime";

/** They ask the kernel, which answers in milliseconds; another holder of the firewall's lock is waited for. */
const COMMAND_TIMEOUT_MS = 10_000;
/** Rules of a machine with thousands of containers take a few MiB. */
const OUTPUT_BYTES_MAX = 32 * 1024 * 1024;
const ERROR_LENGTH_MAX = 300;
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Resolves to the standard output. Throws {@link QubixError} `command_failed` with what the program said. */
export function runTool(name: string, args: readonly string[], input = ""): Promise<string> {
  return new Promise((resolve, reject) => {
    const refuse = (why: string) =>
      reject(new QubixError("command_failed", `${name}: ${why}`, { category: "provider", retryable: true }));
    const path = [process.env["PATH"] ?? "", ...SYSTEM_FOLDERS].join(":");
    const child = spawn(name, args, {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, PATH: path, LC_ALL: "C" },
      timeout: COMMAND_TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    const out: Buffer[] = [];
    let bytes = 0;
    let said = "";
    child.stdout.on("data", (data: Buffer) => {
      bytes += data.length;
      if (bytes <= OUTPUT_BYTES_MAX) out.push(data);
    });
    child.stderr.on("data", (data: Buffer) => {
      said = (said + data.toString()).slice(0, ERROR_LENGTH_MAX);
    });
    child.stdin.on("error", () => undefined); // It has ended without reading; its exit code tells.
    child.once("error", (error: NodeJS.ErrnoException) =>
      refuse(error.code === "ENOENT" ? "not on this machine" : error.message),
    );
    child.once("close", (code, signal) => {
      if (signal === "SIGKILL") return refuse(`no answer within ${COMMAND_TIMEOUT_MS / 1000} s`);
      if (code !== 0) return refuse(said.trim() || `ended with exit code ${code}`);
      if (bytes > OUTPUT_BYTES_MAX) return refuse("it printed too much");
      resolve(Buffer.concat(out).toString());
    });
    child.stdin.end(input);
  });
}
