export { createAgent, type Agent, type AgentPorts } from "./agent.ts";
export { enrol, loadIdentity, type Identity } from "./identity.ts";
export { main } from "./main.ts";
export type { AgentStatus } from "./owner/status.ts";
