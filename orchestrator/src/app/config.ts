// The orchestrator's configuration: one schema; flags > QUBIX_* variables > file > defaults.
import { z } from "zod";
import { DEFAULT_CORE_CONFIG, WORKER_PROOFS } from "../core/index.ts";
import { currencySchema, REGISTRIES_ALLOWED_DEFAULT } from "@qubix/shared/protocol";
import { LOG_LEVELS } from "@qubix/shared/runtime";

const PORT_MAX = 65_535;
/** A year: providers have to be paid some day. */
const DISPUTE_WINDOW_S_MAX = 366 * 86_400;

/** `HOST:PORT`, with brackets around an IPv6 address. */
const listenSchema = z.string().transform((text, context) => {
  const match = /^(?:\[(?<v6>[0-9a-fA-F:.]+)\]|(?<host>[A-Za-z0-9.-]+)):(?<port>[0-9]{1,5})$/.exec(text);
  const host = match?.groups?.["v6"] ?? match?.groups?.["host"];
  const port = Number(match?.groups?.["port"]);
  if (host === undefined || port > PORT_MAX) {
    context.addIssue({ code: "custom", message: `not HOST:PORT, e.g. 127.0.0.1:8420 or [::1]:8420: ${text}` });
    return z.NEVER;
  }
  return { host, port };
});

/** From a flag or variable `a,b`; from a file a list. */
const listSchema = z
  .union([z.array(z.string()), z.string().transform((text) => text.split(","))])
  .transform((names) => names.map((name) => name.trim().toLowerCase()).filter((name) => name !== ""));

const UNIT_BYTES: Readonly<Record<string, number>> = { MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 };

/** `500GiB` → bytes; a number, as a file may have it, is bytes already. */
const sizeSchema = z.union([z.number().int().positive(), z.string()]).transform((text, context) => {
  if (typeof text === "number") return text;
  const match = /^(?<count>[0-9]{1,9}(?:\.[0-9]{1,3})?)(?<unit>[MGT]iB)$/.exec(text.trim());
  const bytes = Math.floor(
    Number(match?.groups?.["count"]) * (UNIT_BYTES[match?.groups?.["unit"] ?? ""] ?? Number.NaN),
  );
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  context.addIssue({ code: "custom", message: `not a size, e.g. 500GiB or 2TiB: ${text}` });
  return z.NEVER;
});

/** A host and a TCP port in the words of libp2p: what the IPFS node speaks. */
const TCP_MULTIADDR = "/(?:ip4|ip6|dns4|dns6|dns)/[^/]+/tcp/[0-9]{1,5}";

const ipfsListenSchema = z
  .string()
  .regex(new RegExp(`^${TCP_MULTIADDR}$`), "not an address to listen on, e.g. /ip4/127.0.0.1/tcp/4001");

/** From a flag or variable `a,b`; the flag may come again; from a file a list. */
const ipfsPeersSchema = z
  .union([z.array(z.string()), z.string()])
  .transform((peers) => (typeof peers === "string" ? peers.split(",") : peers).map((peer) => peer.trim()))
  .pipe(
    z.array(
      z
        .string()
        .regex(
          new RegExp(`^${TCP_MULTIADDR}/p2p/[1-9A-Za-z]{40,64}$`),
          "not a peer with its id, e.g. /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…",
        ),
    ),
  );

/** Of TCP on an IP address, or on a name for what is announced. */
const multiaddrSchema = z
  .string()
  .regex(/^\/(ip4|ip6|dns4|dns6)\/[A-Za-z0-9.:-]+\/tcp\/\d{1,5}$/, "a multiaddress, e.g. /ip4/0.0.0.0/tcp/4001");

const switchSchema = z.union([z.boolean(), z.stringbool()]);

const ADDRESS = /^0x[0-9a-fA-F]{40}$/;
const addressSchema = z.string().regex(ADDRESS, "not an address: 0x and 40 hexadecimal digits");
const httpUrlSchema = z.url({ protocol: /^https?$/, error: "not a URL, e.g. http://127.0.0.1:8545" });

/** Blocks on top of one until it counts as final, or the chain's own word. */
const confirmationsSchema = z.union([z.literal("finalized"), z.coerce.number().int().min(1).max(10_000)]);

