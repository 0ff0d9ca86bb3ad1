import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/lib/longest-first.ts";

// Tests run on the TypeScript sources themselves: the `qubix-source` export condition of every package names them.
export default defineConfig({
  resolve: { conditions: ["qubix-source", "node"] },
  ssr: { resolve: { conditions: ["qubix-source", "node"] } },
  test: {
    include: ["*/src/**/*.test.ts", "test/**/*.test.ts"],
    testTimeout: 30_000,
    // Starting a network: a worker whose proof is late on an overloaded machine is asked again a minute later.
    hookTimeout: 200_000,
    // What is waited for comes; how soon on a busy machine is no matter of behaviour.
    expect: { poll: { timeout: 20_000 } },
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
  },
});
