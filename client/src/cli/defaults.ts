// Apart from what uses them, so that help does not load the client.

/** Where an orchestrator listens unless told otherwise. */
export const URL_DEFAULT = "http://127.0.0.1:8420";
export const CURRENCY_DEFAULT = "USD";
