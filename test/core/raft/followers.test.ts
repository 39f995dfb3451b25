// What a leader sends to whom, and what it believes of them; the conversations are golden transcripts.

import test from 'ava';
import { Followers, type News } from '../../../core/raft/followers.js';
import { RaftLog } from '../../../core/raft/log.js';
import { Members } from '../../../core/raft/members.js';
import { IN_FLIGHT_BYTES_MAX } from '../../../core/raft/progress.js';
import type { Entry, Message } from '../../../core/raft/types.js';

const trio = new Members({ voters: [1n, 2n, 3n], outgoing: [], learners: [] });
const SNAPSHOT = { term: 1, index: 5, configuration: trio.configuration };
const QUIET: News = { term: 1, commit: 0, round: 0, mustTell: false, snapshot: SNAPSHOT, now: 0 };

function entries(first: number, count: number, size: number): Entry[] {
  return Array.from({ length: count }, (_, i) => ({ kind: 'command', term: 1, index: first + i, data: new Uint8Array(size) }));
}

function sent(followers: Followers, log: RaftLog, news: Partial<News> = {}): string[] {
  const out: Message[] = [];
  followers.send(log, { ...QUIET, ...news }, out);
  return out.map((message) => {
    if (message.kind !== 'append') return `${message.to} ${message.kind}`;
    return `${message.to} after ${message.previous.index}: ${message.entries.map(({ index }) => index).join(' ')}`;
  });
}

function followersOf(next: number): Followers {
  const followers = new Followers(1n, 30, 10);
  followers.add(trio, next, 0);
  return followers;
}

test('a probe is one append, a stream is as many as fit', (t) => {
  const followers = followersOf(1);
  const log = new RaftLog({ term: 0, index: 0 }, entries(1, 6, 10));
  t.deepEqual(sent(followers, log), ['2 after 0: 1 2 3', '3 after 0: 1 2 3']);
  followers.get(2n)?.accepted(3, 0);
  t.deepEqual(sent(followers, log), ['2 after 3: 4 5 6']);
  t.deepEqual(sent(followers, log), []);
  t.deepEqual(sent(followers, log, { mustTell: true }), ['2 after 6: ', '3 after 0: ']);
});

test('followers that need the same entries get one array of them, and a large entry is alone in its message', (t) => {
  const followers = followersOf(1);
  const log = new RaftLog({ term: 0, index: 0 }, [...entries(1, 2, 10), ...entries(3, 2, 32 * 1024), ...entries(5, 1, 10)]);
  const wide = new Followers(1n, 1 << 20, 10);
  wide.add(trio, 1, 0);
  const out: Message[] = [];
  wide.send(log, QUIET, out);
  const [one, two] = out.map((message) => (message.kind === 'append' ? message.entries : null));
  t.true(one !== null && one === two && one?.length === 2);
  for (const id of [2n, 3n]) wide.get(id)?.accepted(2, 0);
  t.deepEqual(sent(wide, log), ['2 after 2: 3', '2 after 3: 4', '2 after 4: 5', '3 after 2: 3', '3 after 3: 4', '3 after 4: 5']);
  t.deepEqual(sent(followers, log), ['2 after 0: 1 2', '3 after 0: 1 2']);
});

test('a stream of large entries ends where the bytes under way do', (t) => {
  const followers = followersOf(1);
  const log = new RaftLog({ term: 0, index: 0 }, entries(1, 6, 1 + IN_FLIGHT_BYTES_MAX / 3));
  t.deepEqual(sent(followers, log), ['2 after 0: 1', '3 after 0: 1']);
  followers.get(2n)?.accepted(1, 0);
  t.deepEqual(sent(followers, log), ['2 after 1: 2', '2 after 2: 3', '2 after 3: 4']);
  followers.get(2n)?.accepted(2, 0);
  t.deepEqual(sent(followers, log), ['2 after 4: 5']);
});

test('the commit index is news where the logs are known to agree, once', (t) => {
  const followers = followersOf(3);
  const log = new RaftLog({ term: 0, index: 0 }, entries(1, 2, 10));
  followers.get(2n)?.accepted(2, 0);
  t.deepEqual(sent(followers, log, { commit: 2 }), ['2 after 2: ']);
  t.deepEqual(sent(followers, log, { commit: 2 }), []);
});

test('who needs forgotten entries is shipped the snapshot, once, and only while it answers', (t) => {
  const followers = followersOf(9);
  const log = new RaftLog({ term: 1, index: 5 }, entries(6, 3, 10));
  for (const id of [2n, 3n]) followers.get(id)?.refused(2, 5);
  const silent = followers.get(3n);
  if (silent !== undefined) silent.heardAt = -10;
  t.deepEqual(sent(followers, log), ['2 snapshot']);
  t.deepEqual(sent(followers, log, { mustTell: true }), ['2 after 5: ', '3 after 5: ']);
  const stands = followers.statuses(0).map(({ id, mode, isActive }) => [id, mode, isActive]);
  t.deepEqual(stands, [[2n, 'snapshot', true], [3n, 'probe', false]]);
});

test('whoever is no member is let go; the rest is kept as it is', (t) => {
  const followers = followersOf(3);
  followers.get(2n)?.accepted(2, 0);
  const pair = new Members({ voters: [1n, 2n], outgoing: [], learners: [] });
  followers.keep(trio);
  t.truthy(followers.get(3n));
  followers.keep(pair);
  t.is(followers.get(3n), undefined);
  followers.add(trio, 3, 0);
  t.is(followers.matchOf(2n), 2);
  t.is(followers.foremost(trio), 2n);
  t.is(followers.foremost(new Members({ voters: [1n], outgoing: [], learners: [3n] })), 0n);
});
