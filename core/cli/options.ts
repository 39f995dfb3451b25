// The flags of `coterie serve`, as data. Names and defaults are etcd's wherever etcd has the flag (contract 14.2); each
// has an environment variable (ETCD_ or COTERIE_, then the name in capitals) and a key of the same name in the file. The
// table in core/cli/README.md is checked against this one. Flags of etcd that mean something we do not do yet are listed
// too: they are refused by name, because a server that silently ignores one is worse than none.

export type Kind =
  | 'text' | 'path' | 'integer' | 'duration' | 'boolean' | 'choice'
  | 'listen_urls' | 'urls'
  /** Of members, where https may stand as well. */
  | 'listen_peer_urls' | 'peer_urls' | 'cluster'
  /** Words between commas: of an origin, a host, an output. */
  | 'words'
  /** Judged where it is used. */
  | 'word'
  /** A domain name, or none. */
  | 'domain';

export interface Option {
  readonly flag: string;
  readonly kind: Kind;
  /** As it would be typed. null: follows from other options, see settings.ts. */
  readonly fallback: string | null;
  readonly help: string;
  readonly group: 'Member' | 'Clustering' | 'Security' | 'Limits' | 'Logging' | 'Command';
  readonly choices?: readonly string[];
  readonly min?: number;
  readonly max?: number;
  /** What a number counts, for messages. */
  readonly unit?: string;
  /** Only on the command line: neither environment nor file. */
  readonly flagOnly?: true;
}

const MEMBER: readonly Option[] = [
  { flag: 'name', kind: 'text', fallback: 'default', group: 'Member', help: 'What people call this member.' },
  {
    flag: 'data-dir', kind: 'path', fallback: null, group: 'Member',
    help: 'Where log and snapshots live; created when missing. Default: the name, then .coterie.',
  },
  {
    flag: 'listen-client-urls', kind: 'listen_urls', fallback: 'http://localhost:2379', group: 'Member',
    help: 'Where clients are served, gRPC and HTTP on the same port. Port 0 takes a free one.',
  },
  {
    flag: 'advertise-client-urls', kind: 'urls', fallback: 'http://localhost:2379', group: 'Member',
    help: 'What the member list tells clients to dial. Required when --listen-client-urls is given.',
  },
  {
    flag: 'listen-client-http-urls', kind: 'listen_peer_urls', fallback: '', group: 'Member',
    help: 'Where clients are served HTTP alone; then --listen-client-urls serves gRPC alone.',
  },
  {
    flag: 'listen-metrics-urls', kind: 'listen_peer_urls', fallback: '', group: 'Member',
    help: 'Where health and metrics are served beside the ports for clients.',
  },
  {
    flag: 'metrics', kind: 'choice', fallback: 'basic', choices: ['basic', 'extensive'], group: 'Member',
    help: 'extensive: how long calls of each method took, too.',
  },
  {
    flag: 'enable-grpc-gateway', kind: 'boolean', fallback: 'true', group: 'Member',
    help: 'Serve the JSON gateway of the API at /v3.',
  },
  {
    flag: 'enable-pprof', kind: 'boolean', fallback: 'false', group: 'Member',
    help: 'Profiles of this process below /debug/pprof/, on --listen-metrics-urls of the loopback alone.',
  },
  {
    flag: 'heartbeat-interval', kind: 'integer', fallback: '100', min: 1, max: 10_000, unit: 'milliseconds', group: 'Member',
    help: 'Milliseconds between a leader\'s signs of life.',
  },
  {
    flag: 'election-timeout', kind: 'integer', fallback: '1000', min: 5, max: 50_000, unit: 'milliseconds', group: 'Member',
    help: 'Milliseconds of silence before an election; at least 5 heartbeats.',
  },
  {
    flag: 'snapshot-count', kind: 'integer', fallback: '100000', min: 1, max: 1_000_000_000, unit: 'entries', group: 'Member',
    help: 'Log entries between snapshots, about: fewer of large ones, more while the log is small beside the store.',
  },
];

