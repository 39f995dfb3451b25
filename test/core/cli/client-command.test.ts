// The commands that talk to a cluster: what they refuse before they ask, what they say when the answer is no,
// and that flags and environment mean the same. What they print when all is well is test/interop/cluster.test.ts.

import test from 'ava';
import type { Admin, Backend } from '../../../core/client.js';
import { ApiError, type ErrorCode } from '../../../core/errors.js';
import { serve } from '../../serving.js';
import { coterie as binary, type Ended, type RunOptions } from './binary.js';
import { play } from './in-process.js';

/** A process of its own only where a command is one by nature: it costs half a second. */
function coterie(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const { env = {} } = options;
  return /^(?:member|endpoint|move-leader|snapshot)$/.test(args[0] ?? '') ? play(args, { env }) : binary(args, options);
}

const WRONG: readonly (readonly [words: string, says: string])[] = [
  ['member', 'coterie member: member needs a word that says what to do\n  give one of list, add, remove, update, promote'],
  ['member ad', 'coterie member: ad: no such command\n  did you mean coterie member add?'],
  ['member add', 'coterie member add: a word is missing\n  usage: coterie member add NAME --peer-urls URLS [--learner]'],
  ['member add x', 'coterie member add: --peer-urls is missing\n  say where the other members will reach it'],
  ['member add x --peer-urls foo', 'coterie member add: --peer-urls foo: not a peer URL\n  write scheme, host and port'],
  ['member add x y', 'coterie member add: y: one word too many'],
  ['member remove zz', 'coterie member remove: zz: not a member id\n  ids are hex, as coterie member list prints them'],
  ['member list -w tabel', 'coterie member list: --write-out tabel: no such format\n  give one of simple, table, json, fields'],
  ['member remove 1 -w table', 'coterie member remove: member remove has no table form\n  give one of simple, json'],
  ['member list --consistency x', 'coterie member list: --consistency x: not one of its words\n  give one of l, s'],
  ['member list --endpoint x', 'coterie member list: --endpoint: no such flag\n  did you mean --endpoints?'],
  ['member list --command-timeout 5', 'coterie member list: --command-timeout 5: not a duration'],
  ['endpoint statsu', 'coterie endpoint: statsu: no such command\n  did you mean coterie endpoint status?'],
  ['endpoint hashkv --rev x', 'coterie endpoint hashkv: --rev x: not a revision'],
  ['move-leader', 'coterie move-leader: a word is missing\n  usage: coterie move-leader ID'],
  ['move-leader 5 6', 'coterie move-leader: 6: one word too many'],
  ['snapshot save a --endpoints a:1,b:2', 'coterie snapshot save: snapshot must be requested to one selected node'],
  ['snapshot restore a --mark-compacted', 'coterie snapshot restore: --mark-compacted without --bump-revision'],
  ['snapshot restore a --bump-revision 5', 'coterie snapshot restore: --bump-revision 5 without --mark-compacted'],
  ['snapshot restore a --name x --initial-cluster y=http://h:1', 'does not name this member, x\n  use --name y'],
  ['lock', 'coterie lock: a word is missing\n  usage: coterie lock NAME [-- COMMAND …]'],
  ['lock a --ttl 0', 'coterie lock: --ttl 0: too short or too long\n  give 1 to 86400 seconds'],
  ['lock a --grace 5s', 'coterie lock: --grace 5s: the command could outlive what it runs under\n  give at most 4s'],
  ['lock a --conflict-exit-code 256 -- true', '--conflict-exit-code 256: not such a number\n  give a whole number from 1 to 255'],
  ['lock a -w table', 'coterie lock: lock has no table form\n  give one of simple, json'],
  ['lock a ls -l', 'coterie lock: -l: no such flag\n  usage: coterie lock NAME [-- COMMAND …]; flags of the command'],
  ['elect a', 'coterie elect: a word is missing\n  usage: coterie elect NAME VALUE [-- COMMAND …] | --listen NAME'],
  ['elect a b --listen', 'coterie elect: b: --listen only looks\n  leave out the value, or --listen'],
  ['cluster --free-port', 'coterie cluster: --free-port: no such flag\n  did you mean --free-ports?'],
  ['cluster more', 'coterie cluster: more: one word too many\n  coterie cluster --help'],
  ['cluster --data-dir', 'coterie cluster: --data-dir: its value is missing\n  coterie cluster --help'],
  ['member list -x', 'coterie member list: -x: no such flag\n  usage: coterie member list'],
];

