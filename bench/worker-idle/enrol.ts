// A worker of a provider of its own, enrolled by the program as its owner would.
import { runProgram } from "../../scripts/lib/processes.ts";
import { type Api, createAccount } from "../harness/network.ts";

export async function enrolWithCli(admin: Api, url: URL, dataDir: string): Promise<string> {
  const provider = await createAccount(admin, "provider", "provider");
  const { token } = await admin.call<{ token: string }>("POST", "/v1/enrolments", { accountId: provider.accountId });
  const args = ["enrol", "--url", url.href, "--token", token, "--name", "idle", "--data-dir", dataDir];
  const enrolled = await runProgram("worker", args);
  if (enrolled.code !== 0) throw new Error(`enrol: ${enrolled.stderr}`);
  return dataDir;
}
