// get, put, del, txn and compaction against a server in this process: forms of our own, exit codes, bytes that are no text.
// That the rest equals etcdctl's is test/interop/coterie-as-etcdctl.test.ts.

import test from 'ava';
import { startNode } from '../../../core/index.js';
import { play, type Printed, type Stage } from './in-process.js';
import { serve } from '../../serving.js';

let url = '';
let end = (): Promise<void> => Promise.resolve();

test.before('a server starts', async () => {
  const node = await startNode({ name: 't', dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  url = server.urls[0] ?? '';
  end = async () => {
    await server.close();
    await node.close();
  };
});
test.after.always('it ends', () => end());

function coterie(line: string | readonly string[], stage: Stage = {}): Promise<Printed> {
  return play(line, { ...stage, env: { COTERIE_ENDPOINTS: url, ...stage.env } });
}

async function json(line: string, stage?: Stage): Promise<Record<string, unknown>> {
  const { stdout, stderr, code } = await coterie(line, stage);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, unknown>;
}

test.serial('what is put is got, also from standard input and byte for byte', async (t) => {
  t.like(await coterie('put k hello'), { code: 0, stdout: 'OK\n', stderr: '' });
  t.is((await coterie('get k')).stdout, 'k\nhello\n');
  const bytes = Buffer.from([0, 255, 10, 1]);
  await coterie('put bin', { input: bytes });
  t.deepEqual((await coterie('get bin --print-value-only')).bytes, Buffer.concat([bytes, Buffer.from('\n')]));
  t.like(await coterie('put bin'), { code: 2, stdout: '' });
  t.is((await coterie('get bin --hex')).stdout, '\\x62\\x69\\x6e\n\\x00\\xff\\x0a\\x01\n');
});

test.serial('--json is decoded: text where it is text, base64 under another name where not', async (t) => {
  await coterie('put j/text grüße');
  await coterie('put j/bytes', { input: Buffer.from([255]) });
  const { kvs, ...rest } = await json('get j/ --prefix --json');
  t.deepEqual(rest, { revision: rest['revision'], count: 2, more: false });
  t.like(kvs, { 0: { key: 'j/bytes', valueBase64: '/w==', version: 1 }, 1: { key: 'j/text', value: 'grüße', version: 1 } });
  t.like(await json('put j/text now --prev-kv --json'), { prevKv: { value: 'grüße' } });
  t.like(await json('del j/ --prefix --prev-kv --json'), { deleted: 2, prevKvs: { 1: { key: 'j/text', value: 'now' } } });
  const lease = /lease ([0-9a-f]{16})/;
  t.notRegex((await coterie('get k --json')).stdout, lease);
});

test.serial('a key that is not there is no failure, unless it is asked for', async (t) => {
  t.like(await coterie('get nothing'), { code: 0, stdout: '', stderr: '' });
  t.like(await coterie('get nothing --exit-code'), { code: 3, stdout: '', stderr: '' });
  t.like(await coterie('get k --exit-code'), { code: 0, stdout: 'k\nhello\n' });
  t.like(await coterie('get nothing --count-only --exit-code'), { code: 3, stdout: '0\n' });
  t.like(await coterie('del nothing --exit-code'), { code: 3, stdout: '0\n' });
});

test.serial('a count is printed in every form', async (t) => {
  for (const key of ['c1', 'c2', 'c3']) await coterie(`put ${key} x`);
  t.is((await coterie('get c --prefix --count-only')).stdout, '3\n');
  t.like(await json('get c --prefix --count-only --json'), { count: 3, kvs: [] });
  t.regex((await coterie('get c --prefix --count-only -w fields')).stdout, /^"Count" : 3$/m);
});

test.serial('keys are filtered by the revisions at which they were made and changed', async (t) => {
  const at = async (key: string): Promise<number> => Number((await json(`put ${key} x --json`))['revision']);
  const [first, second] = [await at('f1'), await at('f2')];
  await coterie('put f1 again');
  const keys = async (flags: string): Promise<string> => {
    return (await coterie(`get f --prefix --keys-only ${flags}`)).stdout.split('\n').filter((line) => line !== '').join(' ');
  };
  t.is(await keys(`--max-create-rev ${first}`), 'f1');
  t.is(await keys(`--min-create-rev ${second}`), 'f2');
  t.is(await keys(`--min-mod-rev ${second + 1}`), 'f1');
  t.is(await keys(`--max-mod-rev ${second}`), 'f2');
});

test.serial('a transaction tells by its exit code whether its comparisons held, when asked to', async (t) => {
  const input = 'version("x") = "0"\n\nput x 1\n\nget x\n\n';
  t.like(await coterie('txn --exit-code', { input }), { code: 0, stdout: 'SUCCESS\n\nOK\n' });
  t.like(await coterie('txn --exit-code', { input }), { code: 3, stdout: 'FAILURE\n\nx\n1\n' });
  t.like(await coterie('txn', { input }), { code: 0, stdout: 'FAILURE\n\nx\n1\n' });
  t.like(await json('txn --json', { input }), { succeeded: false, responses: { 0: { get: { kvs: { 0: { key: 'x' } } } } } });
  const asked = await coterie('txn -i', { input });
  t.regex(asked.stdout, /^compares:\nsuccess requests \(get, put, del\):\nfailure requests \(get, put, del\):\nFAILURE\n/);
});

const WRONG: readonly (readonly [line: string, says: string])[] = [
  ['get', 'a word is missing\n  usage: coterie get KEY [END]'],
  ['get a b c', 'c: one word too many'],
  ['get a --order up', '--order up: not one of its words\n  give one of ASCEND, DESCEND'],
  ['get a --prefix --from-key', '`--prefix` and `--from-key` cannot be set at the same time'],
  ['get a b --prefix', 'b: an end with --prefix\n  leave out the end, or the flag'],
  ['get a --print-value-only -w json', '--print-value-only is for simple output'],
  ['get a -w table', 'get has no table form\n  give one of simple, json, fields, protobuf'],
  ['get a -w decoded', '--write-out decoded: no such format'],
  ['get a --rev x', '--rev x: not a whole number'],
  ['put k', 'there is no value\n  give one, pipe one in, or say \'\' for an empty one'],
  ['put k v --ignore-value', 'v: a value with --ignore-value'],
  ['put k v --lease xyz', '--lease xyz: not a lease\n  leases are hex'],
  ['put k v --lease ffffffffffffffff', '--lease ffffffffffffffff: not a lease'],
  ['compaction x', 'x: not a revision'],
  ['txn', 'the input ends in block 1 of 3'],
  ['get a --user x', '--user x without a password\n  give --password-file'],
  ['get a --user x:y --password z', 'the password is given more than once'],
  ['get a --password z', 'a password, but nobody whose it is'],
  ['get a --user x --password-file /nonexistent/file', '--password-file /nonexistent/file: ENOENT'],
];

for (const [line, says] of WRONG) {
  test(`refused before anything is asked: coterie ${line}`, async (t) => {
    const { code, stdout, stderr } = await play(line, { env: { COTERIE_ENDPOINTS: '127.0.0.1:1' } });
    t.deepEqual([code === 1 || code === 2, stdout], [true, '']);
    t.true(stderr.includes(says), stderr);
  });
}

test('an answer that says no is said with what to do', async (t) => {
  t.deepEqual(await coterie('get k --rev 100000').then(({ code, stderr }) => [code, stderr]), [
    1, 'coterie get: etcdserver: mvcc: required revision is a future revision\n'
      + '  coterie endpoint status --json shows the newest revision\n',
  ]);
  t.like(await coterie('put none --ignore-value'), { code: 1 });
  const none = await play('get k --endpoints 127.0.0.1:1 --dial-timeout 100ms');
  t.is(none.code, 1);
  t.regex(none.stderr, /^coterie get: unavailable: .*\n {2}say whom to ask with --endpoints/);
});

test('flags of all commands may stand before the command, or between its words', async (t) => {
  t.is((await play(`--endpoints ${url} -w json get k`)).code, 0);
  t.is((await play(`--endpoints=${url} --hex get none`)).code, 0);
  t.regex((await play(`-w table member --endpoints ${url} list`)).stdout, /^\+-+\+/);
  t.like(await play('--endpoints x serve'), { code: 2, stdout: '' });
});

test('a variable counts where a flag says nothing', async (t) => {
  t.regex((await coterie('get k', { env: { ETCDCTL_WRITE_OUT: 'json' } })).stdout, /^\{"header"/);
  t.regex((await coterie('get k -w fields', { env: { ETCDCTL_WRITE_OUT: 'json' } })).stdout, /^"ClusterID"/);
  t.regex((await coterie('get k', { env: { ETCDCTL_WRITE_OUT: 'json', COTERIE_WRITE_OUT: 'fields' } })).stdout, /^"ClusterID"/);
  t.is((await coterie('get k', { env: { COTERIE_HEX: 'true' } })).stdout, '\\x6b\n\\x68\\x65\\x6c\\x6c\\x6f\n');
  // Flags of one command alone are nobody's surroundings.
  t.is((await coterie('get k', { env: { COTERIE_REV: '1', ETCDCTL_REV: '1', COTERIE_LIMIT: 'x' } })).stdout, 'k\nhello\n');
});
