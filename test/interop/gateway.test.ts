// The JSON gateway answers as etcd's does: status, body and the headers that matter, for good requests, bad ones and
// streams. Etcd is asked first, coterie second, and the ids agree because both are bootstrapped alike.

import { request as httpRequest } from 'node:http';
import test, { type ExecutionContext } from 'ava';
import { startPair, type Pair, type Side } from './pair.js';
import { isInstalled } from './real-etcd.js';

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  if (isInstalled('etcd', (line) => t.log(line))) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: string;
}

interface Ask {
  readonly path: string;
  readonly body?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** The answer stays open: it is cut off after so many lines. */
  readonly lines?: number;
}

const HEADERS = [
  'content-type',
  'access-control-allow-origin',
  'access-control-allow-methods',
  'access-control-allow-headers',
  'grpc-metadata-content-type',
  'x-content-type-options',
  'allow',
  'x-powered-by',
  'etag',
];

/** Not `fetch`: it adds headers of its own, and a stream must be cut off at a line. */
function ask(side: Side, { path, body, method = 'POST', headers = {}, lines }: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(new URL(path, side.url), { method, headers, agent: false }, (response) => {
      let text = '';
      const done = (): void => {
        const kept = Object.fromEntries(HEADERS.map((name) => [name, response.headers[name]?.toString()]));
        resolve({ status: response.statusCode ?? 0, headers: kept, body: text });
        request.destroy();
      };
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (lines !== undefined && text.split('\n').length > lines) done();
      });
      response.on('end', done);
      response.on('error', reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** etcd closes at once on what it cannot parse, which may reach us as a reset in place of its answer: then it is asked again. */
async function askAgain(etcd: Side, one: Ask): Promise<Answer> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask(etcd, one);
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ECONNRESET') || tries === 20) throw error;
    }
  }
}

/** What may differ: sizes and positions, seconds left, and which of etcd's two ways to end a line of text was taken. */
function masked({ status, headers, body }: Answer): Answer {
  const text = body
    .replace(/"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex)":"\d+"/g, '"$1":"<n>"')
    .replace(/"TTL":"\d+","grantedTTL"/g, '"TTL":"<seconds>","grantedTTL"');
  return { status, headers, body: text };
}

function same(title: string, asks: readonly Ask[]): void {
  test.serial(title, async (t) => {
    if (pair === null) {
      t.pass();
      return;
    }
    for (const one of asks) await compare(t, pair, one);
  });
}

async function compare(t: ExecutionContext, { sides: [etcd, coterie] }: Pair, one: Ask): Promise<void> {
  const expected = masked(await askAgain(etcd, one));
  const answer = masked(await ask(coterie, one));
  const actual = one.path.endsWith('/alarm') ? headless(answer) : answer;
  t.deepEqual(actual, expected, `${one.method ?? 'POST'} ${one.path} ${one.body ?? ''}`);
}

function b64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function post(path: string, body: unknown, more: Partial<Ask> = {}): Ask {
  return { path: `/v3/${path}`, body: typeof body === 'string' ? body : JSON.stringify(body), ...more };
}

const a = b64('a');

same('key-value calls answer the same', [
  post('kv/put', { key: a, value: b64('1') }),
  post('kv/put', { key: a, value: b64('2'), prev_kv: true }),
  post('kv/put', { key: a, value: b64('3'), prevKv: true }),
  post('kv/put', { key: b64('b'), value: '' }),
  post('kv/range', { key: a }),
  post('kv/range', { key: a, range_end: 'AA==', limit: '1' }),
  post('kv/range', { key: a, rangeEnd: 'AA==', sortOrder: 'DESCEND', sort_target: 'MOD', keysOnly: true }),
  post('kv/range', { key: a, range_end: 'AA==', sort_order: 2, countOnly: true }),
  post('kv/range', { key: a, revision: '2', serializable: true }),
  post('kv/range', { key: b64('none') }),
  post('kv/range', '{"limit":"0x1","key":"YQ=="}'),
  post('kv/range', '{"limit":"1 2","key":"YQ=="}'),
  post('kv/range', '{"limit":" 1 ","key":"YQ=="}'),
  post('kv/%72ange', { key: a }),
  post('kv/range', { key: a, limit: '-3', unknown: { deep: [1, 'x', null] } }),
  post('kv/txn', {
    compare: [{ key: a, target: 'VALUE', value: b64('3') }],
    success: [{ request_put: { key: a, value: b64('4') } }, { requestRange: { key: a } }],
    failure: [{ request_delete_range: { key: a } }],
  }),
  post('kv/txn', {
    compare: [{ key: a, target: 'CREATE', result: 'GREATER', createRevision: '1000' }],
    failure: [{ requestDeleteRange: { key: a, prevKv: true } }, { requestTxn: { success: [{ requestRange: { key: a } }] } }],
  }),
  post('kv/txn', {}),
  post('kv/deleterange', { key: b64('b'), prev_kv: true }),
  post('kv/deleterange', { key: b64('b') }),
  { path: '/v3beta/kv/put', body: JSON.stringify({ key: a, value: a }) },
]);