const CLUSTERING: readonly Option[] = [
  {
    flag: 'listen-peer-urls', kind: 'listen_peer_urls', fallback: 'http://localhost:2380', group: 'Clustering',
    help: 'Where other members are met: http, or https with a certificate.',
  },
  {
    flag: 'initial-advertise-peer-urls', kind: 'peer_urls', fallback: 'http://localhost:2380', group: 'Clustering',
    help: 'What the member list tells other members to dial. With the token they determine the member id.',
  },
  {
    flag: 'initial-cluster', kind: 'cluster', fallback: null, group: 'Clustering',
    help: 'All members as name=url,name=url; a member with two URLs stands there twice. Default: this one alone.',
  },
  {
    flag: 'discovery-srv', kind: 'domain', fallback: '', group: 'Clustering',
    help: 'The members are those that DNS names for this domain (SRV records), in place of --initial-cluster.',
  },
  {
    flag: 'discovery-srv-name', kind: 'domain', fallback: '', group: 'Clustering',
    help: 'What follows the name of the service in those records, behind a dash.',
  },
  {
    flag: 'dns-servers', kind: 'words', fallback: '', group: 'Clustering',
    help: 'Whom to ask in place of the system\'s servers, such as 127.0.0.1:8600. Ours, not etcd\'s.',
  },
  {
    flag: 'initial-cluster-token', kind: 'text', fallback: 'etcd-cluster', group: 'Clustering',
    help: 'Keeps the ids of separate clusters apart.',
  },
  {
    flag: 'initial-cluster-state', kind: 'choice', fallback: 'new', choices: ['new', 'existing'],
    group: 'Clustering', help: 'existing: join a running cluster, after coterie member add.',
  },
  {
    flag: 'strict-reconfig-check', kind: 'boolean', fallback: 'true', group: 'Clustering',
    help: 'Refuse a change of members that could cost the majority.',
  },
  {
    flag: 'force-new-cluster', kind: 'boolean', fallback: 'false', group: 'Clustering',
    help: 'When a majority is lost for ever: go on alone with the data of this member. Nothing else may still run.',
  },
];

const SECURITY: readonly Option[] = [
  {
    flag: 'shared-data-dir', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'Take a data directory that others than its owner may look into. Ours, not etcd\'s.',
  },
  {
    flag: 'cors', kind: 'words', fallback: '*', group: 'Security',
    help: 'Origins whose pages may call this server, such as https://console.example:8080; * is any.',
  },
  {
    flag: 'host-whitelist', kind: 'words', fallback: '*', group: 'Security',
    help: 'Names under which HTTP without TLS may call this server; * is any.',
  },
  { flag: 'peer-cert-file', kind: 'path', fallback: '', group: 'Security', help: 'Certificate shown to other members, PEM.' },
  { flag: 'peer-key-file', kind: 'path', fallback: '', group: 'Security', help: 'The key of that certificate, PEM.' },
  {
    flag: 'peer-trusted-ca-file', kind: 'path', fallback: '', group: 'Security',
    help: 'Whose certificates of other members are believed, PEM.',
  },
  {
    flag: 'peer-client-cert-auth', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'Members must show a certificate of that authority to be listened to.',
  },
  {
    flag: 'peer-crl-file', kind: 'path', fallback: '', group: 'Security',
    help: 'Which certificates of members that authority has revoked, PEM or DER.',
  },
  {
    flag: 'peer-cert-allowed-cn', kind: 'words', fallback: '', group: 'Security',
    help: 'CommonNames of which the certificate of a member must have one.',
  },
  {
    flag: 'peer-cert-allowed-hostname', kind: 'words', fallback: '', group: 'Security',
    help: 'Host names of which the certificate of a member must be valid for one.',
  },
  {
    flag: 'peer-client-cert-file', kind: 'path', fallback: '', group: 'Security',
    help: 'Certificate shown where this member dials others; default: that of --peer-cert-file.',
  },
  {
    flag: 'peer-client-key-file', kind: 'path', fallback: '', group: 'Security', help: 'The key of that certificate, PEM.',
  },
  {
    flag: 'peer-auto-tls', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'TLS between members with certificates that vouch for themselves: nobody reads along, and nobody is known.',
  },
  {
    flag: 'experimental-peer-skip-client-san-verification', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'Take certificates of members from other addresses than those they name.',
  },
  { flag: 'cert-file', kind: 'path', fallback: '', group: 'Security', help: 'Certificate shown to clients, PEM. For https.' },
  { flag: 'key-file', kind: 'path', fallback: '', group: 'Security', help: 'The key of that certificate, PEM.' },
  {
    flag: 'trusted-ca-file', kind: 'path', fallback: '', group: 'Security',
    help: 'Whose certificates of clients are believed, PEM; then every client must show one.',
  },
  {
    flag: 'client-cert-auth', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'Clients must show a certificate of that authority; its CommonName is the user of a gRPC call without a token.',
  },
  {
    flag: 'client-crl-file', kind: 'path', fallback: '', group: 'Security',
    help: 'Which certificates of clients that authority has revoked, PEM or DER.',
  },
  {
    flag: 'client-cert-allowed-hostname', kind: 'words', fallback: '', group: 'Security',
    help: 'Host names of which the certificate of a client must be valid for one.',
  },
  {
    flag: 'client-cert-file', kind: 'path', fallback: '', group: 'Security',
    help: 'What etcd\'s gateway shows to its own server. Ours is within it: taken, and without effect.',
  },
  { flag: 'client-key-file', kind: 'path', fallback: '', group: 'Security', help: 'The key of that certificate; the same.' },
  {
    flag: 'auto-tls', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'TLS for clients with a certificate that vouches for itself: nobody reads along, and nobody is known.',
  },
  {
    flag: 'self-signed-cert-validity', kind: 'integer', fallback: '1', min: 1, max: 10, unit: 'years', group: 'Security',
    help: 'How long such a certificate is valid.',
  },
  {
    flag: 'cipher-suites', kind: 'words', fallback: '', group: 'Security',
    help: 'Of TLS 1.2, by the names of the standard. Default: those with forward secrecy and authenticated encryption.',
  },
  {
    flag: 'tls-min-version', kind: 'choice', fallback: 'TLS1.2', choices: ['TLS1.2', 'TLS1.3'], group: 'Security',
    help: 'The least version of TLS, to clients and members.',
  },
  {
    flag: 'tls-max-version', kind: 'choice', fallback: '', choices: ['TLS1.2', 'TLS1.3'], group: 'Security',
    help: 'The greatest version of TLS; default: the newest there is.',
  },
  {
    flag: 'sweep-expired-certificates', kind: 'boolean', fallback: 'false', group: 'Security',
    help: 'Hang up on who is connected when his certificate expires, not only when he comes again. Ours, not etcd\'s.',
  },
];

