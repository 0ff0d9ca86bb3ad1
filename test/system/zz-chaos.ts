import { mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { zstdDecompressSync } from "node:zlib";
import { join } from "node:path";
import { startNetwork } from "../../scripts/lib/network.ts";
import { sleep } from "../../scripts/lib/processes.ts";
import { counterJob, counterResult, outputOf, settled, shellJob } from "./fixture.ts";
import { createRequire } from "node:module";
const folder = mkdtempSync("/tmp/qa/chaos-");
const args = ["--cpus","3","--memory-mib","2048","--disk-mib","8192","--local-image","qubix/tiny:local"];
const network = await startNetwork({ folder });
for (const name of ["a","b","c"]) await network.addWorker({ name, args });
const { client } = await network.addConsumer("c", "100000000");
const ids: string[] = []; const kinds = new Map<string,string>();
for (let n = 0; n < 30; n++) {
  const standby = n % 3 === 0 ? "hot" as const : "cold" as const;
  const kind = n % 10 === 7 ? "fail" : n % 10 === 8 ? "cancel" : n % 10 === 9 ? "big" : "ok";
  const spec = kind === "big" ? shellJob('i=0; [ -e $QUBIX_CHECKPOINT_DIR/* ] && i=$(basename $QUBIX_CHECKPOINT_DIR/*); while [ $i -lt 8 ]; do i=$((i+1)); head -c 3000000 /dev/urandom > $QUBIX_CHECKPOINT_DIR/.n; mv $QUBIX_CHECKPOINT_DIR/.n $QUBIX_CHECKPOINT_DIR/$i; sleep 0.5; done; head -c 5000000 /dev/urandom > /out/x; echo ok > /out/result.txt', { standby })
    : counterJob(12, 0.25, { standby, retries: 1, ...(kind === "fail" ? { env: { EXIT_CODE: "3" } } : {}) });
  const { id } = await client.jobs.create(spec); ids.push(id); kinds.set(id, kind);
}
const t0 = performance.now();
for (let k = 0; k < 12; k++) {
  await sleep(Math.random() * 1500);
  await network.orchestrator().kill(); if (k % 4 === 1) await sleep(4000);
  if (k % 3 === 2) { const w = network.workers[k % 3 === 2 ? Math.floor(Math.random()*3) : 0]!; if (Math.random() < 0.5) await w.die(); else await w.program().kill(); await network.restartOrchestrator(); await sleep(Math.random()*3000); await w.start(); }
  else await network.restartOrchestrator();
  if (k === 4) for (const id of ids) if (kinds.get(id) === "cancel") await client.jobs.cancel(id);
}
const phases: Record<string, number> = {};
for (const id of ids) {
  const job = await client.jobs.wait(id); const kind = kinds.get(id); const key = `${kind}:${job.phase}:${job.reason}`; phases[key] = (phases[key] ?? 0) + 1;
  if (settled(job).sum !== settled(job).hold) console.log("SETTLE", id);
  if (kind === "ok" && (job.phase !== "succeeded" || (await outputOf(client, id, "result.txt")) !== counterResult(12))) console.log("BAD", id, job.phase, job.reason, job.message);
  if (kind === "big" && job.phase !== "succeeded") console.log("BAD", id, job.phase, job.message);
}
console.log(phases, Math.round(performance.now() - t0), "ms");
await sleep(6000);
for (const w of network.workers) console.log(w.name, await w.allContainers(), readdirSync(join(w.dataDir, "slots")));
// audit
const require = createRequire("/tmp/wt/qa/orchestrator/package.json");
const D = require("better-sqlite3"); const db = new D(join(folder, "orchestrator/qubix.db"), { readonly: true });
console.log("sum", db.prepare("select sum(amount) s from balances").get(), "postings", db.prepare("select sum(amount) s from postings").get(), "neg", db.prepare("select account,amount from balances where amount<0").all());
console.log("settlements per job != 1", db.prepare("select job_id,count(*) n from transfers where kind='settlement' group by 1 having n<>1").all(), db.prepare("select count(distinct job_id) n from transfers where kind='settlement'").get());
const disk = new Map<string, number>(); const tmp: string[] = [];
const walk = (d: string) => { for (const e of readdirSync(d, { withFileTypes: true })) { const p = join(d, e.name); if (e.isDirectory()) walk(p); else if (e.name.startsWith("bafk") && !p.includes(".tmp")) disk.set(e.name, statSync(p).size); else tmp.push(p); } };
walk(join(folder, "orchestrator/chunks"));
const need = new Set<string>();
const file = (cid: string) => { const out: string[] = []; const w = (d: string) => { for (const e of readdirSync(d, { withFileTypes: true })) { const p = join(d, e.name); if (e.isDirectory()) w(p); else if (e.name === cid) out.push(p); } }; w(join(folder, "orchestrator/chunks")); return out[0]; };
let trees = 0;
for (const row of db.prepare("select data from jobs").all() as { data: string }[]) {
  for (const m of row.data.matchAll(/"manifestCid":"(bafk[a-z0-9]+)"/g)) { const cid = m[1]!; if (need.has(cid)) continue; trees++; need.add(cid); const f = file(cid); if (!f) { console.log("MISSING manifest", cid); continue; }
    const raw = readFileSync(f); const man = JSON.parse((raw[0] === 0x28 ? zstdDecompressSync(raw) : raw).toString()); for (const e of man.entries) for (const c of e.chunks ?? []) need.add(c.cid); }
}
const left = [...disk.keys()].filter((c) => !need.has(c)); const missing = [...need].filter((c) => !disk.has(c));
console.log({ trees, disk: disk.size, need: need.size, leftovers: left.length, leftoverBytes: left.reduce((s, c) => s + disk.get(c)!, 0), missing: missing.length, tmp: tmp.length });
console.log("folder", folder);
await network.stop();
