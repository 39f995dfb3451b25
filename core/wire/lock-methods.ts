// The Lock and Election services of the table (contract 10): for clients that bring no recipes of their own, the server
// stands in line. A call may wait as long as it takes; it ends, and its key goes, when the caller leaves. All of it is asked
// on the caller's behalf, and who that is, is asked again before each step.
//
// Every failure has status 2, whatever it is elsewhere: the text alone says what it is, as in etcd.

import type { Clock } from '../base/clock.js';
import { equalBytes } from '../base/bytes.js';
import type { Backend, CallOptions, Header } from '../client.js';
import { ApiError, canceled, isApiError, Status } from '../errors.js';
import {
  becomeFirst, firstOf, followFirst, leave, proclaim, type Asking, type Standing,
} from '../../recipes/borrowed-line.js';
import type { CallContext, Method, UnaryMethod } from './call.js';
import { clamp } from './convert.js';
import { demandLeader, whileLed } from './leader-check.js';
import * as election from './schema/generated/election.js';
import * as locks from './schema/generated/lock.js';
import { WireError } from './status.js';
import { decode, optionsOf, type Decoder } from './unary.js';

const NOTHING = new Uint8Array(0);

export function lockMethods(backend: Backend, clock: Clock): Method[] {
  const lock = waitingOf('v3lockpb.Lock', backend, clock);
  return [
    lock('Lock', locks.LockRequest, async (asking, { name, lease }) => {
      const standing = await becomeFirst(asking, { name, lease, value: NOTHING });
      if (standing === null) throw new ApiError('session_expired');
      return locks.LockResponse.encode({ header: standing.header, key: standing.key });
    }),
    lock('Unlock', locks.UnlockRequest, async (asking, { key }) => {
      const answer = await backend.txn({ success: [{ kind: 'delete', request: { key } }] }, await asking.options());
      return locks.UnlockResponse.encode({ header: answer.header });
    }),
  ];
}

export function electionMethods(backend: Backend, clock: Clock): Method[] {
  const service = 'v3electionpb.Election';
  const one = waitingOf(service, backend, clock);
  return [
    one('Campaign', election.CampaignRequest, async (asking, { name, lease, value }) => {
      const standing = await becomeFirst(asking, {
        name, lease, value,
        async onFound(found, before) {
          if (!equalBytes(before, value)) led(await proclaim(asking, found, value));
        },
      });
      const { entered, key, revision, lease: kept } = led<Standing>(standing);
      return election.CampaignResponse.encode({ header: entered, leader: { name, key, rev: BigInt(revision), lease: kept } });
    }),
    one('Proclaim', election.ProclaimRequest, async (asking, { leader, value }) => {
      return election.ProclaimResponse.encode({ header: led<Header>(await proclaim(asking, placeOf(leader), value)) });
    }),
    one('Leader', election.LeaderRequest, async (asking, { name }) => {
      const { header, kv } = await firstOf(asking, name);
      if (kv === null) throw new ApiError('election_no_leader');
      return election.LeaderResponse.encode({ header, kv });
    }),
    one('Resign', election.ResignRequest, async (asking, { leader }) => {
      return election.ResignResponse.encode({ header: await leave(asking, placeOf(leader)) });
    }),
    {
      kind: 'stream',
      service,
      name: 'Observe',
      handle: (requests, call, send) => observe(backend, clock, { requests, call, send }),
    },
  ];
}

type WaitingOf = <Request>(
  name: string,
  request: Decoder<Request>,
  run: (asking: Asking, message: Request) => Promise<{ finish(): Uint8Array }>,
) => UnaryMethod;

/** Makes methods of one service that may wait. */
function waitingOf(service: string, backend: Backend, clock: Clock): WaitingOf {
  return (name, request, run) => ({
    kind: 'unary',
    waits: true,
    service,
    name,
    async handle(bytes, call) {
      if (call.hasLeader) await demandLeader(backend);
      try {
        const message = decode(request, bytes, `${service}.${name}`);
        return (await run(askingFor(backend, clock, call), message)).finish();
      } catch (error) {
        throw inCodeTwo(error, call);
      }
    },
  });
}

function askingFor(backend: Backend, clock: Clock, call: CallContext): Asking {
  const options = (): Promise<CallOptions | undefined> => optionsOf(backend, call);
  return { client: backend, clock, options, stop: call.signal };
}

/** Ends with the caller, or with an error; an election is never over. */
async function observe(
  backend: Backend,
  clock: Clock,
  { requests, call, send }: {
    readonly requests: AsyncIterable<Uint8Array>;
    readonly call: CallContext;
    readonly send: (answer: Uint8Array) => Promise<void>;
  },
): Promise<void> {
  let name: Uint8Array = NOTHING;
  for await (const bytes of requests) {
    ({ name } = decode(election.LeaderRequest, bytes, 'LeaderRequest'));
    break;
  }
  const tell = async (): Promise<void> => {
    for await (const { header, kv } of followFirst(askingFor(backend, clock, call), name)) {
      await send(election.LeaderResponse.encode({ header, kv }).finish());
    }
  };
  try {
    await whileLed(backend, clock, call, tell());
  } catch (error) {
    if (call.signal.aborted && !(call.signal.reason instanceof ApiError)) return;
    if (isApiError(error, 'no_leader')) throw error;
    throw inCodeTwo(error, call);
  }
}

function placeOf(leader: election.LeaderKey | undefined): Pick<Standing, 'key' | 'revision' | 'lease'> {
  if (leader === undefined) throw new ApiError('leader_missing');
  return { key: leader.key, revision: clamp(leader.rev), lease: leader.lease };
}

function led<T>(answer: T | null): T {
  if (answer === null) throw new ApiError('election_not_leader');
  return answer;
}

/** A server that stops says so as everywhere, so that the caller looks elsewhere. */
function inCodeTwo(error: unknown, { signal }: CallContext): unknown {
  if (error === signal.reason && !isApiError(error)) return canceled(error);
  if (!isApiError(error) || error.code === 'stopped' || error.code === 'closed') return error;
  return new WireError(Status.unknown, error.message, error);
}
