// The command line of coterie in place of etcdctl: the table of etcdctl command lines once more, each row answered by etcdctl and
// by coterie, on two equal members of etcd. Scripts carry over: stdout is the same, and an exit code is 0 where etcdctl's is.
// What stays different is listed with its reason, and must differ.

import { readFileSync } from 'node:fs';
import test from 'ava';
import { play } from '../core/cli/in-process.js';
import { masked } from './etcdctl-mask.js';
import { rowsOf, type Row } from './etcdctl-rows.js';
import { Runner } from './etcdctl-run.js';
import { USERS_AND_ROLES } from './etcdctl-table-auth.js';
import { CLIENT, CLUSTER, KEYS, LEASES } from './etcdctl-table-keys.js';
import { UPKEEP } from './etcdctl-table-upkeep.js';
import { freePorts } from './free-ports.js';
import type { Side } from './pair.js';
import { isInstalled, startEtcd, type RealEtcd } from './real-etcd.js';

/** Rows that are not asked, because one of the two would do what the other refuses, or goes on for ever. */
const LEFT_OUT: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/ -- (?:sh|printenv|echo) /, 'what a command of a watch prints is printed by it alone: watch.test.ts'],
  [/^!4 .*-w (?:table|protobuf|fields)/, 'a form that a command does not have is refused before anything is done, not after'],
  [/lease .*-w protobuf/, 'etcdctl writes a mere header'],
  [/^(?:put a b c|lease list extra)$/, 'a word too many is named instead of passed over'],
  [/^!2 txn <<< lease/, 'etcdctl falls over'],
  [/^!1 watch w\/ --from-key/, 'ours has this flag'],
  [/^!128 ETCDCTL_WATCH_KEY=w\/b watch w\/b/, 'the argument wins'],
  [/^member list => [yv]$/, 'of members that were added by rows left out'],
  [/--(?:cacert|cert|key|discovery-srv)=|-d=/, 'certificates and names have tests of their own'],
  [/^lease$/, 'help'],
  [/ lock k\/lock$/, 'ours stands in the recipes\' lines'],
  [/^user add u8 /, 'an empty password is refused; it would make a user that etcdctl\'s side has alone'],
  [/check |ETCDCTL_BOGUS|ETCDCTL_ENDPOINTS/, 'ours says nothing of variables it does not know; the flag wins over its variable'],
];

/** Rows whose answers differ, and shall. */
const DIFFERENT: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [/^get a b c$/, 'a word too many is named instead of passed over'],
  [/alarm (?:list|disarm) -w fields/, 'etcdctl falls over'],
  [/^!3 watch -i <<< $/, 'the end of the input is no fault'],
  [/endpoint health(?: --(?!.*-w).*)?$/, 'told on standard output, as from 3.5 on'],
  [/^member add \w --learner --peer-urls=\S+ => \w$/, 'a learner is called one, as from 3.6 on'],
  [/--command-timeout=soon/, 'the help is not printed for a wrong word'],
  [/^!5 watch c --rev=2 -w json$/, 'that it was canceled is told on standard error, with what to do'],
];

/** Groups about other things than keys, members and users. */
const GROUPS_LEFT_OUT: readonly (readonly [title: string, reason: string])[] = [
  ['lock and elect', 'ours stand in the recipes\' lines: hold.test.ts'],
  ['what no server is asked for', 'says what the tool is'],
];

const GROUPS = [...KEYS, ...LEASES, ...CLUSTER, ...CLIENT, ...UPKEEP, ...USERS_AND_ROLES];
/** No row ends by it. */
const LIMIT_MS = 60_000;
const servers: RealEtcd[] = [];
let sides: readonly [Side, Side] | null = null;