same('lease calls answer the same, at both of their paths', [
  post('lease/grant', { TTL: 100, ID: '7587862094562343521' }),
  post('lease/grant', '{"TTL":"100","ID":7587862094562343522}'),
  post('lease/grant', '{"TTL":"100","ID":7587862094562343522}'),
  post('kv/put', '{"key":"bA==","value":"bA==","lease":7587862094562343521}'),
  post('kv/range', { key: b64('l') }),
  post('lease/timetolive', { ID: '7587862094562343521', keys: true }),
  post('kv/lease/timetolive', { ID: 1 }),
  post('lease/leases', {}),
  post('kv/lease/leases', ''),
  post('lease/revoke', { ID: '7587862094562343521' }),
  post('kv/lease/revoke', { ID: '7587862094562343522' }),
  post('lease/revoke', { ID: 99 }),
  post('lease/grant', { TTL: '9000000001' }),
]);

same('cluster and maintenance answer the same', [
  post('cluster/member/list', {}),
  post('maintenance/status', {}),
  post('cluster/member/remove', { ID: '5' }),
  post('cluster/member/update', { ID: 5, peerURLs: ['http://127.0.0.1:9'] }),
  post('cluster/member/promote', { ID: '5' }),
  post('cluster/member/add', { peerURLs: ['nonsense'] }),
  post('cluster/member/add', ''),
  post('cluster/member/add', { peerURLs: 'x' }),
  post('maintenance/transfer-leadership', { targetID: '5' }),
]);

same('bad requests are refused in the same words', [
  ...['{"key":"YQ"}', '{"key":"YQ=-"}', '{"key":"YQ=="', '{"key":', '{', '', 'null', '[]', '"x"', '5'],
  ...['xyz', 'tru', '{} rest'],
  ...['{"key":5}', '{"key":null}', '{"key":true}', '{"key":["YQ=="]}', '{"key":[97]}', '{"key":[300]}'],
  ...['{"key":"Y Q=="}', '{"key":"YQ==YQ=="}', '{"key":"_-8="}'],
  ...['{"limit":"x"}', '{"limit":1.5}', '{"limit":""}', '{"limit":true}', '{"limit":{}}', '{"limit":9223372036854775808}'],
  ...['{"sort_order":"bogus"}', '{"sort_order":true}', '{"sort_target":"bogus"}', '{"serializable":"yes"}', '{"serializable":1}'],
  ...['{a:1}', '{"a" 1}', '{"a":1 "b":2}', '{"a":[1 2]}', '{"key":"a\u0001b"}', '{"key":"\\x"}', '{"limit":01}', '{"limit":-}'],
].map((body) => post('kv/range', body)));

same('nested mistakes are found too', [
  post('kv/txn', { success: [{}] }),
  post('kv/txn', { success: {} }),
  post('kv/txn', { success: ['x'] }),
  post('kv/txn', { compare: [{ key: a, target: 'NOPE' }] }),
  post('kv/txn', { compare: [{ target: 'VALUE' }] }),
  post('kv/txn', { success: [{ requestPut: { key: a } }, { requestPut: { key: a } }] }),
  post('kv/put', { value: a }),
  post('kv/put', { key: a, ignore_value: true, value: a }),
  post('kv/range', { key: a, revision: '1000' }),
  post('kv/compaction', { revision: '1000' }),
]);

same('paths and methods that are not served are refused the same', [
  post('nope', {}),
  post('kv/range/', {}),
  post('kv', {}),
  { path: '/v3alpha/kv/range', body: '{}' },
  { path: '/nope', body: '{}' },
  { path: '/', method: 'GET' },
  { path: '/v3/kv/range', method: 'GET' },
  { path: '/v3/kv/range', method: 'PUT', body: '{}' },
  { path: '/v3/kv/range', method: 'DELETE' },
  { path: '/v3/kv/range', method: 'OPTIONS' },
  { path: '/version', method: 'GET' },
  { path: '/version', method: 'POST' },
  { path: '/version', method: 'HEAD' },
  { path: '/health', method: 'HEAD' },
  { path: '/v3/%', body: '{}' },
  { path: '/health', method: 'GET' },
  { path: '/health', method: 'POST' },
]);

