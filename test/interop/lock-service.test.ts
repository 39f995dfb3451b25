// Lock and Election as etcd serves them: the same steps on a real etcd and on coterie, each answer with its header, status and
// text. Keys and leases agree, because the leases are chosen. What coterie does as later releases do has a test of its own.

import test, { type ExecutionContext } from 'ava';
import { text, utf8 } from '../../core/base/bytes.js';
import type { Backend } from '../../core/client.js';
import { codeOfText, ERRORS } from '../../core/errors.js';
import { startNode } from '../../core/start-node.js';
import * as convert from '../../core/wire/convert.js';
import { serve } from '../serving.js';
import * as election from '../../core/wire/schema/generated/election.js';
import * as locks from '../../core/wire/schema/generated/lock.js';
import * as rpc from '../../core/wire/schema/generated/rpc.js';
import { startPair, type Pair } from './pair.js';
import { RawClient, type Outcome, type Pending } from './raw-grpc.js';
import { isInstalled } from './real-etcd.js';
import { inWords, saySame } from './side-by-side.js';

let pair: Pair | null = null;

test.before('etcd and coterie start', async (t) => {
  if (isInstalled('etcd', (line) => t.log(line))) pair = await startPair();
});
test.after.always('both end', async () => pair?.close());

/** One side, with words for what the steps below do. Every answer is one line of the transcript that is compared. */
class Steps {
  readonly #client: RawClient;
  readonly said: string[] = [];

  constructor(url: string) {
    this.#client = new RawClient(url);
  }

  close(): void {
    this.#client.close();
  }

  tell<T>(step: string, outcome: Outcome<T>): Outcome<T> {
    this.said.push(`${step}: ${inWords(outcome)}`);
    return outcome;
  }

  /** Bytes as they are. `isSecret`: that it is answered is all there is to compare. */
  async raw(
    path: string, bytes: Uint8Array, headers: Readonly<Record<string, string>> = {}, isSecret = false,
  ): Promise<Outcome<unknown>> {
    const plain = { encode: (message: Uint8Array) => ({ finish: () => message }), decode: (answer: Uint8Array) => answer };
    const outcome = await this.#client.call(path, plain, plain, bytes, headers);
    return isSecret && 'answer' in outcome ? { answer: 'some' } : outcome;
  }

