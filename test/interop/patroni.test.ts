// Patroni, which keeps PostgreSQL's leader in etcd, asks over the JSON gateway and reads answers by exact words (contract 17).
// Its requests, in its order: who is there, a name with a token, a leader by a key on a lease, and what it hears of errors.

import test from 'ava';
import { startPair, type Pair, type Side } from './pair.js';
import { isInstalled } from './real-etcd.js';

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) return;
  pair = await startPair({ flags: ['--bcrypt-cost=4'], node: { auth: { bcryptCost: 4 } } });
});
test.after.always('both end', async () => pair?.close());

interface Request {
  readonly path: string;
  readonly body: unknown;
  /** By whose token; `$token` and the like in the body are what answers gave before. */
  readonly by?: string;
  /** A field of the answer to keep, and the name to keep it by. */
  readonly keep?: readonly [field: string, name: string];
  /** The answer goes on: so many lines are read. */
  readonly lines?: number;
  /** Patroni reads this out of the answer; both must say it. */
  readonly says: RegExp;
}

const b64 = (text: string): string => Buffer.from(text).toString('base64');
const LEADER = b64('/service/batman/leader');
const ALL = { key: b64('/service/batman/'), range_end: b64('/service/batman0') };
const created = (revision: string): unknown => ({ key: LEADER, result: 'EQUAL', target: 'CREATE', create_revision: revision });
const put = (value: string, lease: string): unknown => ({ request_put: { key: LEADER, value: b64(value), lease } });

