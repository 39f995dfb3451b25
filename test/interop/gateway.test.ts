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
  const actual = masked(await ask(coterie, one));
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
