// Whole numbers as JSON may spell them (reliability SD12): what the gateway takes for which number, and what it refuses, is
// what etcd's takes and refuses.

import test from 'ava';
import { startPair, type Side } from './pair.js';
import { isInstalled } from './real-etcd.js';

/** As they stand in a body. */
const SPELLINGS: readonly string[] = [
  '2', '"2"', '0', '"0"', '-1', '"-1"', '-0', '"-0"', '02', '"02"', '"+2"', '+2', '2.0', '"2.0"', '2.5', '"2.5"', '2e0', '"2e0"',
  '1e3', '"1e3"',
  '0x10', '"0x10"', '""', '" 2"', '"2 "', 'null', 'true', '[]', '{}', '"two"', 'NaN', '"NaN"', '"Infinity"', '"1_0"',
  '9007199254740993', '"9007199254740993"', '9223372036854775807', '"9223372036854775807"', '9223372036854775808',
  '"9223372036854775808"', '-9223372036854775808', '"-9223372036854775808"', '"-9223372036854775809"', '1e30',
  '"99999999999999999999999"',
];

async function ask({ url }: Side, path: string, body: string): Promise<{ status: number; told: unknown }> {
  const answer = await fetch(`${url}/v3/${path}`, { method: 'POST', body });
  const told: unknown = await answer.json();
  // The words about a wrong number are those of a JSON reader; whether it is wrong is what counts.
  return { status: answer.status, told: answer.status === 200 ? told : null };
}

function without(told: unknown): unknown {
  if (typeof told !== 'object' || told === null) return told;
  const { header: _header, ...rest } = told as Record<string, unknown>;
  return rest;
}

test('SD12: a lease id keeps every digit, and odd spellings of numbers mean what they mean to etcd', async (t) => {
  if (!isInstalled('etcd', (line) => t.log(line))) {
    t.pass();
    return;
  }
  const pair = await startPair();
  try {
    for (const spelling of SPELLINGS) {
      for (const [path, body] of [
        ['lease/timetolive', `{"ID":${spelling}}`], ['kv/range', `{"key":"YQ==","limit":${spelling}}`],
      ] as const) {
        const [etcd, coterie] = await Promise.all(pair.sides.map((side) => ask(side, path, body)));
        t.deepEqual(
          { status: coterie?.status, told: without(coterie?.told) }, { status: etcd?.status, told: without(etcd?.told) },
          `${path} ${body}`,
        );
      }
    }
    for (const side of pair.sides) {
      const { told } = await ask(side, 'lease/grant', '{"TTL":"60","ID":"9007199254740993"}');
      t.like(told, { ID: '9007199254740993' }, side.name);
    }
  } finally {
    await pair.close();
  }
});