const AUTH: readonly Option[] = [
  {
    flag: 'auth-token', kind: 'word', fallback: 'simple', group: 'Security',
    help: 'Tokens of users: simple, or jwt,pub-key=FILE,priv-key=FILE,sign-method=RS256,ttl=5m.',
  },
  {
    flag: 'auth-token-ttl', kind: 'integer', fallback: '300', min: 1, max: 31_536_000, unit: 'seconds', group: 'Security',
    help: 'Seconds for which a simple token is good unused.',
  },
  {
    flag: 'bcrypt-cost', kind: 'integer', fallback: '10', min: 4, max: 31, unit: 'steps', group: 'Security',
    help: 'How much work a password is, each step twice the one before; others are brought to it as their users log in.',
  },
];

const LIMITS: readonly Option[] = [
  {
    flag: 'max-txn-ops', kind: 'integer', fallback: '128', min: 1, max: 100_000, unit: 'operations', group: 'Limits',
    help: 'Operations in one branch of a transaction.',
  },
  {
    flag: 'max-request-bytes', kind: 'integer', fallback: '1572864', min: 1024, max: 64 * 1024 * 1024, unit: 'bytes',
    group: 'Limits', help: 'Size of one request.',
  },
  {
    flag: 'watch-progress-notify-interval', kind: 'duration', fallback: '10m', min: 100, max: 86_400_000, group: 'Limits',
    help: 'A quiet watch that asked for progress hears after this long.',
  },
  {
    flag: 'max-concurrent-streams', kind: 'integer', fallback: '4294967295', min: 1, max: 4_294_967_295, unit: 'streams',
    group: 'Limits', help: 'gRPC calls open at once on one connection; 100,000 at most, whatever is said.',
  },
  {
    flag: 'grpc-server', kind: 'choice', fallback: 'own', choices: ['own', 'grpc-js'], group: 'Limits',
    help: 'What serves gRPC: our own HTTP/2, or the library, several times slower, to tell a fault of one from one of the other.',
  },
  {
    flag: 'grpc-keepalive-interval', kind: 'duration', fallback: '2h', min: 1000, max: 86_400_000, group: 'Limits',
    help: 'A silent gRPC connection is pinged this often.',
  },
  {
    flag: 'grpc-keepalive-timeout', kind: 'duration', fallback: '20s', min: 100, max: 3_600_000, group: 'Limits',
    help: 'And closed when no answer comes for this long.',
  },
  {
    flag: 'grpc-keepalive-min-time', kind: 'duration', fallback: '5s', min: 0, max: 86_400_000, group: 'Limits',
    help: 'Who pings more often, the fourth time in a row, is sent away; 0: five minutes, as gRPC has it.',
  },
  {
    flag: 'grpc-max-connection-idle', kind: 'duration', fallback: '0s', min: 0, max: 2_000_000_000, group: 'Limits',
    help: 'A gRPC connection without calls for this long is ended, within twice that. 0: never. Ours, not etcd\'s.',
  },
  {
    flag: 'grpc-max-connection-age', kind: 'duration', fallback: '0s', min: 0, max: 2_000_000_000, group: 'Limits',
    help: 'One this old, a tenth more or less, begins no more calls, so that callers spread anew. 0: never. Ours, not etcd\'s.',
  },
  {
    flag: 'grpc-max-connection-age-grace', kind: 'duration', fallback: '0s', min: 0, max: 2_000_000_000, group: 'Limits',
    help: 'Calls that are open on it then are cut off after this long. 0: they may take as long as they like. Ours, not etcd\'s.',
  },
  {
    flag: 'quota-backend-bytes', kind: 'integer', fallback: '0', min: -(2 ** 53 - 1), max: 2 ** 53 - 1, unit: 'bytes',
    group: 'Limits', help: 'Memory the data may take before writes are refused; 0: 2 GiB, negative: no bound.',
  },
  {
    flag: 'auto-compaction-mode', kind: 'word', fallback: 'periodic', group: 'Limits',
    help: 'What --auto-compaction-retention counts: periodic (time) or revision.',
  },
  {
    flag: 'auto-compaction-retention', kind: 'word', fallback: '0', group: 'Limits',
    help: 'How much history is kept: hours, a duration such as 30m, or a number of revisions. 0: all.',
  },
  {
    flag: 'corrupt-check-time', kind: 'duration', fallback: '0s', min: 0, max: 2_000_000_000, group: 'Limits',
    help: 'How often the leader compares the data of all members. 0: never.',
  },
  {
    flag: 'compact-hash-check-time', kind: 'duration', fallback: '1m', min: 1000, max: 2_000_000_000, group: 'Limits',
    help: 'How often it compares what a compaction has left, if CompactHashCheck is on.',
  },
  {
    flag: 'experimental-compact-hash-check-enabled', kind: 'boolean', fallback: 'false', group: 'Limits',
    help: 'The same as --feature-gates CompactHashCheck=true.',
  },
  {
    flag: 'experimental-initial-corrupt-check', kind: 'boolean', fallback: 'false', group: 'Limits',
    help: 'Compare the data with the other members\' before serving; InitialCorruptCheck in --feature-gates.',
  },
  {
    flag: 'feature-gates', kind: 'word', fallback: '', group: 'Limits',
    help: 'etcd\'s switches, such as InitialCorruptCheck=true,CompactHashCheck=true.',
  },
  {
    flag: 'shutdown-grace', kind: 'duration', fallback: '5s', min: 0, max: 9_000, group: 'Limits',
    help: 'How long requests under way may take to finish after SIGTERM. Ours, not etcd\'s.',
  },
];

