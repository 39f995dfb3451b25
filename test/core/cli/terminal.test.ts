// An answer that is not shown while it is typed, from a keyboard that is only data; and words that no command is called by.

import test from 'ava';
import { PassThrough } from 'node:stream';
import { typedSecret, type Keyboard } from '../../../core/cli/terminal.js';
import { play } from './in-process.js';

interface Typed {
  /** What was answered; null: a refusal. */
  readonly answer: string | null;
  readonly interrupts: number;
  readonly shown: string;
  /** The modes of the terminal, one after another. */
  readonly raw: readonly boolean[];
}

async function type(...chunks: readonly (string | Buffer)[]): Promise<Typed> {
  const raw: boolean[] = [];
  const keys = new PassThrough();
  const keyboard: Keyboard = Object.assign(keys, {
    setRawMode: (isRaw: boolean) => {
      raw.push(isRaw);
      return keyboard as NodeJS.ReadStream;
    },
  }) as PassThrough & Keyboard;
  let [shown, interrupts] = ['', 0];
  const doors = { say: (text: string) => void (shown += text), interrupt: () => void (interrupts += 1) };
  const asked = typedSecret(keyboard, 'Password of ann: ', doors);
  for (const chunk of chunks) keys.write(chunk);
  const answer = await asked.catch(() => null);
  return { answer, interrupts, shown, raw };
}

test('a password is taken as it is typed and not shown; the terminal is given back', async (t) => {
  t.deepEqual(await type('se', 'cret\r'), { answer: 'secret', interrupts: 0, shown: 'Password of ann: \n', raw: [true, false] });
});

test('a slip is mended by backspace, a line by Ctrl-U, and Ctrl-D ends an answer', async (t) => {
  t.is((await type('abx\u007fc\r')).answer, 'abc');
  t.is((await type('ab€\bc\r')).answer, 'abc');
  t.is((await type('wrong\u0015right\n')).answer, 'right');
  t.is((await type('\u0004')).answer, '');
});

test('a letter of several bytes may come in two parts', async (t) => {
  const bytes = Buffer.from('grün\r');
  t.is((await type(bytes.subarray(0, 3), bytes.subarray(3))).answer, 'grün');
});

test('Ctrl-C at a password is the signal it would be elsewhere, with the terminal as it was', async (t) => {
  t.deepEqual(await type('hal\u0003'), { answer: null, interrupts: 1, shown: 'Password of ann: \n', raw: [true, false] });
});

test('a misspelt command is named also behind flags of all commands', async (t) => {
  const { code, stderr } = await play('--endpoints 127.0.0.1:1 gett x');
  t.is(code, 2);
  t.is(stderr, 'coterie: gett: no such command\n  did you mean coterie get?\n');
  t.regex((await play('downgrade enable 3.3')).stderr, /downgrade: no such command\n {2}\S/);
  t.regex((await play('--data-dir x')).stderr, /flags follow the command: coterie serve --data-dir x/);
  t.regex((await play('--endpoints x serve')).stderr, /flags follow the command: coterie serve --endpoints x/);
});
