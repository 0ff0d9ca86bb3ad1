import { expect, it } from "vitest";
import { startConfigSchema } from "../app/config.ts";
import { createEngine } from "../runner/engine.ts";
import { checkProofs } from "./doctor.ts";

it("has the cores answer a challenge, and each GPU that is here", async () => {
  const config = startConfigSchema.parse({ dataDir: "/nonexistent" });
  const context = { config, engine: createEngine(config.dockerSocket), signal: new AbortController().signal };
  const [cores, ...gpus] = await checkProofs(context);
  expect(cores).toMatchObject({ name: "Proof of cores", status: "ok" });
  expect(gpus.length).toBeGreaterThan(0);
  for (const gpu of gpus) expect(gpu).toMatchObject({ name: "Proof of GPU" });
});
