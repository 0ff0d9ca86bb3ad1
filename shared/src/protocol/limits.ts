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

/**
 * The lease of an `exclusive` attempt: its worker pauses the container this long (boot-time clock) after it sent the last heartbeat that was answered.
 * Long enough for a home router to start anew, short enough that a job is not long without a machine.
 */
export const EXCLUSIVE_LEASE_MS = 15_000;
/** What the orchestrator waits beyond that lease before another worker may start: the time in which a pause must have taken effect. */
export const EXCLUSIVE_MARGIN_MS = 2_000;

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

/** Metering ticks kept of one job: a week of checkpoints every 30 s. Beyond it only exits and ends are kept; the others are checked and counted. */
export const TICKS_PER_JOB_MAX = 20_000;
/** Ticks of one container that wait for an answer: beyond it checkpoints get none of their own, and the next one covers their time. */
export const TICKS_WAITING_MAX = 32;
/** Resources that one tick may tell the use of. */
export const TICK_USAGE_MAX = 16;
