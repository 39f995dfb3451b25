// The law of the house, as data: who may import whom, who may touch the world, and how large things may grow. Nothing is
// decided here by code; test/tidy/rules.ts applies it and test/tidy.test.ts runs it. Every exception carries its reason.

/** A room is named by a path: a file, or a folder with a trailing slash. The longest match wins. */
export interface Room {
  readonly path: string;
  /** Files and folders it may import from besides its own folder. */
  readonly imports: readonly string[];
}

const WORDS = ['core/client.ts', 'core/errors.ts'];

export const ROOMS: readonly Room[] = [
  { path: 'core/base/', imports: [] },
  { path: 'core/errors.ts', imports: [] },
  { path: 'core/client.ts', imports: ['core/base/', 'core/errors.ts'] },
  { path: 'core/identity.ts', imports: [] },
  { path: 'core/client-files.ts', imports: ['core/wire/client-tls.ts'] },
  { path: 'core/version.ts', imports: [] },
  { path: 'core/raft/', imports: ['core/base/assert.ts', 'core/base/prng.ts'] },
  // The store names the slot of the log it has applied in the machine's words (a type); it knows nothing else of raft.
  { path: 'core/store/', imports: ['core/base/', ...WORDS, 'core/raft/types.ts'] },
  // The log reports what it repaired in the node's vocabulary of events (types only).
  { path: 'core/log/', imports: ['core/base/', 'core/raft/types.ts', 'core/node/events.ts'] },
  // Peers take snapshots from one log to another (types only).
  { path: 'core/peer/', imports: ['core/base/', 'core/raft/types.ts', 'core/log/log-storage.ts'] },
  // What a node may tell its owner is plain data: it must be readable without reading the driver.
  { path: 'core/node/events.ts', imports: ['core/raft/types.ts', 'core/peer/events.ts'] },
  { path: 'core/node/', imports: ['core/base/', ...WORDS, 'core/raft/', 'core/store/', 'core/log/', 'core/peer/'] },
  { path: 'core/wire/', imports: ['core/base/', ...WORDS, 'core/version.ts'] },
  // etcd's Lock and Election services are recipes that a server runs for its callers; against `Client`, like all recipes.
  { path: 'core/wire/lock-methods.ts', imports: ['core/wire/', 'core/base/', ...WORDS, 'recipes/borrowed-line.ts'] },
  // Composition roots: they, and only they, choose implementations.
  { path: 'core/index.ts', imports: ['core/'] },
  { path: 'core/start-node.ts', imports: ['core/'] },
  { path: 'core/main.ts', imports: ['core/', 'sidecar/main.ts', 'sidecar/proxy-main.ts'] },
  // coterie lock, register and their like are the recipes with a client over the network.
  { path: 'core/cli/', imports: ['core/', 'recipes/', 'sidecar/main.ts', 'sidecar/proxy-main.ts'] },
  {
    path: 'recipes/',
    // prng: retries are spread by a jitter, and an unseeded one could not be replayed.
    imports: [...WORDS, ...['abort', 'bytes', 'clock', 'assert', 'done', 'prng'].map((name) => `core/base/${name}.ts`)],
  },
  // An instance that starts while the store is away reads its last configuration from a local file, with a checksum. The
  // rule of the longest match makes this a room of its own; it still sees the recipes and nothing else of the core.
  {
    path: 'recipes/config-snapshot.ts',
    imports: ['recipes/', ...['bytes', 'done', 'files', 'crc'].map((name) => `core/base/${name}.ts`)],
  },
  {
    path: 'sidecar/',
    imports: ['core/base/', ...WORDS, 'recipes/view.ts', 'recipes/registry.ts', 'recipes/pause.ts'],
  },
  ...['sidecar/main.ts', 'sidecar/proxy-main.ts', 'sidecar/store-flags.ts'].map((path) => ({
    path,
    imports: ['sidecar/', 'recipes/', 'core/base/', ...WORDS, 'core/index.ts', 'core/version.ts'],
  })),
  // Examples stand where a user stands: at the public doors. The demo is a program of its own and runs the binaries.
  { path: 'examples/', imports: ['core/index.ts', 'recipes/index.ts', 'sidecar/index.ts'] },
  { path: 'test/', imports: ['core/', 'recipes/', 'sidecar/', 'examples/'] },
];

