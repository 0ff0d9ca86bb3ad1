// What programs and tests of the repository may use of the orchestrator as a whole.
export { orchestratorConfigSchema, type OrchestratorConfig } from "./config.ts";
export { startOrchestrator, type Orchestrator } from "./orchestrator.ts";
