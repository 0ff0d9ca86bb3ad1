// Runs in the namespace of a test: what the worker's own check says of jobs with egress there, as a line of JSON.
import { createLogger } from "@qubix/shared/runtime";
import { createEngine } from "../../worker/src/runner/engine.ts";
import { checkEgress } from "../../worker/src/runner/network/check.ts";

const [socket = ""] = process.argv.slice(2);
const found = await checkEgress({ engine: createEngine(socket), logger: createLogger("test", "silent") }, "wrk-check");
process.stdout.write(`${JSON.stringify(found)}\n`);
