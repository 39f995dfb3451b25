// What a transport means, on every implementation. A home opens members on one network; `supports` says where one differs.

import type { ExecutionContext, TestFn } from 'ava';
import { whenDone } from '../../core/base/done.js';
import type { Lane, Transport } from '../../core/peer/transport.js';

export interface Got {
  readonly from: bigint;
  readonly lane: Lane;
  readonly frame: Uint8Array;
}

export interface OpenMember {
  readonly transport: Transport;
  readonly urls: readonly string[];
  readonly got: readonly Got[];
}

export interface TransportHome {
  /** A started member; what it receives is gathered. */
  member(id: bigint): Promise<OpenMember>;
  /** Resolves once `holds`; rejects when it does not within some seconds. */
  until(holds: () => boolean, what: string): Promise<void>;
  close(): Promise<void>;
}

const bytes = (word: string): Uint8Array => Buffer.from(word);
const text = (frame: Uint8Array): string => Buffer.from(frame).toString();

async function pair(home: TransportHome): Promise<readonly [OpenMember, OpenMember]> {
  const [one, two] = [await home.member(1n), await home.member(2n)];
  one.transport.setPeers(new Map([[2n, two.urls]]));
  two.transport.setPeers(new Map([[1n, one.urls]]));
  await home.until(() => one.transport.isConnected(2n) && two.transport.isConnected(1n), 'both are connected');
  // Each lane may have a connection of its own, which comes up by itself.
  for (const lane of ['raft', 'call', 'snapshot'] as const) {
    await home.until(() => one.transport.send(2n, lane, bytes(`first ${lane}`)), `the ${lane} lane is open`);
  }
  await home.until(() => two.got.length === 3, 'the first frames arrive');
  return [one, two];
}

type Claim = (title: string, run: (home: TransportHome, t: ExecutionContext) => Promise<void>) => void;

export function transportContract(test: TestFn, name: string, open: () => Promise<TransportHome>): void {
  const on: Claim = (title, run) => {
    test(`${name}: ${title}`, async (t) => {
      const home = await open();
      try {
        await run(home, t);
      } finally {
        await home.close();
      }
    });
  };
  frames(on);
  ends(on);
}

function frames(on: Claim): void {
  on('frames of each lane arrive unchanged, with who sent them', async (home, t) => {
    const [one, two] = await pair(home);
    const large = Buffer.alloc(3_000_000, 7);
    t.true(one.transport.send(2n, 'raft', large));
    t.true(one.transport.send(2n, 'call', bytes('x')));
    t.true(one.transport.send(2n, 'snapshot', bytes('y')));
    await home.until(() => two.got.length === 6, 'three more');
    t.true(two.got.every(({ from }) => from === 1n));
    const last = two.got.slice(3);
    t.is(Buffer.compare(last.find(({ lane }) => lane === 'raft')?.frame ?? bytes(''), large), 0);
    const of = (lane: Lane): readonly string[] => last.filter((each) => each.lane === lane).map(({ frame }) => text(frame));
    t.deepEqual([of('call'), of('snapshot')], [['x'], ['y']]);
  });

  on('frames of one lane arrive in the order sent, as long as nothing breaks', async (home, t) => {
    const [one, two] = await pair(home);
    for (let i = 0; i < 500; i++) t.true(one.transport.send(2n, 'raft', bytes(String(i))));
    await home.until(() => two.got.length === 503, 'all arrive');
    t.deepEqual(two.got.slice(3).map(({ frame }) => Number(text(frame))), Array.from({ length: 500 }, (_, i) => i));
  });

  on('nothing is received from within a call', async (home, t) => {
    const [one, two] = await pair(home);
    const before = two.got.length;
    one.transport.send(2n, 'raft', bytes('later'));
    t.is(two.got.length, before);
    await home.until(() => two.got.length === before + 1, 'it arrives');
  });
}

function ends(on: Claim): void {
  on('what is sent to somebody unknown is refused', async (home, t) => {
    const [one] = await pair(home);
    t.false(one.transport.send(9n, 'raft', bytes('who?')));
    t.false(one.transport.isConnected(9n));
  });

  on('who is not named any more is disconnected, and can be named again', async (home, t) => {
    const [one, two] = await pair(home);
    two.transport.setPeers(new Map());
    one.transport.setPeers(new Map());
    t.false(one.transport.isConnected(2n));
    t.false(one.transport.send(2n, 'raft', bytes('gone')));
    one.transport.setPeers(new Map([[2n, two.urls]]));
    await home.until(() => one.transport.send(2n, 'raft', bytes('back')), 'it is connected again');
    await home.until(() => two.got.some(({ frame }) => Buffer.from(frame).toString() === 'back'), 'it arrives');
  });

  on('a full lane refuses and never waits', async (home, t) => {
    const [one] = await pair(home);
    const piece = Buffer.alloc(64 << 10);
    let refused = 0;
    for (let i = 0; i < 12_000 && refused === 0; i++) if (!one.transport.send(2n, 'snapshot', piece)) refused++;
    t.is(refused, 1);
    t.true(one.transport.send(2n, 'raft', bytes('the other lanes are free')));
  });

  on('after close nothing is received and nothing is sent', async (home, t) => {
    const [one, two] = await pair(home);
    await whenDone((done) => two.transport.close(done));
    const before = two.got.length;
    t.false(two.transport.send(1n, 'raft', bytes('no')));
    t.false(two.transport.isConnected(1n));
    one.transport.send(2n, 'raft', bytes('too late'));
    await home.until(() => !one.transport.isConnected(2n), 'the other notices');
    t.is(two.got.length, before);
  });
}
