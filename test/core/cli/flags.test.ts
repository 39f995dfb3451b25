// How words are told from flags: whatever etcdctl's users are used to, and a reason where it cannot be.

import test from 'ava';
import { firstArgument, FlagValues, parseWords, type CommandFlag, type Words } from '../../../core/cli/flags.js';
import { Refusal } from '../../../core/cli/refusal.js';

const FLAGS: readonly CommandFlag[] = [
  { name: 'prefix', help: '' }, { name: 'interactive', short: 'i', help: '' }, { name: 'rev', value: 'N', help: '' },
  { name: 'write-out', value: 'FORMAT', short: 'w', help: '' }, { name: 'endpoints', value: 'URLS', repeated: true, help: '' },
];

function read(line: string): Words {
  return parseWords(FLAGS, line.split(' '), 'usage: x');
}

test('flags stand anywhere, in every spelling; the last word counts', (t) => {
  const { values, args, behind } = read('a --rev=5 --prefix b -i -w json --rev -7 - --endpoints x,y --endpoints z -- --prefix c');
  t.deepEqual(Object.fromEntries(values), {
    rev: '-7', prefix: true, interactive: true, 'write-out': 'json', endpoints: 'x,y,z',
  });
  t.deepEqual([args, behind], [['a', 'b', '-'], ['--prefix', 'c']]);
  for (const line of ['-wjson', '-w=json', '-w json', '--write-out=json']) t.is(read(line).values.get('write-out'), 'json', line);
  t.deepEqual([...read('--prefix=false -i=true').values], [['prefix', false], ['interactive', true]]);
  t.is(read('--rev=').values.get('rev'), '');
});

test('what cannot be read is said, with what was meant', (t) => {
  for (const [line, message, remedy] of [
    ['--prefx', '--prefx: no such flag', 'did you mean --prefix?'], ['-x', '-x: no such flag', 'usage: x'],
    ['a --rev', '--rev: its value is missing', 'usage: x'], ['--prefix=maybe', '--prefix=maybe: neither true nor false', ''],
  ] as const) {
    const error = t.throws(() => read(line), { instanceOf: Refusal, message });
    t.true(error.remedy.startsWith(remedy), error.remedy);
  }
});

test('the first word that is no flag is found behind flags and their values', (t) => {
  t.is(firstArgument(FLAGS, ['-w', 'json', '--prefix', '--endpoints=x', 'list', 'more']), 4);
  t.is(firstArgument(FLAGS, ['-wjson', 'get']), 1);
  t.is(firstArgument(FLAGS, ['--unknown', 'get']), 1);
  t.deepEqual([['--prefix'], ['--', 'get']].map((words) => firstArgument(FLAGS, words)), [-1, -1]);
});

test('words become numbers, lists and choices, or are named', (t) => {
  const said = new Map([['rev', '-5'], ['big', '12'], ['list', 'a, b,'], ['order', 'ascend'], ['on', 'true'], ['odd', 'x']]);
  const flags = new FlagValues((name) => said.get(name) ?? null);
  t.deepEqual([flags.number('rev'), flags.number('big'), flags.number('none')], [0, 12, 0]);
  t.deepEqual(flags.list('list'), ['a', 'b']);
  t.deepEqual([flags.choice('order', ['ASCEND', 'DESCEND']), flags.choice('none', ['a'])], ['ASCEND', null]);
  t.deepEqual([flags.isSet('on'), flags.isSet('none')], [true, false]);
  t.throws(() => flags.number('odd'), { message: '--odd x: not a whole number' });
  t.throws(() => flags.choice('odd', ['a', 'b']), { message: '--odd x: not one of its words' });
});
