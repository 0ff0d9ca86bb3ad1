// Starts an Engine and a container in it, says so, and waits to be killed: for the test of what such a run leaves behind.
import { startTestEngine } from "./engine.ts";

const engine = await startTestEngine();
const [image = ""] = process.argv.slice(2);
await engine.loadImage(image);
await engine.docker(["run", "--detach", "--name", "held", image, "sleep", "600"]);
const container = Number(await engine.docker(["inspect", "--format", "{{.State.Pid}}", "held"]));
process.stdout.write(`${JSON.stringify({ namespace: engine.namespace, folder: engine.folder, container })}\n`);
setInterval(() => undefined, 60_000);