/** Rooms of the plan that nobody has furnished yet; any other name in this file must exist. */
export const ANNOUNCED: readonly string[] = [];

/**
 * Where reading starts: every source file of core, recipes and sidecar is imported, step by step, from one of these.
 * keeper-thread.ts and secrets-thread.ts are where threads start.
 */
export const ROOTS: readonly string[] = [
  'core/index.ts', 'core/main.ts', 'core/wire/keeper-thread.ts', 'core/base/secrets-thread.ts', 'recipes/index.ts',
  'sidecar/index.ts', 'sidecar/main.ts', 'sidecar/proxy-main.ts',
];

/** May import another room's `index.ts`; everybody else names the file. */
export const MAY_USE_DOORS: readonly string[] = [
  'examples/', 'test/', 'core/cli/', 'core/main.ts', 'sidecar/main.ts', 'sidecar/proxy-main.ts',
  'sidecar/store-flags.ts',
];

/** Node's modules that are only arithmetic on values: open to every room. */
export const PURE_MODULES: readonly string[] = ['node:buffer', 'node:path', 'node:url', 'node:util', 'node:zlib'];

/** Words that reach the world (or chance) without an import. */
export const WORLD_WORDS: readonly string[] = [
  'Date', 'performance', 'setTimeout', 'setInterval', 'setImmediate', 'crypto', 'process', 'console', 'fetch', 'WebSocket',
  'Math.random',
];

/** The named doors: which file may use which banned word or Node module. Tests and examples are outside the house. */
export interface Door {
  readonly path: string;
  readonly words: readonly string[];
  readonly modules: readonly string[];
}

