// Every bound of the wire, with its reason. Nothing that crosses a socket grows without one of these.

/** The version both sides must speak; rises when a message changes its meaning. */
export const PROTOCOL_VERSION = 1;

/** A control message is small: specifications and manifests' names, never bulk. */
export const CONTROL_FRAME_BYTES_MAX = 1024 * 1024;
/** Bulk frames stay small, so that a heartbeat never waits long behind one. */
export const BULK_FRAME_BYTES_MAX = 64 * 1024;
/** Bytes a bulk sender may have unacknowledged: half a second of a 1 Gbit/s uplink at most. */
export const BULK_WINDOW_BYTES_MAX = 8 * 1024 * 1024;
/** Largest plain size of one chunk. */
export const CHUNK_BYTES_MAX = 1024 * 1024;
/** Largest stored (compressed) size of one chunk: incompressible data grows by a few bytes. */
export const CHUNK_STORED_BYTES_MAX = CHUNK_BYTES_MAX + 64 * 1024;
/** A manifest names at most this many chunks: 64 GiB in chunks of 1 MiB. */
export const MANIFEST_CHUNKS_MAX = 65_536;
export const MANIFEST_ENTRIES_MAX = 100_000;
/** Differences on one piece: each makes a restore longer, so a whole piece follows. */
export const PIECE_LAYERS_MAX = 8;
/** How many chunk ids one `have` question may carry. */
export const HAVE_CHUNKS_MAX = 4096;

/** Addresses of one worker that are told and tried: some interfaces in each family. */
export const DIRECT_ADDRESSES_MAX = 16;
/** Relays that a worker is told of: one is enough, a second while the first is replaced. */
export const DIRECT_RELAYS_MAX = 2;

/** Answer of a challenge: 32 bytes and a product of 2,048 × 2,048 two-byte numbers, with room to grow. */
export const PROOF_ANSWER_BYTES_MAX = 40 * 1024 * 1024;
/** What may be sent to measure a line, once each way: 3 s of a 10 Mbit/s uplink. */
export const LINE_MEASURE_BYTES_MAX = 4 * 1024 * 1024;

/** Time a socket has to authenticate before it is closed. */
export const AUTH_TIMEOUT_MS = 10_000;
/** Heartbeats with an attempt or a standby; otherwise {@link HEARTBEAT_IDLE_MS}. */
export const HEARTBEAT_BUSY_MS = 1_000;
export const HEARTBEAT_IDLE_MS = 5_000;
/** Heartbeats are spread by up to this share of their interval, so that a fleet does not speak at once. */
export const HEARTBEAT_JITTER = 0.1;

/** Log text of one frame. */
export const LOG_FRAME_BYTES_MAX = 32 * 1024;
/** Log text kept of one job, over all attempts; what comes after is counted and dropped with a marker. */
export const LOG_BYTES_PER_JOB_MAX = 16 * 1024 * 1024;
/** Size of one job's outputs, plain. */
export const OUTPUT_BYTES_PER_JOB_MAX = 16 * 1024 * 1024 * 1024;

/** Largest HTTP request body. */
export const HTTP_BODY_BYTES_MAX = 1024 * 1024;
/** Largest manifest of an upload: about 65,536 chunks. */
export const UPLOAD_MANIFEST_BYTES_MAX = 16 * 1024 * 1024;
/** Longest wait of one `GET /v1/jobs/{id}?waitS=`: shorter than the idle limits of common proxies. */
export const LONG_POLL_S_MAX = 60;
export const BATCH_JOBS_MAX = 100;
export const PAGE_SIZE_DEFAULT = 50;
export const PAGE_SIZE_MAX = 500;
export const IDEMPOTENCY_KEY_LENGTH_MAX = 128;
export const IDEMPOTENCY_TTL_MS = 24 * 3_600_000;
export const ENROLMENT_TTL_S_DEFAULT = 3_600;
