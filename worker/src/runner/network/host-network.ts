// What a container's request says of its network. Pure.
import type { ContainerCreateOptions } from "dockerode";
import type { RunSpec } from "@qubix/shared/protocol";
import type { SlotId } from "../../core/index.ts";
import { networkName } from "./names.ts";

/** Public resolvers that answer everybody; the machine's own is in its network, where no job may reach. */
export const DNS_DEFAULT: readonly string[] = ["9.9.9.9", "1.1.1.1"];

type HostConfig = NonNullable<ContainerCreateOptions["HostConfig"]>;

export interface NetworkRequest {
  readonly NetworkDisabled: boolean;
  readonly HostConfig: Pick<HostConfig, "NetworkMode" | "Dns" | "DnsSearch">;
}

/** No network at all; or the slot's own, with resolvers named so that the Engine asks them from inside it, and none of the machine's search domains. */
export function networkRequest(
  run: Pick<RunSpec, "network">,
  workerId: string,
  slotId: SlotId,
  dns: readonly string[] = DNS_DEFAULT,
): NetworkRequest {
  if (run.network !== "egress") return { NetworkDisabled: true, HostConfig: { NetworkMode: "none" } };
  const NetworkMode = networkName(workerId, slotId);
  return { NetworkDisabled: false, HostConfig: { NetworkMode, Dns: [...dns], DnsSearch: ["."] } };
}
