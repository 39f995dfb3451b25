// What a follower may say, and when.

import test from 'ava';
import { Following } from '../../../core/raft/following.js';

test('an answer tells what is the leader\'s and durable, whichever is less', (t) => {
  const following = new Following();
  t.true(following.agree(3, 9));
  t.is(following.answer(9), 3);
  t.false(following.agree(12, 9));
  t.is(following.answer(9), 9);
});

test('what waits for the disk is answered once it is there, and only if that is news', (t) => {
  const following = new Following();
  following.agree(5, 2);
  t.true(following.isDue(2));
  following.answer(2);
  t.false(following.isDue(2));
  t.true(following.isDue(4));
  t.is(following.answer(4), 4);
  t.true(following.isDue(8));
  t.is(following.answer(8), 5);
  t.false(following.isDue(9));
});

test('agreement does not shrink within a term, and ends with it', (t) => {
  const following = new Following();
  following.agree(7, 7);
  following.agree(3, 7);
  t.is(following.answer(7), 7);
  following.reset();
  t.is(following.answer(7), 0);
});

test('an answer is owed for what waits for the disk, and neither for what is there nor to the next leader', (t) => {
  const following = new Following();
  following.agree(5, 2);
  t.is(following.answer(9), 5);
  following.agree(7, 9);
  t.false(following.isDue(9), 'the append itself was answered');
  following.agree(12, 9);
  t.is(following.answer(9), 9);
  following.reset();
  following.agree(3, 5);
  t.false(following.isDue(5), 'nothing waits for the disk');
  following.agree(6, 5);
  t.true(following.isDue(6), 'this leader has been told nothing yet');
});