export const DOORS: readonly Door[] = [
  { path: 'core/base/abort.ts', words: [], modules: ['node:events'] },
  { path: 'core/base/clock.ts', words: ['performance', 'setTimeout', 'setImmediate', 'process', 'Date'], modules: [] },
  { path: 'core/base/files.ts', words: ['setImmediate'], modules: ['node:fs', 'node:os'] },
  { path: 'core/base/lock.ts', words: ['process'], modules: ['node:fs', 'node:os'] },
  // Certificates are verified, and bear dates; what was signed is checked where it is read.
  { path: 'core/base/tls-terms.ts', words: ['Date'], modules: ['node:net', 'node:tls', 'node:crypto'] },
  { path: 'core/base/tls-gate.ts', words: [], modules: ['node:net', 'node:tls', 'node:crypto'] },
  { path: 'core/base/revocation.ts', words: [], modules: ['node:crypto'] },
  // Passwords and tokens: the system's generator, and a thread to hash in.
  { path: 'core/base/secrets.ts', words: [], modules: ['node:crypto', 'node:worker_threads'] },
  { path: 'core/base/secrets-thread.ts', words: [], modules: ['node:worker_threads'] },
  { path: 'core/base/jwt.ts', words: [], modules: ['node:crypto'] },
  { path: 'core/base/issue-certificate.ts', words: ['Date'], modules: ['node:crypto', 'node:net'] },
  // One process per data directory.
  { path: 'core/base/lock.ts', words: ['process'], modules: ['node:fs', 'node:os'] },
  // Ids and seeds: SHA-1 by etcd's rule, and the one true roll of the dice that seeds our own generator.
  { path: 'core/identity.ts', words: [], modules: ['node:crypto'] },
  { path: 'core/start-node.ts', words: [], modules: ['node:crypto'] },
  { path: 'core/client-files.ts', words: [], modules: ['node:fs'] },
  // Members meet on sockets, with certificates where the addresses say https.
  { path: 'core/peer/tcp-transport.ts', words: [], modules: ['node:net'] },
  { path: 'core/peer/address-check.ts', words: [], modules: ['node:dns', 'node:net', 'node:crypto'] },
  { path: 'core/peer/tls.ts', words: [], modules: ['node:net', 'node:tls'] },
  { path: 'core/wire/port.ts', words: [], modules: ['node:net', 'node:http'] },
  { path: 'core/wire/http2/plain-stream.ts', words: [], modules: ['node:http', 'node:stream'] },
  { path: 'core/wire/http1/', words: [], modules: ['node:net'] },
  { path: 'core/wire/named-callers.ts', words: [], modules: ['node:http', 'node:stream'] },
  { path: 'core/wire/grpc-server.ts', words: [], modules: ['node:net', 'node:http2'] },
  { path: 'core/wire/remote-client.ts', words: [], modules: ['node:net', 'node:crypto'] },
  { path: 'core/wire/client-tls.ts', words: [], modules: ['node:net', 'node:tls'] },
  // Leases kept from beside the main loop: one thread, and what runs in it.
  { path: 'core/wire/keep-aliver.ts', words: [], modules: ['node:worker_threads'] },
  { path: 'core/wire/keeper-thread.ts', words: [], modules: ['node:worker_threads'] },
  { path: 'core/wire/snapshot-stream.ts', words: [], modules: ['node:crypto'] },
  { path: 'core/wire/authority.ts', words: [], modules: ['node:net', 'node:stream'] },
  { path: 'core/wire/session-guard.ts', words: [], modules: ['node:http2'] },
  // `WebSocket` is the library's, not the one that calls out.
  { path: 'core/wire/websocket.ts', words: ['WebSocket'], modules: ['node:net', 'node:http', 'node:stream'] },
  { path: 'core/wire/http-gateway.ts', words: [], modules: ['node:net', 'node:http'] },
  { path: 'core/main.ts', words: ['process'], modules: [] },
  {
    path: 'core/cli/',
    words: ['process', 'performance', 'setTimeout'],
    modules: ['node:fs', 'node:os', 'node:net', 'node:tty', 'node:crypto'],
  },
  // What a server says of its own memory is asked of /metrics; a mirror reports now and then.
  { path: 'core/cli/check.ts', words: ['fetch', 'performance', 'setTimeout'], modules: [] },
  { path: 'core/cli/mirror.ts', words: ['setInterval'], modules: [] },
  // Starts members as processes of their own, and tells people when.
  { path: 'core/cli/cluster.ts', words: ['Date'], modules: [] },
  { path: 'core/cli/cluster-process.ts', words: [], modules: ['node:child_process'] },
  // systemd's own program speaks to systemd for us: Node has no datagram sockets of the file system.
  { path: 'core/cli/notify.ts', words: [], modules: ['node:child_process'] },
  // Who the members are, where DNS is to say it.
  { path: 'core/cli/discovery.ts', words: [], modules: ['node:dns'] },
  // The figures of a server, as its clients reach it.
  { path: 'core/cli/resident.ts', words: [], modules: ['node:http', 'node:https'] },
  // What Node tells of a running server, where somebody asked for it; and whether an inspector is open.
  { path: 'core/cli/profiles.ts', words: [], modules: ['node:http', 'node:inspector', 'node:v8', 'node:perf_hooks'] },
  { path: 'core/cli/server.ts', words: [], modules: ['node:inspector'] },
  // How much garbage this process lets pile up.
  { path: 'core/cli/collector.ts', words: [], modules: ['node:v8', 'node:perf_hooks'] },
  { path: 'core/wire/side-port.ts', words: [], modules: ['node:net', 'node:http'] },
  // The command that runs while something is held, or that is a service.
  { path: 'core/cli/child.ts', words: [], modules: ['node:child_process'] },
  { path: 'sidecar/main.ts', words: ['process'], modules: ['node:fs'] },
  { path: 'sidecar/proxy-main.ts', words: ['process'], modules: [] },
  { path: 'sidecar/proxy.ts', words: [], modules: ['node:net', 'node:http'] },
  // http-proxy is CommonJS and must be repaired before it loads, hence node:module.
  { path: 'sidecar/proxy-forward.ts', words: [], modules: ['node:http', 'node:stream', 'node:module'] },
  // Answers /healthz, /readyz and /status about the sidecar itself.
  { path: 'sidecar/health.ts', words: [], modules: ['node:http'] },
  // Asks a local nginx or HAProxy what it runs.
  { path: 'sidecar/ask.ts', words: [], modules: ['node:net', 'node:http', 'node:crypto'] },
  // Names from the registry are resolved and judged before anything is sent to them.
  { path: 'sidecar/proxy-targets.ts', words: [], modules: ['node:net', 'node:dns'] },
  { path: 'sidecar/processes.ts', words: ['process'], modules: ['node:child_process'] },
];

