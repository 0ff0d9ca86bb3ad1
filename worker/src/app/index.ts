export { createAgent, type Agent, type AgentPorts, type AgentStatus } from "./agent.ts";
export { enrol, loadIdentity, type Identity } from "./identity.ts";
export { main } from "./main.ts";
