// The way to the orchestrator: its name, its port, its certificate, its health, its clock and its socket. Signs nothing and opens no session.
import { lookup } from "node:dns/promises";
import { existsSync } from "node:fs";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { WebSocket } from "ws";
import { loadIdentity } from "../../identity.ts";
import { type Check, type DoctorContext, fail, ok, skip, warn } from "../check.ts";

const STEP_TIMEOUT_MS = 8_000;
/** The header is in whole seconds and the answer takes its time; leases never read the clock, certificates and people do. */
const SKEW_MS_MAX = 5_000;
const MS_PER_DAY = 86_400_000;
const CERTIFICATE_DAYS_MIN = 7;
const PORTS: Readonly<Record<string, number>> = { "http:": 80, "https:": 443 };

export async function checkOrchestrator({ config }: DoctorContext): Promise<readonly Check[]> {
  const url = urlOf(config.url, config.dataDir);
  const name = "Orchestrator";
  if (url === undefined)
    return [skip(name, "not enrolled, and no --url was given", "an orchestrator that can be reached")];
  const target = new URL(url);
  const port = target.port === "" ? (PORTS[target.protocol] ?? 443) : Number(target.port);
  const host = target.hostname.replace(/^\[(.*)\]$/, "$1");
  try {
    await lookup(host);
  } catch (error) {
    return [
      fail(
        name,
        `${host} has no address (${codeOf(error)})`,
        "a name that resolves",
        "Check --url and the machine's DNS (resolvectl status)",
      ),
    ];
  }
  try {
    (await within(openTcp(host, port))).destroy();
  } catch (error) {
    const remedy = "Check that it runs, and that a firewall lets this machine out to that port";
    return [fail(name, `${host}:${port} does not answer (${codeOf(error)})`, "a TCP connection", remedy)];
  }
  const secure = target.protocol === "https:" ? await checkTls(host, port) : plainText(host);
  const health = secure.status === "fail" ? [] : await checkHealth(url);
  const socket = health.some(({ status }) => status === "fail") || health.length === 0 ? [] : [await checkSocket(url)];
  return [secure, ...health, ...socket];
}

function urlOf(url: string | undefined, dataDir: string | undefined): string | undefined {
  if (url !== undefined || dataDir === undefined || !existsSync(dataDir)) return url;
  try {
    return loadIdentity(dataDir).identity.url;
  } catch {
    // The check of the data directory says why.
    return undefined;
  }
}

function plainText(host: string): Check {
  const needed = "https, but on this machine itself or inside a VPN";
  if (["localhost", "127.0.0.1", "::1"].includes(host)) return ok("TLS", "none needed on this machine", needed);
  return warn("TLS", "plain http", needed, "Use an https:// address: whoever is on the way reads jobs' data");
}

async function checkTls(host: string, port: number): Promise<Check> {
  const needed = "a certificate that this machine trusts";
  try {
    const daysLeft = await within(certificateDays(host, port));
    if (daysLeft >= CERTIFICATE_DAYS_MIN) return ok("TLS", `valid for ${daysLeft} days`, needed);
    return warn("TLS", `valid for ${daysLeft} more days`, needed, "Its operator has to renew the certificate");
  } catch (error) {
    const remedy = "Check this machine's clock and ca-certificates; for a CA of your own set NODE_EXTRA_CA_CERTS";
    return fail("TLS", codeOf(error), needed, remedy);
  }
}

function certificateDays(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host, port, servername: host, timeout: STEP_TIMEOUT_MS }, () => {
      const until = Date.parse(socket.getPeerCertificate().valid_to);
      socket.destroy();
      resolve(Math.floor((until - Date.now()) / MS_PER_DAY));
    });
    socket.once("error", reject);
  });
}

async function checkHealth(url: string): Promise<readonly Check[]> {
  const needed = "GET /healthz answers 200";
  try {
    const askedMs = Date.now();
    const response = await fetch(new URL("/healthz", url), { signal: AbortSignal.timeout(STEP_TIMEOUT_MS) });
    await response.arrayBuffer();
    const answeredMs = Date.now();
    const found = `${url} answers ${response.status} in ${answeredMs - askedMs} ms`;
    const health = response.ok
      ? ok("Orchestrator", found, needed)
      : fail("Orchestrator", found, needed, "Check --url; its operator looks at GET /readyz");
    return [health, checkClock(response.headers.get("date"), askedMs, answeredMs)];
  } catch (error) {
    return [fail("Orchestrator", `no answer (${codeOf(error)})`, needed, "Check --url and that it runs")];
  }
}

/** Against the answer's own date, which is somewhere between question and answer, cut to whole seconds. */
function checkClock(date: string | null, askedMs: number, answeredMs: number): Check {
  const needed = `within ${SKEW_MS_MAX / 1000} s of the orchestrator's`;
  const theirs = Date.parse(date ?? "");
  if (Number.isNaN(theirs)) return skip("Clock", "the orchestrator does not tell the time", needed);
  const aheadMs = askedMs - theirs - 1000;
  const behindMs = theirs - answeredMs;
  const skewMs = Math.max(0, aheadMs, behindMs);
  if (skewMs <= SKEW_MS_MAX) return ok("Clock", "agrees with the orchestrator's", needed);
  const side = aheadMs > behindMs ? "ahead" : "behind";
  return warn(
    "Clock",
    `${Math.round(skewMs / 1000)} s ${side}`,
    needed,
    "Turn time synchronisation on: timedatectl set-ntp true",
  );
}

/** The upgrade is what proxies break; the greeting that follows shows who is there. */
async function checkSocket(url: string): Promise<Check> {
  const name = "WebSocket";
  const needed = "an upgrade on /v1/worker";
  try {
    await within(greeting(new URL("/v1/worker", url.replace(/^http/, "ws"))));
    return ok(name, "opens, and is greeted", needed);
  } catch (error) {
    return fail(name, codeOf(error), needed, "A proxy in between has to pass WebSocket upgrades on");
  }
}

function greeting(url: URL): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { handshakeTimeout: STEP_TIMEOUT_MS });
    socket.once("message", () => {
      socket.close(1000);
      resolve();
    });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed before a greeting")));
  });
}

function openTcp(host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connectTcp({ host, port, timeout: STEP_TIMEOUT_MS }, () => resolve(socket));
    socket.once("timeout", () => socket.destroy(new Error("time-out")));
    socket.once("error", reject);
  });
}

async function within<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${STEP_TIMEOUT_MS / 1000} s`)), STEP_TIMEOUT_MS);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

function codeOf(error: unknown): string {
  const { code, message, cause } = error as { code?: string; message?: string; cause?: { code?: string } };
  return cause?.code ?? code ?? message ?? String(error);
}
