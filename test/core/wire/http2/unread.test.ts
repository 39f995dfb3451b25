// Whoever holds the most loses it, whether by one connection or by many.

import test from 'ava';
import { UnreadRequests, type Holder } from '../../../../core/wire/http2/unread.js';

interface Fake extends Holder {
  isCut: boolean;
}

function holder(unread: UnreadRequests, address: string, tells = true): Fake {
  const fake: Fake = {
    address,
    isCut: false,
    cutOff: () => {
      fake.isCut = true;
      if (tells) unread.set(fake, 0);
    },
  };
  return fake;
}

test('as long as there is room nobody is cut off, and what is given back is room again', (t) => {
  const unread = new UnreadRequests(100);
  const [a, b] = [holder(unread, 'a'), holder(unread, 'b')];
  for (let i = 0; i < 10; i++) {
    unread.set(a, 60);
    unread.set(b, 40);
    t.is(unread.bytes, 100);
    unread.set(a, 0);
    unread.set(b, 0);
  }
  t.is(unread.bytes, 0);
  t.false(a.isCut || b.isCut);
});

test('the address that holds the most loses its largest connection, whoever asked for more last', (t) => {
  const unread = new UnreadRequests(100);
  const honest = holder(unread, 'honest');
  const greedy = [10, 15, 12, 14, 13, 11].map((bytes) => {
    const one = holder(unread, 'greedy');
    unread.set(one, bytes);
    return one;
  });
  unread.set(honest, 30);
  t.deepEqual(greedy.map(({ isCut }) => isCut), [false, true, false, false, false, false]);
  t.false(honest.isCut);
  t.is(unread.bytes, 90);
  unread.set(honest, 45);
  t.is(greedy.filter(({ isCut }) => isCut).length, 2);
  t.false(honest.isCut);
  t.is(unread.bytes, 45 + 46);
  // From here on it is the honest one who holds the most.
  unread.set(honest, 55);
  t.true(honest.isCut);
  t.is(unread.bytes, 46);
});

test('one that does not tell that it holds nothing any more is not counted either', (t) => {
  const unread = new UnreadRequests(100);
  const one = holder(unread, 'a', false);
  unread.set(one, 101);
  t.true(one.isCut);
  t.is(unread.bytes, 0);
});