test.before('two equal members start', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line)) || !isInstalled('etcdctl', (line) => t.log(line))) return;
  const [port = 0] = await freePorts(1);
  const peerUrl = `http://127.0.0.1:${port}`;
  // A hash for each `--user`: the cheapest there are.
  const flags = ['--initial-advertise-peer-urls', peerUrl, '--initial-cluster', `default=${peerUrl}`, '--bcrypt-cost=4'];
  const [one, other] = await Promise.all([startEtcd({ flags }), startEtcd({ flags })]);
  servers.push(one, other);
  const { stdout } = await play(`--endpoints ${one.url} member list --json`);
  const memberId = (JSON.parse(stdout) as { members: { id: string }[] }).members[0]?.id ?? '';
  const side = ({ url }: RealEtcd): Side => ({ name: 'etcd', url, advertised: url, peerUrl, memberId });
  sides = [side(one), side(other)];
});

test.after.always('they end', () => Promise.all(servers.map((server) => server.close())));

interface Answer {
  readonly failed: boolean | null;
  readonly stdout: string;
}

/** Coterie's answer, with the same words masked as in etcdctl's. */
async function ours(row: Row, side: Side, known: Map<string, string>): Promise<Answer> {
  const places: Readonly<Record<string, string>> = { url: side.url, peer: side.peerUrl, self: side.memberId };
  const fill = (text: string): string => text.replace(/\$(\w+)/g, (all, name: string) => places[name] ?? known.get(name) ?? all);
  const words = row.words.map(fill);
  const all = words.some((word) => word.startsWith('--endpoints')) ? words : ['--endpoints', side.url, ...words];
  const { until } = row;
  const stops = until === null ? {} : { until: (text: string): boolean => Buffer.from(text).toString('latin1').includes(until) };
  const stage = { env: row.env, input: row.input ?? '', limitMs: LIMIT_MS, ...stops };
  const { code, bytes } = await play(all, stage);
  const stdout = bytes.toString('latin1');
  if (row.capture !== null) {
    const [, hex, decimal] = /(?:lease|Member) +([0-9a-f]{15,16})|"ID" ?: ?(\d+)/.exec(stdout) ?? [];
    known.set(row.capture, hex ?? (decimal === undefined ? '0' : BigInt(decimal).toString(16)));
  }
  return { failed: row.code === null ? null : code !== 0, stdout: masked(stdout, side, known) };
}

function reasonFor(table: readonly (readonly [RegExp, string])[], { line }: Row): string | null {
  return table.find(([pattern]) => pattern.test(line))?.[1] ?? null;
}

const ASKED = GROUPS.filter(({ title }) => !GROUPS_LEFT_OUT.some(([left]) => left === title)).map(({ title, rows }) => {
  return { title, asked: rows.flatMap(rowsOf).filter((row) => reasonFor(LEFT_OUT, row) === null) };
});

test('README tells how many command lines there are, and of how many the answers differ', (t) => {
  const all = ASKED.flatMap(({ asked }) => asked);
  const different = all.filter((row) => reasonFor(DIFFERENT, row) !== null);
  const text = readFileSync(new URL('../../../core/cli/README.md', import.meta.url), 'utf8');
  t.regex(text, new RegExp(`\\b${all.length} command lines with both:\\s${different.length} get another answer\\b`));
});

for (const { title, asked } of ASKED) {
  test.serial(`coterie answers as etcdctl does: ${title}`, async (t) => {
    if (sides === null) {
      t.pass();
      return;
    }
    t.timeout(120_000);
    const [theirSide, ourSide] = sides;
    const runner = new Runner(theirSide);
    const known = new Map<string, string>();
    try {
      for (const row of asked) {
        const [[told], answer] = await Promise.all([runner.run([row]), ours(row, ourSide, known)]);
        const failed = row.code === null ? null : told?.code !== 0;
        const expected: Answer = { failed, stdout: told?.stdout ?? '' };
        if (reasonFor(DIFFERENT, row) === null) t.deepEqual(answer, expected, row.line);
        else t.notDeepEqual(answer, expected, row.line);
      }
    } finally {
      runner.close();
    }
  });
}