export const orchestratorConfigSchema = z.object({
  /** Holds the database and the chunks. */
  dataDir: z.string().min(1, "name a folder for the data").default("./qubix-data"),
  /** Of the key that everything at rest is encrypted under; in the data folder where it is not named. */
  masterKeyFile: z.string().min(1).optional(),
  /** Bytes that the checkpoints, outputs and uploads of one account may take up. */
  storageMax: sizeSchema.prefault("1TiB"),
  listen: listenSchema.prefault("127.0.0.1:8420"),
  /** Registries that images may come from. */
  registryAllow: listSchema.prefault([...REGISTRIES_ALLOWED_DEFAULT]),
  /** What workers must prove before they get work: cores, memory and GPUs; only GPUs; or nothing. */
  workerProofs: z.enum(WORKER_PROOFS).default("required"),
  /** Share of the jobs with `verification: spot-check` that are run again at our expense, in the long run. */
  checkShare: z.coerce.number().min(0).max(1).default(0.05),
  /** Our own jobs with known results, which are given to workers after this share of all jobs that succeed. */
  canaries: z.string().min(1).optional(),
  canaryShare: z.coerce.number().min(0).max(1).default(0.01),
  /** Accounts of providers (our own machines, say) whose word decides where two runs of a job differ. */
  checkReferees: listSchema.prefault([]),
  /** How long a provider's pay can be disputed before it is payable; 0: payable at once. */
  disputeWindowS: z.coerce
    .number()
    .int()
    .min(0)
    .max(DISPUTE_WINDOW_S_MAX)
    .default(DEFAULT_CORE_CONFIG.disputeWindowMs / 1000),
  /** How long a provider may appeal a slash, and how long stake that he asks back stays at risk. */
  appealWindowS: z.coerce
    .number()
    .int()
    .min(0)
    .max(DISPUTE_WINDOW_S_MAX)
    .default(DEFAULT_CORE_CONFIG.appealWindowMs / 1000),
  /** How long an admin has to decide a dispute or an appeal before it falls to the provider. */
  decisionS: z.coerce
    .number()
    .int()
    .min(1)
    .max(DISPUTE_WINDOW_S_MAX)
    .default(DEFAULT_CORE_CONFIG.decisionMs / 1000),
  /** Where the IPFS node listens that serves the stored, encrypted files; without it none does. */
  ipfsListen: ipfsListenSchema.optional(),
  /** IPFS nodes that files which were lost here are fetched from. */
  ipfsPeer: ipfsPeersSchema.prefault([]),
  /** `kubo`: what is stored is also put and pinned on a Kubo node, encrypted as it is. */
  storage: z.enum(["local", "kubo"]).default("local"),
  /** Of the Kubo node's RPC. */
  kuboUrl: z
    .url({ protocol: /^https?$/, error: "not a URL, e.g. http://127.0.0.1:5001" })
    .default("http://127.0.0.1:5001"),
  /** A relay for primaries and standbys that are both behind NAT: a multiaddress. None without it. */
  relayListen: multiaddrSchema.optional(),
  /** Its multiaddress as workers reach it, where that is another one. */
  relayAnnounce: multiaddrSchema.optional(),
  /** JSON-RPC of an EVM chain's node. With it come the next five. */
  evmRpcUrl: httpUrlSchema.optional(),
  evmChainId: z.coerce.number().int().positive().optional(),
  /** The deployed escrow, and its token. */
  evmContract: addressSchema.optional(),
  evmToken: addressSchema.optional(),
  /** The operator's private key; nobody else may sign with it. */
  evmKeyFile: z.string().min(1).optional(),
  /** What is paid in this currency lies in the contract. */
  evmCurrency: currencySchema.optional(),
  evmTokenDecimals: z.coerce
    .number()
    .int()
    .min(6, "a token needs at least 6 decimals: amounts are counted in millionths")
    .max(36)
    .default(18),
  evmConfirmations: confirmationsSchema.default("finalized"),
  evmGasPriceMaxGwei: z.coerce.number().int().min(1).max(1_000_000).default(200),
  /** Where the network's fee goes; without it, it stays with the operator's other tokens. */
  evmFeeTo: addressSchema.optional(),
  /** Qubic's RPC, where live/v1 and query/v1 lie. With it come the next three. */
  qubicRpcUrl: httpUrlSchema.optional(),
  qubicContractIndex: z.coerce.number().int().min(1).max(1_023).optional(),
  qubicSeedFile: z.string().min(1).optional(),
  qubicCurrency: currencySchema.optional(),
  /** How long a tick takes in the mean. */
  qubicTickMs: z.coerce.number().int().min(10).max(60_000).default(1_000),
  /** Between two looks at what is under way on a chain. */
  chainPollMs: z.coerce.number().int().min(10).max(60_000).default(1_000),
  logLevel: z.enum(LOG_LEVELS).default("info"),
  /** Machine-readable lines on standard output. */
  json: switchSchema.default(false),
});
export type OrchestratorConfig = z.output<typeof orchestratorConfigSchema>;
