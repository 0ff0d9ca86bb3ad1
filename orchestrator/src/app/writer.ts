// The single writer: see writer-port.ts for what it promises.
export type { CoreState, EffectSink, Writer, WriterMetrics } from "./writer-port.ts";
