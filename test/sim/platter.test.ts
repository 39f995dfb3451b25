// The simulated disk: what a power cut may take, and what it may not.

import test from 'ava';
import { EventLoop } from './loop.js';
import { DiskSession, Platter, type LossPolicy } from './platter.js';
import { Dice } from './random.js';
import { Scheduler } from './scheduler.js';

const POLICIES: readonly LossPolicy[] = ['prefix', 'sectors', 'torn', 'zeros', 'newest', 'all_lost'];

interface Disk {
  readonly platter: Platter;
  readonly session: DiskSession;
  readonly run: () => void;
  readonly end: () => void;
}

function disk(seed: number, policy: LossPolicy): Disk {
  const scheduler = new Scheduler(seed);
  const speed = { appendMs: 0.1, syncMs: 1, readMs: 0.1 };
  const platter = new Platter(new Dice(seed, 'disk'), { ...speed, policy, afterFailure: 'reverted' });
  const profile = { rate: 1, originMs: 0, stallChance: 0, stallMs: 0 };
  const owner = { onIterated: () => undefined, onThrown: (error: unknown) => { throw error; }, onKilled: () => undefined };
  const loop = new EventLoop(scheduler, 0, new Dice(seed, 'loop'), profile, owner);
  const session = new DiskSession(platter, loop, scheduler, 0);
  const run = (): void => {
    while (scheduler.step(Infinity)) continue;
  };
  const end = (): void => {
    loop.die();
    session.abandon();
    platter.powerCut();
  };
  return { platter, session, run, end };
}

function ok(error: Error | null): void {
  if (error !== null) throw error;
}

for (const policy of POLICIES) {
  test(`what was synced outlasts a power cut, whatever else happened (${policy})`, (t) => {
    for (let seed = 1; seed <= 200; seed++) {
      const dice = new Dice(seed, 'test');
      const { platter, session, run, end } = disk(seed, policy);
      const synced = Buffer.from(`synced ${'x'.repeat(dice.below(1500))}`);
      session.append('/a', [synced], ok);
      session.sync('/a', ok);
      run();
      session.append('/a', [Buffer.alloc(dice.below(3000), 7)], ok);
      if (dice.chance(0.5)) run();
      end();
      const left = platter.durableCopy().get('/a');
      t.true(left !== undefined && left.subarray(0, synced.length).equals(synced), `seed ${seed}`);
    }
  });
}

test('what was not synced may be kept, lost, torn or zero, and each of it happens', (t) => {
  const sizes = new Set<number>();
  let torn = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const { platter, session, run, end } = disk(seed, POLICIES[seed % POLICIES.length] ?? 'prefix');
    session.append('/a', [Buffer.from('base')], ok);
    session.sync('/a', ok);
    session.append('/a', [Buffer.alloc(2048, 7)], ok);
    run();
    end();
    const left = platter.durableCopy().get('/a') ?? Buffer.alloc(0);
    sizes.add(left.length);
    if (left.includes(0) && left.includes(7)) torn++;
  }
  t.true(sizes.has(4) && sizes.size > 50);
  t.true(torn > 20);
});

test('what is written over synced bytes is there or not, in parts, and what stands around it stays', (t) => {
  let torn = 0;
  const whole = { old: 0, new: 0 };
  for (let seed = 1; seed <= 300; seed++) {
    const { platter, session, run, end } = disk(seed, POLICIES[seed % POLICIES.length] ?? 'prefix');
    session.write('/a', 0, [Buffer.alloc(8192, 1)], ok);
    session.sync('/a', ok);
    session.write('/a', 700, [Buffer.alloc(1000, 7), Buffer.alloc(1000, 7)], ok);
    run();
    t.true(platter.unsyncedBytes('/a') > 0);
    end();
    const left = platter.durableCopy().get('/a') ?? Buffer.alloc(0);
    t.is(left.length, 8192, `seed ${seed}`);
    const over = left.subarray(700, 2700);
    t.true(Buffer.concat([left.subarray(0, 700), left.subarray(2700)]).every((byte) => byte === 1), `seed ${seed}`);
    t.true(over.every((byte) => byte === 1 || byte === 7), `seed ${seed}`);
    if (over.includes(1) && over.includes(7)) torn++;
    else whole[over.includes(7) ? 'new' : 'old']++;
  }
  t.true(torn > 30 && whole.old > 30 && whole.new > 0, `${torn} torn, ${whole.old} old, ${whole.new} new`);
});

test('a file that was never synced may be gone, a renamed one has one name', (t) => {
  const outcomes = new Set<string>();
  for (let seed = 1; seed <= 100; seed++) {
    const { platter, session, run, end } = disk(seed, 'sectors');
    session.append('/new', [Buffer.from('n')], ok);
    session.append('/b.tmp', [Buffer.from('whole')], ok);
    session.sync('/b.tmp', ok);
    run();
    session.rename('/b.tmp', '/b', ok);
    if (seed % 2 === 0) run();
    end();
    const names = platter.names();
    outcomes.add(names.join(' '));
    t.is(names.filter((name) => name.startsWith('/b')).length, 1, names.join(' '));
    if (seed % 2 === 0) t.true(names.includes('/b'), 'a rename that was answered is durable');
  }
  t.true(outcomes.size >= 3, [...outcomes].join(' | '));
});

test('a failed sync leaves nothing durable, and says so', (t) => {
  const { platter, session, run, end } = disk(5, 'all_lost');
  let answer: Error | null = null;
  session.append('/a', [Buffer.from('lost')], ok);
  run();
  platter.errorChance = 1;
  session.sync('/a', (error) => {
    answer = error;
  });
  run();
  t.regex(String(answer), /EIO/);
  end();
  t.is(platter.durableCopy().get('/a')?.length ?? 0, 0);
});