same('streams answer line by line', [
  post('watch', { create_request: { key: a, start_revision: '2' } }, { lines: 2 }),
  post('watch', '{"create_request":{"key":"YQ=="}}{"create_request":{"key":"Yg==","watch_id":"7"}}', { lines: 2 }),
  post('watch', '{"create_request":{"key":"YQ=="}} {"progress_request":{}}', { lines: 2 }),
  post('watch', '{"create_request":{"key":"Yg==","range_end":"YQ=="}}', { lines: 1 }),
  post('watch', '{"create_request":{"key":"YQ==","watch_id":5}}{"create_request":{"key":"YQ==","watch_id":5}}', { lines: 2 }),
  post('watch', '{"create_request":{"key":"YQ=="}}{"cancel_request":{"watch_id":0}}', { lines: 2 }),
  post('watch', 'zzz'),
  post('watch', '{"create_request":{"key":"YQ"}}'),
  post('watch', '{"create_request":5}'),
  post('lease/grant', { TTL: 100, ID: 77 }),
  post('lease/keepalive', '{"ID":77}{"ID":"78"}\n {"ID":77}'),
  post('lease/keepalive', 'x'),
  post('kv/compaction', { revision: '4', physical: true }),
  post('watch', { create_request: { key: a, start_revision: '2' } }, { lines: 2 }),
]);

/** Later releases, and coterie, send a header with alarms (DIFFERENCES.md). */
function headless(answer: Answer): Answer {
  return { ...answer, body: answer.body.replace(/^\{"header":\{[^}]*\},?/, '{') };
}

same('alarms and memory answer the same', [
  post('maintenance/alarm', {}),
  post('maintenance/alarm', { action: 'GET', memberID: '5', alarm: 'NOSPACE' }),
  post('maintenance/alarm', { action: 'ACTIVATE', memberID: '5', alarm: 'CORRUPT' }),
  post('maintenance/alarm', {}),
  post('kv/put', { key: a, value: a }),
  post('maintenance/alarm', { action: 'DEACTIVATE', memberID: '5', alarm: 'CORRUPT' }),
  post('maintenance/alarm', { action: 'DEACTIVATE', memberID: '5', alarm: 'CORRUPT' }),
  post('maintenance/alarm', { action: 'bogus' }),
  post('maintenance/alarm', { alarm: 1 }),
  post('maintenance/defragment', {}),
  post('maintenance/defragment', 'x'),
  post('maintenance/snapshot', 'x'),
  { path: '/v3beta/maintenance/alarm', body: '{}' },
  { path: '/v3alpha/maintenance/alarm', body: '{}' },
]);

same('locks answer the same', [
  post('lease/grant', { TTL: 100, ID: '4097' }),
  post('lock/lock', { name: b64('l'), lease: '4097' }),
  post('lock/lock', { name: b64('l'), lease: 4097 }),
  post('lock/lock', { name: b64('l'), lease: '99' }),
  post('lock/lock', { name: 5 }),
  post('lock/unlock', { key: b64('l/1001') }),
  post('lock/unlock', {}),
  post('lock/trylock', {}),
  { path: '/v3/lock/lock', method: 'GET' },
  { path: '/v3beta/lock/unlock', body: JSON.stringify({ key: b64('l/1001') }) },
]);

same('elections answer the same', [
  post('election/leader', { name: b64('e') }),
  post('election/campaign', { name: b64('e'), lease: '4097', value: b64('one') }),
  post('election/leader', { name: b64('e') }),
  post('election/observe', { name: b64('e') }, { lines: 1 }),
  post('election/proclaim', {}),
  post('election/proclaim', { leader: { name: b64('e'), key: b64('e/1001'), rev: '1', lease: '4097' }, value: b64('x') }),
  post('election/resign', { leader: { name: b64('e'), key: b64('e/1001'), rev: '1' } }),
  post('election/resign', {}),
  post('election/observe', 'x'),
  post('election/campaign', { name: b64('e'), lease: '99' }),
  post('election/nope', {}),
  { path: '/v3beta/election/leader', body: JSON.stringify({ name: b64('e') }) },
  post('lease/revoke', { ID: '4097' }),
]);

