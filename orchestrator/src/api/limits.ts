// The bounds of the HTTP side that are the server's own business; those of the wire are in shared's limits.ts.

/** Time a client has for its headers, and for a whole request: a chunk of 1 MiB over a 10 kB/s line still fits. */
export const HEADERS_TIMEOUT_MS = 10_000;
export const REQUEST_TIMEOUT_MS = 120_000;
/** Longer than the idle limits of common load balancers, so that they close first. */
export const KEEP_ALIVE_TIMEOUT_MS = 75_000;
export const HEADER_BYTES_MAX = 16 * 1024;
/** Two sockets for each of 10,000 workers, and as many callers again. */
export const CONNECTIONS_MAX = 40_000;
/** Longest path of an output file, percent-encoded. */
export const PARAM_LENGTH_MAX = 3 * 4096;

/** Requests that wait for a job's end, log followers and event sockets at one time; each holds a socket and little memory. */
export const WAITERS_MAX = 20_000;
export const LOG_FOLLOWERS_MAX = 5_000;
export const EVENT_SOCKETS_MAX = 2_000;
/** Log lines read in one go: at 32 KiB each what waits for one slow reader stays below 2 MiB. */
export const LOG_ROWS_PER_READ = 50;
/** Events read in one go while a reader catches up: a few milliseconds of work. */
export const EVENT_ROWS_PER_READ = 500;
/** Unsent bytes after which an event socket's reader is too slow. */
export const EVENT_BUFFER_BYTES_MAX = 4 * 1024 * 1024;
/** Event sockets are asked for a sign of life this often; one that missed it is closed at the next. */
export const EVENT_PING_MS = 30_000;
/** Largest frame a reader of events may send: it has nothing to say. */
export const EVENT_INCOMING_BYTES_MAX = 1024;

/** A writer that does not answer within this time is not ready. */
export const READY_TIMEOUT_MS = 2_000;
/** At a stop, requests under way have this long: all of it ends within 10 s. */
export const STOP_GRACE_MS = 3_000;