const LOGGING: readonly Option[] = [
  {
    flag: 'log-level', kind: 'choice', fallback: 'info', choices: ['debug', 'info', 'warn', 'error', 'panic', 'fatal'],
    group: 'Logging', help: 'The least important line that is written.',
  },
  {
    flag: 'debug', kind: 'boolean', fallback: 'false', group: 'Logging',
    help: 'As --log-level debug, where that does not say otherwise.',
  },
  {
    flag: 'log-format', kind: 'choice', fallback: 'auto', choices: ['auto', 'json', 'console'], group: 'Logging',
    help: 'auto is console on a terminal, else json.',
  },
  {
    flag: 'log-outputs', kind: 'words', fallback: 'default', group: 'Logging',
    help: 'Where lines go: default (stderr), stderr, stdout or files, several with commas.',
  },
  {
    flag: 'logger', kind: 'choice', fallback: 'zap', choices: ['zap', 'capnslog'], group: 'Logging',
    help: 'etcd\'s choice of a logger: taken, and without effect.',
  },
];

const COMMAND: readonly Option[] = [
  {
    flag: 'config-file', kind: 'path', fallback: '', group: 'Command',
    help: 'YAML with these names as keys. Flags and environment still count, and win.',
  },
  {
    flag: 'print-config', kind: 'boolean', fallback: 'false', group: 'Command', flagOnly: true,
    help: 'Print what would be used, and where each value comes from; start nothing.',
  },
  { flag: 'json', kind: 'boolean', fallback: 'false', group: 'Command', flagOnly: true, help: 'With --print-config: as JSON.' },
];