const REQUESTS: readonly Request[] = [
  { path: 'cluster/member/list', body: {}, says: /"clientURLs":\["http/ },
  // Without auth, it asks for a token when it is given a name, and takes this for `no token needed`.
  { path: 'auth/authenticate', body: { name: 'patroni', password: 'x' }, says: /"code":9/ },
  { path: 'auth/user/add', body: { name: 'root', password: 'r' }, says: /header/ },
  { path: 'auth/user/add', body: { name: 'patroni', password: 'secret' }, says: /header/ },
  { path: 'auth/role/add', body: { name: 'root' }, says: /header/ },
  { path: 'auth/role/add', body: { name: 'batman' }, says: /header/ },
  { path: 'auth/role/grant', body: { name: 'batman', perm: { permType: 'READWRITE', ...ALL } }, says: /header/ },
  { path: 'auth/user/grant', body: { user: 'root', role: 'root' }, says: /header/ },
  { path: 'auth/user/grant', body: { user: 'patroni', role: 'batman' }, says: /header/ },
  { path: 'auth/enable', body: {}, says: /header/ },
  { path: 'kv/range', body: ALL, says: /"error":"etcdserver: user name is empty","message":.*"code":3/ },
  { path: 'kv/range', body: ALL, by: 'nonsense', says: /"error":"etcdserver: invalid auth token","message":.*"code":16/ },
  { path: 'auth/authenticate', body: { name: 'patroni', password: 'x' }, says: /failed, invalid user ID or password/ },
  { path: 'auth/authenticate', body: { name: 'patroni', password: 'secret' }, keep: ['token', 'token'], says: /"token":/ },
  { path: 'auth/authenticate', body: { name: 'root', password: 'r' }, keep: ['token', 'root'], says: /"token":/ },
  { path: 'cluster/member/list', body: {}, by: '$token', says: /"clientURLs"/ },
  { path: 'kv/range', body: ALL, by: '$token', says: /header/ },
  { path: 'kv/range', body: { ...ALL, key: b64('/s') }, by: '$token', says: /"error":"etcdserver: permission denied".*"code":7/ },
  { path: 'lease/grant', body: { TTL: 30 }, by: '$token', keep: ['ID', 'lease'], says: /"TTL":"30"/ },
  {
    path: 'kv/txn', by: '$token', says: /"succeeded":true/,
    body: { compare: [created('0')], success: [put('pg1', '$lease')], failure: [] },
  },
  {
    path: 'kv/txn', by: '$token', says: /^(?!.*succeeded)/,
    body: { compare: [created('0')], success: [put('pg2', '$lease')], failure: [{ request_range: { key: LEADER } }] },
  },
  { path: 'kv/range', body: ALL, by: '$token', keep: ['kvs.0.mod_revision', 'revision'], says: /"lease":"/ },
  { path: 'lease/keepalive', body: { ID: '$lease' }, by: '$token', says: /"result":\{.*"TTL":"30"/ },
  { path: 'lease/keepalive', body: { ID: '12345' }, by: '$token', says: /^\{"result":\{(?!.*TTL)/ },
  { path: 'kv/put', body: { key: LEADER, lease: '12345' }, by: '$token', says: /requested lease not found.*"code":5/ },
  {
    path: 'watch', by: '$token', lines: 2, says: /"events":\[/,
    body: { create_request: { ...ALL, start_revision: '$revision', prev_kv: true } },
  },
  {
    path: 'watch', by: '$token', lines: 1, says: /"canceled":true/,
    body: { create_request: { key: b64('/other'), start_revision: '1' } },
  },
  {
    path: 'kv/txn', by: '$token', says: /"succeeded":true/,
    body: {
      compare: [{ key: LEADER, result: 'EQUAL', target: 'MOD', mod_revision: '$revision' }],
      success: [{ request_delete_range: { key: LEADER } }],
    },
  },
  { path: 'kv/deleterange', body: ALL, by: '$token', says: /header/ },
  { path: 'lease/revoke', body: { ID: '$lease' }, by: '$token', says: /header/ },
  { path: 'lease/revoke', body: { ID: '$lease' }, by: '$token', says: /requested lease not found/ },
  { path: 'auth/role/grant', body: { name: 'batman', perm: { permType: 'READ', key: b64('x') } }, by: '$root', says: /header/ },
  { path: 'kv/range', body: ALL, by: '$token', says: /header/ },
  { path: 'auth/disable', body: {}, by: '$root', says: /header/ },
  { path: 'kv/range', body: ALL, says: /header/ },
];

interface Answer {
  readonly status: number;
  readonly body: string;
}

async function ask(side: Side, one: Request, kept: Map<string, string>): Promise<Answer> {
  const fill = (text: string): string => text.replace(/\$(\w+)/g, (all, name: string) => kept.get(name) ?? all);
  const headers = one.by === undefined ? {} : { authorization: fill(one.by) };
  const stop = new AbortController();
  const response = await fetch(`${side.url}/v3/${one.path}`, {
    method: 'POST', headers, body: fill(JSON.stringify(one.body)),
    signal: AbortSignal.any([stop.signal, AbortSignal.timeout(20_000)]),
  });
  let body = '';
  const text = response.body?.pipeThrough(new TextDecoderStream()) ?? [];
  for await (const chunk of text) {
    body += chunk;
    if (one.lines !== undefined && body.split('\n').length > one.lines) break;
  }
  stop.abort();
  if (one.keep !== undefined) {
    const [field, name] = one.keep;
    const steps = field.split('.');
    const value = steps.reduce<unknown>((at, step) => (at as Record<string, unknown> | undefined)?.[step], JSON.parse(body));
    kept.set(name, String(value));
  }
  return { status: response.status, body };
}

/** A lease and a token are drawn by chance. */
function masked({ status, body }: Answer, kept: ReadonlyMap<string, string>): Answer {
  let text = body;
  for (const name of ['lease', 'token', 'root']) {
    const value = kept.get(name);
    if (value !== undefined) text = text.replaceAll(value, `<${name}>`);
  }
  return { status, body: text };
}

test('what Patroni asks over the gateway is answered as etcd answers it', async (t) => {
  if (pair === null) return void t.pass();
  const [etcd, coterie] = pair.sides;
  const kept = { etcd: new Map<string, string>(), coterie: new Map<string, string>() };
  for (const one of REQUESTS) {
    const [expected, actual] = await Promise.all([ask(etcd, one, kept.etcd), ask(coterie, one, kept.coterie)]);
    const asked = `${one.path} ${JSON.stringify(one.body)}`;
    t.regex(expected.body, one.says, asked);
    t.deepEqual(masked(actual, kept.coterie), masked(expected, kept.etcd), asked);
  }
});

test('the version that Patroni chooses its way by is made of numbers', async (t) => {
  if (pair === null) return void t.pass();
  const told = await Promise.all(pair.sides.map(async ({ url }) => (await fetch(`${url}/version`)).json()));
  t.deepEqual(told[1], told[0]);
  const { etcdserver, etcdcluster } = told[1] as { etcdserver: string; etcdcluster: string };
  for (const version of [etcdserver, etcdcluster]) t.regex(version, /^\d+\.\d+\.\d+$/);
});
