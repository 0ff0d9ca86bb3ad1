// A real EVM node on loopback: Hardhat's, from npm, in a process of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const CONFIG = fileURLToPath(new URL("../../../contracts/evm/testing/hardhat.config.js", import.meta.url));
const CHAIN_ID = 31_337;
const START_MS_MAX = 60_000;
const STOP_MS_MAX = 5_000;
const POLL_MS = 50;

export interface EvmNode {
  readonly url: string;
  readonly chainId: number;
  /** Any method of its JSON-RPC. Throws with the node's words. */
  rpc<T>(method: string, ...params: readonly unknown[]): Promise<T>;
  stop(): Promise<void>;
}

export async function startEvmNode(): Promise<EvmNode> {
  const port = await freePort();
  const cli = fileURLToPath(new URL("cli.js", import.meta.resolve("hardhat")));
  const args = [cli, "--config", CONFIG, "node", "--hostname", "127.0.0.1", "--port", String(port)];
  const env = { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: "true" };
  const child = spawn(process.execPath, args, { cwd: dirname(CONFIG), env, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  child.stderr.on("data", (text: Buffer) => (said = `${said}${text.toString()}`.slice(-4_000)));
  const url = `http://127.0.0.1:${port}`;
  const rpc = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
    const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
    const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
    const answer = (await response.json()) as { result?: T; error?: { message: string } };
    if (answer.error !== undefined) throw new Error(`${method}: ${answer.error.message}`);
    return answer.result as T;
  };
  const stop = () => ended(child);
  const deadline = performance.now() + START_MS_MAX;
  for (;;) {
    try {
      await rpc("eth_chainId");
      return { url, chainId: CHAIN_ID, rpc, stop };
    } catch (error) {
      if (child.exitCode === null && performance.now() < deadline) await new Promise((go) => setTimeout(go, POLL_MS));
      else {
        await stop();
        throw new Error(`the EVM node did not start: ${said}`, { cause: error });
      }
    }
  }
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((go) => child.once("exit", () => go()));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS_MAX);
  await exit;
  clearTimeout(timer);
}

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((go) => server.listen(0, "127.0.0.1", go));
  const { port } = server.address() as { port: number };
  await new Promise((go) => server.close(go));
  return port;
}