for (const [words, says] of WRONG) {
  test(`refused before anything is asked: coterie ${words}`, async (t) => {
    const { code, stdout, stderr } = await coterie(words.split(' '));
    t.deepEqual([code, stdout], [2, '']);
    t.true(stderr.includes(says), stderr);
  });
}

test('each group and each command explains itself', async (t) => {
  const groups = ['member', 'endpoint', 'snapshot', 'cluster', 'lock', 'queue'];
  for (const words of [...groups, 'member add', 'move-leader', 'snapshot restore']) {
    const { code, stdout } = await coterie([...words.split(' '), '--help']);
    t.is(code, 0);
    t.regex(stdout, /[Uu]sage: coterie /);
  }
});

async function failing(code: ErrorCode): Promise<{ url: string; close(): Promise<void> }> {
  const no = (): Promise<never> => Promise.reject(new ApiError(code));
  const admin: Partial<Admin> = { members: no, removeMember: no, addMember: no, promoteMember: no, status: no };
  const backend: Partial<Backend> = { ...admin, range: no, identify: () => null };
  const server = await serve(backend as Backend, { urls: ['http://127.0.0.1:0'] });
  return { url: server.urls[0] ?? '', close: () => server.close() };
}

const ANSWERS: readonly (readonly [ErrorCode, words: string, remedy: string])[] = [
  ['member_not_found', 'member remove 5', 'coterie member list shows the ids'],
  ['unhealthy_cluster', 'member add x --peer-urls http://h:1', 'wait until every member has been reachable'],
  ['not_enough_started', 'member add x --peer-urls http://h:1', 'start the members that are down first'],
  ['learner_not_ready', 'member promote 5', 'start it and wait until it has caught up'],
  ['no_leader', 'member list', 'a majority of the members must run'],
];

for (const [code, words, remedy] of ANSWERS) {
  test(`when the answer is ${code}, it is said with what to do`, async (t) => {
    const server = await failing(code);
    const outcome = await coterie([...words.split(' '), '--endpoints', server.url, '--dial-timeout', '20s']);
    await server.close();
    t.deepEqual([outcome.code, outcome.stdout], [1, '']);
    const [first = '', second = ''] = outcome.stderr.split('\n');
    t.is(first, `coterie ${words.split(' ').slice(0, 2).join(' ')}: ${new ApiError(code).message}`);
    t.true(second.trim().startsWith(remedy), second);
  });
}

test('a member that is down hides no other, and makes the exit code 1', async (t) => {
  const server = await failing('no_leader');
  const endpoints = `${server.url},127.0.0.1:1`;
  const { code, stderr } = await coterie(['endpoint', 'status', '--endpoints', endpoints]);
  await server.close();
  t.is(code, 1);
  t.regex(stderr, new RegExp(`Failed to get the status of endpoint ${server.url} \\(etcdserver: no leader\\)`));
  t.regex(stderr, /Failed to get the status of endpoint 127\.0\.0\.1:1 \(unavailable: /);
});

test('--cluster asks whom it knows of, even when no majority is left to confirm the list', async (t) => {
  const header = { clusterId: 1n, memberId: 1n, revision: 1, raftTerm: 1 };
  const members: Admin['members'] = (options) => {
    const known = { id: 1n, name: 'a', peerUrls: ['http://127.0.0.1:1'], clientUrls: ['http://127.0.0.1:1'], isLearner: false };
    if (options?.linearizable !== false) return Promise.reject(new ApiError('timeout'));
    return Promise.resolve({ header, members: [known] });
  };
  const backend: Partial<Backend> = { members, identify: () => null };
  const server = await serve(backend as Backend, { urls: ['http://127.0.0.1:0'] });
  const { code, stderr } = await coterie(['endpoint', 'health', '--cluster', '--endpoints', server.urls.join()]);
  await server.close();
  t.is(code, 1);
  t.regex(stderr, /^http:\/\/127\.0\.0\.1:1 is unhealthy: /);
});

test('endpoints stand in the environment as well, under our name and etcdctl\'s', async (t) => {
  const server = await failing('no_leader');
  for (const name of ['COTERIE_ENDPOINTS', 'ETCDCTL_ENDPOINTS']) {
    const { stderr } = await coterie(['member', 'list'], { env: { [name]: server.url } });
    t.regex(stderr, /etcdserver: no leader/);
  }
  await server.close();
});
