// What coterie status makes of what it saw: every trouble has a sentence and a remedy, and health has none.

import test from 'ava';
import type { Member, StatusResponse } from '../../../core/client.js';
import { diagnose, LAG_ENTRIES, lagOf, leaderOf, type Seen } from '../../../core/cli/diagnosis.js';

function seen(id: bigint, more: Partial<Seen> = {}, status: Partial<StatusResponse> = {}): Seen {
  const member: Member = { id, name: `m${id}`, peerUrls: [], clientUrls: [`http://h${id}:2379`], isLearner: false };
  const header = { clusterId: 1n, memberId: id, revision: 5, raftTerm: 2 };
  return {
    member, endpoint: `http://h${id}:2379`, readMs: 1, error: null,
    status: {
      header, version: '3.4.0', dbSizeBytes: 100, dbSizeInUseBytes: 90, leader: 1n, raftIndex: 10, raftAppliedIndex: 10,
      raftTerm: 2, errors: [], isLearner: false, ...status,
    },
    ...more,
  };
}

const DOWN: Partial<Seen> = { status: null, readMs: null, error: 'unavailable' };
const AHEAD: Partial<StatusResponse> = { raftIndex: 11 + LAG_ENTRIES, raftAppliedIndex: 11 + LAG_ENTRIES };
const NEW: Member = { id: 9n, name: '', peerUrls: [], clientUrls: [], isLearner: true };

const CASES: readonly (readonly [title: string, all: readonly Seen[], broken: boolean, says: RegExp | null])[] = [
  ['three that are well', [seen(1n), seen(2n), seen(3n)], false, null],
  ['one that is down', [seen(1n), seen(2n), seen(3n, DOWN)], true, /m3 does not answer at http:\/\/h3:2379: unavailable/],
  ['two of three down', [seen(1n), seen(2n, DOWN), seen(3n, DOWN)], true, /only 1 of 3 voting members answer, 2 must/],
  ['nobody leads', [1n, 2n, 3n].map((id) => seen(id, {}, { leader: 0n })), true, /nobody leads/],
  ['one without a majority', [seen(1n), seen(2n, { readMs: null, error: 'no leader' }), seen(3n)], true, /m2 .*with a majority/],
  ['one far behind', [seen(1n, {}, AHEAD), seen(2n, {}, AHEAD), seen(3n)], false, /m3 is \d+ entries behind/],
  ['two versions', [seen(1n), seen(2n, {}, { version: '3.5.0' }), seen(3n)], false, /different versions: 3\.4\.0, 3\.5\.0/],
  ['an even number', [seen(1n), seen(2n)], false, /2 members vote, and an even number/],
  ['one not started', [seen(1n), { ...seen(9n, DOWN), member: NEW }], false, /9 was added and has not started yet/],
  ['much of removed data', [seen(1n, {}, { dbSizeBytes: 1e9, dbSizeInUseBytes: 1e8 })], false, /most of what m1 takes/],
  ['one that says so itself', [seen(1n, {}, { errors: ['disk is slow'] })], true, /m1 says: disk is slow/],
];

for (const [title, all, broken, says] of CASES) {
  test(`${title}: ${says === null ? 'nothing is said' : 'it is said, with what to do'}`, (t) => {
    const findings = diagnose({ seen: all, alarms: [] });
    t.is(findings.some(({ weight }) => weight === 'broken'), broken);
    t.deepEqual(findings.filter(({ remedy }) => remedy === ''), []);
    if (says === null) t.deepEqual(findings, []);
    else t.true(findings.some(({ problem }) => says.test(problem)), JSON.stringify(findings));
  });
}

test('an alarm is broken, named, and has its remedy; what is broken comes first', (t) => {
  const alarms = [{ memberId: 2n, kind: 'no_space' }, { memberId: 7n, kind: 'corrupt' }] as const;
  const findings = diagnose({ seen: [seen(1n), seen(2n)], alarms });
  t.deepEqual(findings.map(({ weight }) => weight), ['broken', 'broken', 'worth knowing']);
  t.regex(findings[0]?.problem ?? '', /alarm of m2: NOSPACE/);
  t.regex(findings[0]?.remedy ?? '', /coterie compaction .* coterie alarm disarm/);
  t.regex(findings[1]?.problem ?? '', /alarm of 7: CORRUPT/);
});

test('the newest term says who leads; lag counts what is not applied yet', (t) => {
  const all = [seen(1n, {}, { leader: 1n, raftTerm: 2 }), seen(2n, {}, { leader: 2n, raftTerm: 3, raftIndex: 30 })];
  t.is(leaderOf(all), 2n);
  t.is(leaderOf([seen(1n, DOWN)]), null);
  const [first] = all;
  t.is(first?.status === null || first === undefined ? -1 : lagOf(first.status, all), 20);
});