same('metadata of HTTP reaches a call, and unknown headers do not matter', [
  post('kv/range', { key: a }, { headers: { 'Grpc-Metadata-hasleader': 'true' } }),
  post('kv/range', { key: a }, { headers: { 'Grpc-Metadata-Strange': 'x', 'Content-Type': 'text/plain' } }),
  post('kv/range', { key: a }, { headers: { 'X-HTTP-Method-Override': 'GET' } }),
  post('kv/range?key=Yg==', { key: a }),
  post('kv/range?', { key: a }),
]);

/** Auth is switched on and off again within these, so they stand together and last. */
same('users, roles and permissions answer the same, and so does what they refuse', [
  post('auth/enable', {}),
  post('auth/user/add', { name: 'root', password: 'secret' }),
  post('auth/user/add', { name: 'root', password: 'secret' }),
  post('auth/user/add', { password: 'x' }),
  post('auth/user/add', { name: 'none', options: { no_password: true } }),
  post('auth/role/add', { name: 'root' }),
  post('auth/role/add', { name: 'r' }),
  post('auth/role/add', {}),
  post('auth/user/grant', { user: 'root', role: 'root' }),
  post('auth/user/grant', { user: 'none', role: 'r' }),
  post('auth/user/grant', { user: 'none', role: 'nope' }),
  post('auth/role/grant', { name: 'r', perm: { permType: 'READWRITE', key: a, range_end: b64('c') } }),
  post('auth/role/grant', { name: 'r', perm: { permType: 'READ', key: b64('z'), rangeEnd: 'AA==' } }),
  post('auth/role/grant', { name: 'nope', perm: { permType: 'READ', key: a } }),
  post('auth/role/grant', { name: 'r', perm: { permType: 'bogus', key: a } }),
  post('auth/role/get', { role: 'r' }),
  post('auth/role/get', { role: 'nope' }),
  post('auth/role/list', {}),
  post('auth/role/revoke', { role: 'r', key: b64('z'), range_end: 'AA==' }),
  post('auth/role/revoke', { role: 'r', key: b64('z') }),
  post('auth/user/get', { name: 'none' }),
  post('auth/user/get', { name: 'nope' }),
  post('auth/user/list', {}),
  post('auth/user/revoke', { name: 'none', role: 'r' }),
  post('auth/user/revoke', { name: 'none', role: 'r' }),
  post('auth/user/changepw', { name: 'nope', password: 'x' }),
  post('auth/user/delete', { name: 'none' }),
  post('auth/user/delete', { name: 'none' }),
  post('auth/role/delete', { role: 'r' }),
  post('auth/role/delete', { role: 'r' }),
  post('auth/authenticate', { name: 'root', password: 'secret' }),
  post('auth/enable', {}),
  post('kv/range', { key: a }),
  post('kv/range', { key: a }, { headers: { Authorization: 'nonsense' } }),
  post('kv/range', { key: a }, { headers: { 'Grpc-Metadata-Token': 'nonsense' } }),
  post('kv/put', { key: a, value: a }),
  post('watch', { create_request: { key: a } }, { lines: 1 }),
  post('auth/user/list', {}),
  post('auth/disable', {}),
  post('auth/authenticate', { name: 'root', password: 'wrong' }),
  post('auth/authenticate', { name: 'nope', password: 'x' }),
  post('lock/lock', { name: a }),
  post('election/leader', { name: a }),
]);

test.serial('SB10: a token is the same bare, after Bearer, in Grpc-Metadata and beside a token of no worth', async (t) => {
  if (pair === null) {
    t.pass();
    return;
  }
  const [etcd, coterie] = pair.sides;
  const login = post('auth/authenticate', { name: 'root', password: 'secret' });
  for (const side of [etcd, coterie]) {
    const { token } = JSON.parse((await ask(side, login)).body) as { token: string };
    const range = async (headers: Record<string, string>): Promise<number> => {
      return (await ask(side, post('kv/range', { key: a }, { headers }))).status;
    };
    t.is(await range({ Authorization: token }), 200, side.name);
    t.is(await range({ 'Grpc-Metadata-Token': token }), 200, side.name);
    t.is(await range({ 'Grpc-Metadata-Token': token, Authorization: 'nonsense' }), 200, side.name);
    t.is(await range({ 'Grpc-Metadata-Token': 'nonsense', Authorization: token }), 401, side.name);
    // 3.4 refuses the word that later releases take.
    t.is(await range({ Authorization: `Bearer ${token}` }), side === etcd ? 401 : 200, side.name);
    t.is(await range({ Authorization: `Basic ${token}` }), 401, side.name);
    t.is((await ask(side, post('auth/disable', {}, { headers: { Authorization: token } }))).status, 200, side.name);
  }
});
