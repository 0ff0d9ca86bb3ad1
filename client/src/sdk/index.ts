// The SDK: a typed client of the Qubix API. Works in Node and in browsers; what needs Node (local files, keep-alive agent) is in `@qubix/client/node`.
export * from "./client.ts";
export type { EventsDeps, SubscribeOptions } from "./events.ts";
export type {
  EventsOptions,
  GetJobOptions,
  Jobs,
  ListJobsOptions,
  CheckpointsOptions,
  LogsOptions,
  CarOptions,
  OutputDownload,
  WaitOptions,
} from "./jobs.ts";
export { allItems, collect, type PageOptions } from "./paging.ts";
export { errorFromResponse, errorFromTransport, type FieldError, fieldErrorsOf } from "./problem.ts";
export type { CallOptions, CreateOptions, Requester } from "./request.ts";
export { EVENTS_PROTOCOL, KEY_PROTOCOL_PREFIX } from "./socket.ts";
export type { Socket, SocketEnd, SocketFactory, SocketHandlers } from "./socket.ts";
export type { CaseListOptions, Trust } from "./trust.ts";
export type { Transport, TransportRequest, TransportResponse } from "./transport.ts";
export * from "./types.ts";
export { QubixError } from "@qubix/shared/errors";