  async lease(id: bigint, TTL = 600n): Promise<void> {
    const { encode, decode } = { encode: rpc.LeaseGrantRequest, decode: rpc.LeaseGrantResponse };
    this.tell(`grant ${id}`, await this.#client.call('/etcdserverpb.Lease/LeaseGrant', encode, decode, { TTL, ID: id }));
  }

  async revoke(ID: bigint): Promise<void> {
    const path = '/etcdserverpb.Lease/LeaseRevoke';
    this.tell(`revoke ${ID}`, await this.#client.call(path, rpc.LeaseRevokeRequest, rpc.LeaseRevokeResponse, { ID }));
  }

  async ttl(ID: bigint): Promise<number> {
    const path = '/etcdserverpb.Lease/LeaseTimeToLive';
    const [request, answer] = [rpc.LeaseTimeToLiveRequest, rpc.LeaseTimeToLiveResponse];
    const outcome = await this.#client.call(path, request, answer, { ID, keys: true });
    return 'answer' in outcome ? outcome.answer.grantedTTL : -1;
  }

  lock(name: string | Uint8Array, lease: bigint): Pending<locks.LockResponse> {
    const message = { name: typeof name === 'string' ? utf8(name) : name, lease };
    return this.#client.begin('/v3lockpb.Lock/Lock', locks.LockRequest, locks.LockResponse, message);
  }

  async unlock(key: string): Promise<void> {
    const path = '/v3lockpb.Lock/Unlock';
    this.tell(`unlock ${key}`, await this.#client.call(path, locks.UnlockRequest, locks.UnlockResponse, { key: utf8(key) }));
  }

  campaign(name: string, lease: bigint, value: string): Pending<election.CampaignResponse> {
    const message = { name: utf8(name), lease, value: utf8(value) };
    return this.#client.begin('/v3electionpb.Election/Campaign', election.CampaignRequest, election.CampaignResponse, message);
  }

  async proclaim(leader: election.LeaderKey | undefined, value: string): Promise<void> {
    const path = '/v3electionpb.Election/Proclaim';
    const message = { leader, value: utf8(value) };
    this.tell(`proclaim ${value}`, await this.#client.call(path, election.ProclaimRequest, election.ProclaimResponse, message));
  }

  async resign(leader: election.LeaderKey | undefined): Promise<void> {
    const path = '/v3electionpb.Election/Resign';
    this.tell('resign', await this.#client.call(path, election.ResignRequest, election.ResignResponse, { leader }));
  }

  async leader(name: string): Promise<void> {
    const path = '/v3electionpb.Election/Leader';
    const message = { name: utf8(name) };
    this.tell(`leader of ${name}`, await this.#client.call(path, election.LeaderRequest, election.LeaderResponse, message));
  }

  observe(name: string): () => Promise<string> {
    const path = '/v3electionpb.Election/Observe';
    const stream = this.#client.stream(path, election.LeaderRequest, election.LeaderResponse);
    stream.write({ name: utf8(name) });
    stream.halfClose();
    return async () => inWords(await stream.next());
  }

  async keys(prefix: string): Promise<readonly string[]> {
    const message = convert.writeRangeRequest({ key: utf8(prefix), rangeEnd: utf8(`${prefix}\u007f`) });
    const outcome = await this.#client.call('/etcdserverpb.KV/Range', rpc.RangeRequest, rpc.RangeResponse, message);
    return 'answer' in outcome ? outcome.answer.kvs.map(({ key, value }) => `${text(key)}=${text(value)}`) : ['failed'];
  }

  async put(key: string, value: string): Promise<void> {
    const message = convert.writePutRequest({ key: utf8(key), value: utf8(value) });
    this.tell(`put ${key}`, await this.#client.call('/etcdserverpb.KV/Put', rpc.PutRequest, rpc.PutResponse, message));
  }

  /** Until it is there (or gone): whoever waits has entered its line (or left it). */
  async until(prefix: string, count: number): Promise<void> {
    for (let i = 0; i < 500; i++) {
      if ((await this.keys(prefix)).length === count) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    this.said.push(`${prefix} never had ${count} keys`);
  }

  async note(prefix: string): Promise<void> {
    this.said.push(`keys of ${prefix}: ${(await this.keys(prefix)).join(' ')}`);
  }
}

async function compared(t: ExecutionContext, steps: (side: Steps) => Promise<void>): Promise<void> {
  await saySame(t, pair, (url) => new Steps(url), steps);
}

test.serial('a lock is granted in the order of asking, and again to whoever has it', async (t) => {
  await compared(t, async (side) => {
    await side.lease(0x101n);
    await side.lease(0x102n);
    await side.lease(0x103n);
    side.tell('first', await side.lock('l', 0x101n).outcome);
    side.tell('again', await side.lock('l', 0x101n).outcome);
    const second = side.lock('l', 0x102n);
    await side.until('l/', 2);
    const third = side.lock('l', 0x103n);
    await side.until('l/', 3);
    await side.note('l/');
    await side.unlock('l/101');
    side.tell('second', await second.outcome);
    await side.unlock('l/102');
    side.tell('third', await third.outcome);
    await side.revoke(0x103n);
    await side.note('l/');
  });
});

test.serial('unlocking, names of every kind and missing leases are answered the same', async (t) => {
  await compared(t, async (side) => {
    await side.lease(0x111n);
    side.tell('no lease', await side.lock('m', 0x999n).outcome);
    side.tell('no name', await side.lock('', 0x111n).outcome);
    side.tell('not text', await side.lock(Buffer.from([0xff, 0x00, 0x2f]), 0x111n).outcome);
    side.tell('with a slash', await side.lock('m/', 0x111n).outcome);
    await side.unlock('nothing/1');
    await side.unlock('');
    await side.unlock('m//111');
    await side.note('m');
    await side.revoke(0x111n);
  });
});

test.serial('a waiter who leaves takes his key away, and whoever is behind him still waits', async (t) => {
  await compared(t, async (side) => {
    for (const id of [0x121n, 0x122n, 0x123n]) await side.lease(id);
    side.tell('first', await side.lock('w', 0x121n).outcome);
    const second = side.lock('w', 0x122n);
    await side.until('w/', 2);
    const third = side.lock('w', 0x123n);
    await side.until('w/', 3);
    second.cancel();
    side.tell('second', await second.outcome);
    await side.until('w/', 2);
    await side.note('w/');
    await side.unlock('w/121');
    side.tell('third', await third.outcome);
    await side.unlock('w/123');
  });
});

test.serial('without a lease the server grants one of 60 seconds', async (t) => {
  await compared(t, async (side) => {
    const outcome = await side.lock('z', 0n).outcome;
    const key = 'answer' in outcome ? text(outcome.answer.key) : '';
    side.said.push(key.replace(/\/[0-9a-f]+$/, '/<lease>'));
    side.said.push(`granted ${await side.ttl(BigInt(`0x${key.slice(2)}`))}`);
    const before = side.said.length;
    await side.unlock(key);
    side.said.splice(before, 1, (side.said[before] ?? '').replace(key, '<key>'));
  });
});

test.serial('an election has a leader, candidates behind it, and whoever follows it', async (t) => {
  await compared(t, async (side) => {
    for (const id of [0x201n, 0x202n]) await side.lease(id);
    await side.leader('e');
    const next = side.observe('e');
    const outcome = side.tell('elected', await side.campaign('e', 0x201n, 'one').outcome);
    const key = 'answer' in outcome ? outcome.answer.leader : undefined;
    side.said.push(await next());
    side.tell('again', await side.campaign('e', 0x201n, 'one').outcome);
    side.tell('with another value', await side.campaign('e', 0x201n, 'uno').outcome);
    side.said.push(await next());
    await side.proclaim(key, 'eins');
    side.said.push(await next());
    await side.leader('e');
    const second = side.campaign('e', 0x202n, 'two');
    await side.until('e/', 2);
    const third = side.observe('e');
    side.said.push(await third());
    await side.resign(key && { ...key, rev: 1n });
    await side.note('e/');
    await side.resign(key);
    side.tell('second', await second.outcome);
    side.said.push(await next(), await third());
    await side.proclaim(key, 'stale');
    await side.resign(key);
    await side.leader('e');
    await side.revoke(0x202n);
    await side.leader('e');
  });
});

test.serial('what an election is not told is refused in the same words', async (t) => {
  await compared(t, async (side) => {
    await side.lease(0x211n);
    await side.proclaim(undefined, 'x');
    await side.resign(undefined);
    side.tell('no lease', await side.campaign('f', 0x999n, 'x').outcome);
    side.tell('no name', await side.campaign('', 0x211n, 'x').outcome);
    await side.leader('');
    await side.proclaim({ name: utf8('f'), key: utf8('f/1'), rev: 5n, lease: 0x211n }, 'x');
    await side.proclaim({ name: utf8('f'), key: utf8(''), rev: 5n, lease: 0x211n }, 'x');
    await side.resign({ name: utf8(''), key: utf8(''), rev: 0n, lease: 0n });
    await side.revoke(0x211n);
  });
});

test.serial('a candidate who leaves takes his key away', async (t) => {
  await compared(t, async (side) => {
    for (const id of [0x221n, 0x222n]) await side.lease(id);
    side.tell('first', await side.campaign('g', 0x221n, 'one').outcome);
    const second = side.campaign('g', 0x222n, 'two');
    await side.until('g/', 2);
    second.cancel();
    await side.until('g/', 1);
    await side.note('g/');
  });
});

test.serial('plain puts and deletions of others count in a line as everywhere', async (t) => {
  await compared(t, async (side) => {
    await side.lease(0x301n);
    await side.put('h/somebody', 'here');
    const waiting = side.lock('h', 0x301n);
    await side.until('h/', 2);
    await side.unlock('h/somebody');
    side.tell('then', await waiting.outcome);
  });
});

test('its own texts are errors of the table, for clients that decide by them', (t) => {
  t.is(codeOfText('mutex: session is expired'), 'session_expired');
  t.is(codeOfText('election: no leader'), 'election_no_leader');
  t.is(codeOfText('election: not leader'), 'election_not_leader');
  t.is(codeOfText('"leader" field must be provided'), 'leader_missing');
});

/** What 3.4 does otherwise, and later releases do so. */
async function ofOurs(t: ExecutionContext, steps: (side: Steps) => Promise<void>): Promise<readonly string[]> {
  if (pair === null) return [];
  const side = new Steps(pair.sides[1].url);
  await steps(side);
  side.close();
  t.true(side.said.length > 0);
  return side.said;
}

test.serial('a waiter whose lease is revoked is told so at once, while somebody else still holds', async (t) => {
  const said = await ofOurs(t, async (side) => {
    await side.lease(0x401n);
    await side.lease(0x402n);
    await side.lock('r', 0x401n).outcome;
    await side.campaign('q', 0x401n, 'one').outcome;
    const [lock, campaign] = [side.lock('r', 0x402n), side.campaign('q', 0x402n, 'two')];
    await side.until('r/', 2);
    await side.until('q/', 2);
    await side.revoke(0x402n);
    side.said.length = 0;
    side.tell('it', await lock.outcome);
    side.tell('it', await campaign.outcome);
    await side.note('r/');
  });
  t.deepEqual(said, [
    `it: ${inWords({ code: 2, text: ERRORS.session_expired.text })}`,
    `it: ${inWords({ code: 2, text: ERRORS.election_not_leader.text })}`,
    'keys of r/: r/401=',
  ]);
});

test.serial('what is not served, too long or packed is answered in the same words', async (t) => {
  await compared(t, async (side) => {
    for (const path of ['/etcdserverpb.KV/Nope', '/foo.Bar/Baz', '/v3lockpb.Lock/TryLock', '/v3lockpb.lock/Lock']) {
      side.tell(path, await side.raw(path, Buffer.alloc(0)));
    }
    // A put of 2.2 MB, over what gRPC takes, and one of 1.6 MB, over what a proposal may be.
    for (const length of [2_200_000, 1_600_000]) {
      const message = convert.writePutRequest({ key: utf8('big'), value: new Uint8Array(length) });
      side.tell(`${length} bytes`, await side.raw('/etcdserverpb.KV/Put', rpc.PutRequest.encode(message).finish()));
    }
    for (const hasleader of ['true', 'false', 'x']) {
      const headers = { hasleader, 'client-api-version': '3.4', strange: 'x' };
      side.tell(`hasleader ${hasleader}`, await side.raw('/etcdserverpb.Maintenance/Status', Buffer.alloc(0), headers, true));
    }
    const packed = { 'grpc-internal-encoding-request': 'gzip' };
    side.tell('packed', await side.raw('/etcdserverpb.Cluster/MemberList', Buffer.alloc(0), packed, true));
  });
});

test('locks and elections are asked for on the caller\'s behalf, and fail with its permissions', async (t) => {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const side = new Steps(server.urls[0] ?? '');
  t.teardown(async () => {
    side.close();
    await server.close();
    await node.close();
  });
  const token = await onlyUnderX(node.client);
  const say = (step: string, outcome: Outcome<unknown>): void => {
    side.said.push(`${step}: ${'answer' in outcome ? 'done' : outcome.text}`);
  };
  for (const name of ['x', 'y']) {
    for (const headers of [{ token }, {}]) {
      const who = 'token' in headers ? 'ann' : 'nobody';
      const lock = locks.LockRequest.encode({ name: utf8(name), lease: 0x501n }).finish();
      say(`${who} locks ${name}`, await side.raw('/v3lockpb.Lock/Lock', lock, headers));
      const campaign = election.CampaignRequest.encode({ name: utf8(name), lease: 0x501n, value: utf8('v') }).finish();
      say(`${who} runs for ${name}`, await side.raw('/v3electionpb.Election/Campaign', campaign, headers));
    }
  }
  const leader = election.LeaderRequest.encode({ name: utf8('y') }).finish();
  say('leader', await side.raw('/v3electionpb.Election/Leader', leader, { token }));
  say('unlock', await side.raw('/v3lockpb.Lock/Unlock', locks.UnlockRequest.encode({ key: utf8('y/1') }).finish(), { token }));
  const denied = 'etcdserver: permission denied';
  const nobody = 'etcdserver: user name is empty';
  t.deepEqual(side.said, [
    'ann locks x: done', 'ann runs for x: done', `nobody locks x: ${nobody}`, `nobody runs for x: ${nobody}`,
    `ann locks y: ${denied}`, `ann runs for y: ${denied}`, `nobody locks y: ${nobody}`, `nobody runs for y: ${nobody}`,
    `leader: ${denied}`, `unlock: ${denied}`,
  ]);
});

/** Auth is on afterwards; the token is ann's, who may read and write below `x/`, and there is a lease, 501. */
async function onlyUnderX(client: Backend): Promise<string> {
  for (const name of ['root', 'ann']) await client.changeAuth({ kind: 'user_add', name, password: { plain: 'secret' } });
  for (const name of ['root', 'x']) await client.changeAuth({ kind: 'role_add', name });
  const permission = { kind: 'readwrite', key: utf8('x/'), rangeEnd: utf8('x0') } as const;
  await client.changeAuth({ kind: 'role_grant', name: 'x', permission });
  await client.changeAuth({ kind: 'user_grant', name: 'root', role: 'root' });
  await client.changeAuth({ kind: 'user_grant', name: 'ann', role: 'x' });
  await client.grant(100, { id: 0x501n });
  await client.changeAuth({ kind: 'enable' });
  return (await client.authenticate('ann', 'secret')).token;
}
