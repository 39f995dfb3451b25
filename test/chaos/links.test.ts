// The proxy of the campaigns, between two sockets of this process: rules hold for one direction only, a cut without known
// frames loses nothing and holds everything, and with frames it loses messages and keeps the connection.

import test from 'ava';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Prng } from '../../core/base/prng.js';
import { freePorts } from '../interop/free-ports.js';
import { Links, type Splitter } from './links.js';
import { pause } from './pause.js';

interface Rig {
  readonly links: Links;
  /** The one that dials, and the one that was dialled. */
  readonly a: Socket;
  readonly b: Socket;
  heardByA(): string;
  heardByB(): string;
  close(): Promise<void>;
}

/** Both ends live in this process, so whoever dials is taken for the first member: a. */
async function rig(newSplitter: (() => Splitter) | null): Promise<Rig> {
  const [port = 0, targetPort = 0] = await freePorts(2);
  const links = new Links(new Prng(1), newSplitter);
  const [unused = 0, unusedTarget = 0] = await freePorts(2);
  await links.add({ name: 'a', pid: () => process.pid }, unused, unusedTarget);
  await links.add({ name: 'b', pid: () => null }, port, targetPort);
  let server: Server | null = null;
  const accepted = new Promise<Socket>((resolve) => {
    server = createServer(resolve).listen(targetPort, '127.0.0.1');
  });
  const a = connect(port, '127.0.0.1');
  const b = await accepted;
  let toA = '';
  let toB = '';
  a.on('data', (chunk: Buffer) => (toA += chunk.toString()));
  b.on('data', (chunk: Buffer) => (toB += chunk.toString()));
  for (const side of [a, b]) side.on('error', () => side.destroy());
  const close = async (): Promise<void> => {
    a.destroy();
    b.destroy();
    server?.close();
    await links.close();
  };
  return { links, a, b, heardByA: () => toA, heardByB: () => toB, close };
}

async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 400 && !isSo(); tries++) await pause(5);
}

/** Messages that end in a full stop; the tag is their first letter. */
function sentences(): Splitter {
  let rest = '';
  return (chunk) => {
    const parts = (rest + Buffer.from(chunk).toString()).split('.');
    rest = parts.pop() ?? '';
    return parts.map((part) => ({ bytes: Buffer.from(`${part}.`), tags: [part.slice(0, 1)] }));
  };
}

test('a cut of bytes holds them in one direction only, and heals by delivering or by a reset', async (t) => {
  const { links, a, b, heardByA, heardByB, close } = await rig(null);
  a.write('1');
  await until(() => heardByB() === '1');
  t.is(heardByB(), '1');
  links.set('a', 'b', { isCut: true });
  a.write('2');
  b.write('3');
  await until(() => heardByA() === '3');
  t.is(heardByA(), '3');
  t.is(heardByB(), '1');
  links.heal();
  await until(() => heardByB() === '12' || b.destroyed);
  t.true(heardByB() === '12' || b.destroyed);
  await close();
});

test('a cut of messages loses them and keeps the connection', async (t) => {
  const { links, a, heardByB, close } = await rig(sentences);
  links.set('a', 'b', { isCut: true });
  a.write('lost.al');
  await until(() => links.counts.lost === 1);
  links.heal();
  a.write('so kept.');
  await until(() => heardByB() !== '');
  t.is(heardByB(), 'also kept.');
  await close();
});

test('a rule can choose messages by their tag, and double them', async (t) => {
  const { links, a, heardByB, close } = await rig(sentences);
  links.set('a', 'b', { isCut: true, onlyTags: ['v'] });
  a.write('vote.append.');
  await until(() => heardByB() !== '');
  t.is(heardByB(), 'append.');
  links.set('a', 'b', { duplicatePercent: 100 });
  a.write('more.');
  await until(() => heardByB().endsWith('more.more.'));
  t.is(heardByB(), 'append.more.more.');
  await close();
});

test('who is no member gets no connection', async (t) => {
  const [port = 0, targetPort = 0] = await freePorts(2);
  const links = new Links(new Prng(1), null);
  await links.add({ name: 'a', pid: () => null }, port, targetPort);
  const stranger = connect(port, '127.0.0.1');
  stranger.on('error', () => stranger.destroy());
  await until(() => stranger.destroyed);
  t.true(stranger.destroyed);
  await links.close();
});
