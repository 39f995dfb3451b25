// What a head says that changes from answer to answer; that it is Node's otherwise is short-way.test.ts.

import test from 'ava';
import { calendarMs } from '../../../../core/base/clock.js';
import { ANY_SITE } from '../../../../core/wire/cross-site.js';
import { AnswerHeads } from '../../../../core/wire/http1/answer-heads.js';

const REFUSED = { status: 400, text: 'Bad Request' };

test('a head bears the date of its second', async (t) => {
  const heads = new AnswerHeads(ANY_SITE);
  const dates = (): (string | undefined)[] => {
    const texts = [heads.answer(1, false), heads.answer(1, true), heads.refusal(REFUSED, 1, false)];
    return texts.map((text) => /\r\nDate: ([^\r]+ GMT)\r\n/.exec(text)?.[1]);
  };
  const before = dates();
  const second = Math.floor(calendarMs() / 1000);
  while (Math.floor(calendarMs() / 1000) <= second + 1) await new Promise((resolve) => setTimeout(resolve, 20));
  for (const [i, date] of dates().entries()) {
    t.true(Date.parse(before[i] ?? '') < Date.parse(date ?? ''), `${before[i]}, then ${date}`);
  }
});

test('the last answer of a connection says so, be it an answer or a refusal', (t) => {
  const heads = new AnswerHeads(ANY_SITE);
  for (const isLast of [false, true]) {
    for (const text of [heads.answer(7, isLast), heads.refusal(REFUSED, 7, isLast)]) {
      t.is(text.includes('\r\nConnection: close\r\n'), isLast);
      t.is(text.includes('\r\nConnection: keep-alive\r\n'), !isLast);
      t.true(text.endsWith('\r\nContent-Length: 7\r\n\r\n'));
    }
  }
});
