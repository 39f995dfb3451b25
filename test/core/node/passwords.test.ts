// The queue before the one thread that hashes passwords, and what becomes of those who guess.

import test from 'ava';
import { whenDone } from '../../../core/base/done.js';
import type { Secrets } from '../../../core/base/secrets.js';
import { isApiError } from '../../../core/errors.js';
import { Passwords } from '../../../core/node/passwords.js';
import { testSecrets } from '../../model/secrets.js';
import { SimClock } from '../../sim/clock.js';

function desk(over: Partial<Secrets> = {}): { clock: SimClock; passwords: Passwords; asked: () => number } {
  const clock = new SimClock();
  let asked = 0;
  const secrets = testSecrets(clock);
  const counted: Secrets = {
    ...secrets,
    verify: (password, hash, done) => {
      asked += 1;
      secrets.verify(password, hash, done);
    },
    ...over,
  };
  return { clock, passwords: new Passwords(counted, clock, 4), asked: () => asked };
}

test('SB13 ten thousand guesses are slowed down, counted, and lock out nobody else', async (t) => {
  const { clock, passwords, asked } = desk();
  const hash = await clock.until(whenDone<string>((done) => passwords.hash('right', done)));
  const guess = (name: string, password: string): Promise<boolean | string> => {
    const judged = whenDone<boolean>((done) => passwords.verify(name, password, hash, done));
    return clock.until(judged.catch((error: unknown) => (isApiError(error) ? error.code : 'other')));
  };
  let refused = 0;
  for (let i = 0; i < 10_000; i++) {
    const outcome = await guess('victim', `wrong ${i}`);
    if (outcome === 'too_many_logins') refused += 1;
    else t.false(outcome);
    if (i % 100 === 0) t.true(await guess('other', 'right'));
  }
  t.true(refused > 9_900, String(refused));
  t.is(passwords.counts.throttled, refused);
  t.is(passwords.counts.failed, 10_000 - refused);
  t.true(asked() < 300, String(asked()));
  // Whoever knows it gets in after a pause of seconds.
  await clock.advance(5001);
  t.true(await guess('victim', 'right'));
  t.true(await guess('victim', 'right'));
});

test('SB2 the queue for the one thread is short, and what does not fit is told so', async (t) => {
  const waiting: ((error: null, isRight: boolean) => void)[] = [];
  const { clock, passwords } = desk({ verify: (_password, _hash, done) => void waiting.push(done) });
  const outcomes: unknown[] = [];
  const attempt = (name: string): void => {
    passwords.verify(name, 'x', null, (error, isRight) => void outcomes.push(error ?? isRight));
  };
  for (let i = 0; i < 40; i++) attempt(`user ${i % 2}`);
  await clock.advance(1);
  // Eight of each name.
  t.is(waiting.length, 16);
  t.is(outcomes.filter((each) => isApiError(each, 'too_many_logins')).length, 24);
  for (let i = 0; i < 40; i++) attempt(`another ${i}`);
  t.is(waiting.length, 32);
  for (const done of waiting.splice(0)) done(null, true);
  // True of no hash is still false.
  t.is(outcomes.filter((each) => each === false).length, 32);
});

test('SB4 a name nobody has costs a check like any other, and never passes', async (t) => {
  const { clock, passwords, asked } = desk();
  const nobody = await clock.until(whenDone<boolean>((done) => passwords.verify('nobody', '', null, done)));
  t.false(nobody);
  t.is(asked(), 1);
});

test('SB1 a password that bcrypt would cut off is refused before it is hashed', async (t) => {
  const { clock, passwords } = desk();
  const hashing = whenDone<string>((done) => passwords.hash('ü'.repeat(37), done));
  const long = await clock.until(hashing.catch((error: unknown) => error));
  t.true(isApiError(long, 'password_unfit'), String(long));
  t.truthy(await clock.until(whenDone<string>((done) => passwords.hash('ü'.repeat(36), done))));
});

test('SB13 who guesses cannot make the throttle forget a name by crowding it out with names that cost nothing', async (t) => {
  const { clock, passwords, asked } = desk();
  const attempt = (name: string): Promise<boolean | string> => {
    const judged = whenDone<boolean>((done) => passwords.verify(name, 'wrong', null, done));
    return clock.until(judged.catch((error: unknown) => (isApiError(error) ? error.code : 'other')));
  };
  for (let i = 0; i < 5; i++) t.false(await attempt('victim'));
  t.is(await attempt('victim'), 'too_many_logins');
  const before = asked();
  // All in one turn: what the queue does not hold is refused, and is not what a name is forgotten for.
  for (let i = 0; i < 5000; i++) passwords.verify(`nobody ${i}`, 'x', null, () => undefined);
  t.is(asked() - before, 32);
  t.is(await attempt('victim'), 'too_many_logins');
  await clock.advance(1);
  t.is(passwords.counts.throttled, 5000 - 32 + 2);
});

test('SB13 of a name that fails only its digest is kept, however long the name', async (t) => {
  const { clock, passwords } = desk({ digest: (text) => `${text.length}` });
  const attempt = (name: string): Promise<boolean | string> => {
    const judged = whenDone<boolean>((done) => passwords.verify(name, 'wrong', null, done));
    return clock.until(judged.catch((error: unknown) => (isApiError(error) ? error.code : 'other')));
  };
  for (let i = 0; i < 5; i++) t.false(await attempt('a'.repeat(100_000)));
  t.is(await attempt('b'.repeat(100_000)), 'too_many_logins');
  t.false(await attempt('c'));
});