export const OPTIONS: readonly Option[] = [...MEMBER, ...CLUSTERING, ...SECURITY, ...AUTH, ...LIMITS, ...LOGGING, ...COMMAND];

/** Other names for the same thing, by release. */
export const ALIASES: Readonly<Record<string, string>> = {
  'log-output': 'log-outputs',
  'experimental-watch-progress-notify-interval': 'watch-progress-notify-interval',
  'experimental-corrupt-check-time': 'corrupt-check-time',
  'experimental-compact-hash-check-time': 'compact-hash-check-time',
};

export interface Unavailable {
  readonly flag: string;
  /** Values under which etcd does what we do anyway; these are accepted. Any other value is refused. */
  readonly harmless: readonly string[];
  /** True when the flag takes no value by itself. */
  readonly boolean: boolean;
  readonly lacks: string;
}

const DISCOVERY = 'discovery by another cluster (use --discovery-srv or --initial-cluster)';

function off(lacks: string, ...flags: readonly string[]): Unavailable[] {
  return flags.map((flag) => ({ flag, harmless: ['false'], boolean: true, lacks }));
}

function set(lacks: string, harmless: readonly string[], ...flags: readonly string[]): Unavailable[] {
  return flags.map((flag) => ({ flag, harmless, boolean: false, lacks }));
}

/** What etcd has and we do not, yet or ever. */
export const UNAVAILABLE: readonly Unavailable[] = [
  ...set(DISCOVERY, [''], 'discovery', 'discovery-proxy', 'discovery-token', 'discovery-endpoints'),
  ...set(DISCOVERY, ['proxy', 'exit'], 'discovery-fallback'),
  ...set('more than one learner at a time', ['1'], 'max-learners'),
  ...set('the proxy of the v2 API', ['off'], 'proxy'),
  ...off('running without a durable log', 'unsafe-no-fsync'),
  ...set('a directory for the log alone (put --data-dir on the fast disk)', [''], 'wal-dir'),
  ...off('the v2 API', 'enable-v2'),
  ...set('the v2 API', [''], 'experimental-enable-v2v3'),
  ...off('sharing a port between processes', 'socket-reuse-port'),
  ...off('log rotation (rotate from outside)', 'enable-log-rotation'),
];

/** Flags whose every value leaves us doing what we do: they tune machinery of etcd that we do not have. */
export const WITHOUT_EFFECT: readonly string[] = [
  'initial-election-tick-advance', 'max-snapshots', 'max-wals',
  'backend-batch-interval', 'backend-batch-limit', 'backend-bbolt-freelist-type', 'experimental-backend-bbolt-freelist-type',
  'experimental-compaction-batch-limit', 'experimental-warning-apply-duration', 'warning-apply-duration', 'log-package-levels',
  'snapshot-catchup-entries', 'experimental-memory-mlock', 'v2-deprecation',
  'proxy-dial-timeout', 'proxy-failure-wait', 'proxy-read-timeout', 'proxy-refresh-interval', 'proxy-write-timeout',
  // etcd itself has taken these without effect since its second version.
  'cluster-active-size', 'cluster-remove-delay', 'cluster-sync-interval', 'max-result-buffer', 'max-retry-attempts',
  'peer-heartbeat-interval', 'peer-election-timeout', 'retry-interval', 'raft-read-timeout', 'raft-write-timeout',
];
const WITHOUT_EFFECT_SWITCHES: readonly string[] = [
  'initial-election-tick-advance', 'experimental-memory-mlock',
];

/** Switches that stand on here whatever is said; to turn one off is answered with the reason, in the log. */
export const ALWAYS_ON: Readonly<Record<string, string>> = {
  'socket-reuse-address': 'Node asks for it whenever it listens',
  'pre-vote': 'a member that was cut off must not disturb the others when it comes back',
  'experimental-enable-lease-checkpoint': 'a change of leader must not start long leases over',
  'experimental-enable-lease-checkpoint-persist': 'nor must a restart',
};

/** `--flag` alone means `--flag=true`. */
export function isSwitch(flag: string): boolean {
  return (
    OPTIONS.some((option) => option.flag === flag && option.kind === 'boolean') ||
    UNAVAILABLE.some((row) => row.flag === flag && row.boolean) ||
    WITHOUT_EFFECT_SWITCHES.includes(flag) ||
    Object.hasOwn(ALWAYS_ON, flag)
  );
}

export function environmentName(prefix: 'ETCD' | 'COTERIE', flag: string): string {
  return `${prefix}_${flag.toUpperCase().replaceAll('-', '_')}`;
}
