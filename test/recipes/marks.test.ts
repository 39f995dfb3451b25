// Which entries of one session are in use.

import test from 'ava';
import { Marks } from '../../recipes/marks.js';

test('the first in a line has the bare key, others are numbered, and what is given back is taken again', (t) => {
  const marks = new Marks();
  const [a, b, c] = [marks.take('x/'), marks.take('x/'), marks.take('x/')];
  t.deepEqual([a, b, c].map(({ text }) => text), ['', '-1', '-2']);
  t.is(marks.take('y/').text, '', 'another line');
  marks.give('x/', b);
  marks.give('x/', b);
  t.is(marks.take('x/').text, '-1');
  marks.give('x/', a);
  t.is(marks.take('x/').text, '');
});

test('a mark given back keeps its epoch for whoever takes it next', (t) => {
  const marks = new Marks();
  const first = marks.take('x/');
  first.epoch = 3;
  marks.give('x/', first);
  const again = marks.take('x/');
  t.is(again.text, '');
  t.is(again.epoch, 3);
  t.is(marks.take('x/').epoch, 0);
});