/** Outside the house: these may use what they need. `console` stays banned in tests, where it garbles the report. */
export const OUTSIDE: readonly string[] = ['test/', 'examples/'];

/** Below `Client` every interleaving belongs to the simulator: no promises, nothing that depends on the locale. */
export const CALLBACK_ROOMS: readonly string[] = ['core/raft/', 'core/store/', 'core/log/', 'core/peer/', 'core/node/'];
export const CALLBACK_WORDS: readonly string[] = [
  'async', 'await', 'Promise', 'queueMicrotask', 'localeCompare', 'Intl', 'toLocaleString',
];
// The bridge itself. The iterators it hands out stand on a pipe (core/base/pipe.ts) and need no promise of their own.
export const CALLBACK_EXCEPTIONS: readonly string[] = ['core/node/local-client.ts'];

/** Which file may import which package. raft, log, node and recipes have none. */
export const DEPENDENCIES: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': [
    'core/wire/grpc-server.ts', 'core/wire/remote-client.ts', 'core/wire/remote-grpc-stream.ts', 'core/wire/remote-links.ts',
  ],
  '@bufbuild/protobuf': ['core/wire/'],
  // The framing of RFC 6455, which a browser's other side must not get wrong.
  ws: ['core/wire/websocket.ts'],
  express: ['core/wire/http-gateway.ts', 'core/wire/health-routes.ts', 'core/wire/cross-site.ts', 'core/wire/side-port.ts'],
  handlebars: ['sidecar/render.ts'],
  'http-proxy': ['sidecar/proxy-forward.ts'],
  yaml: ['core/cli/', 'sidecar/config.ts'],
  zod: ['sidecar/config.ts'],
  pino: ['core/cli/', 'sidecar/main.ts'],
  'prom-client': ['core/cli/metrics.ts', 'core/cli/call-metrics.ts'],
  commander: ['core/cli/', 'sidecar/main.ts', 'sidecar/proxy-main.ts', 'sidecar/store-flags.ts'],
  'sorted-btree': ['core/store/keys.ts'],
  '@node-rs/bcrypt': ['core/base/secrets-thread.ts'],
  jose: ['core/base/jwt.ts'],
  '@peculiar/x509': ['core/base/issue-certificate.ts'],
  // What the one above keeps its notes on classes with.
  'reflect-metadata': ['core/base/issue-certificate.ts'],
};

export const LIMITS = {
  fileLines: 900,
  /** Above this the header says why the file is long. */
  fileLinesWithoutReason: 600,
  functionLines: 70,
  lineColumns: 130,
  headerLines: 15,
} as const;

export const FORBIDDEN_FOLDERS: readonly string[] = [
  'utils', 'util', 'helpers', 'common', 'types', 'interfaces', 'lib', 'shared', 'misc',
];
export const FORBIDDEN_NAMES: readonly RegExp[] = [/^I[A-Z][a-z]/, /Impl$/, /^Abstract[A-Z]/, /Manager$/, /Helpers?$/, /Utils?$/];
/** Written by a program from etcd's .proto files. */
export const GENERATED: readonly string[] = ['core/wire/schema/generated/'];
