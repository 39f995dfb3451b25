// `coterie register` as a process, supervising real services: in the registry exactly while the service can take traffic,
// in the right order at the end, and nothing left running or registered whoever ends first.

import test, { type ExecutionContext } from 'ava';
import { discover, evict, readServices, type Instance } from '../../../recipes/registry.js';
import { freePort } from '../../interop/free-ports.js';
import { Proxy } from '../../recipes/homes.js';
import { becomes, begin, isAlive, useStores, type Running, type Store } from './running.js';

const { stores, fresh } = useStores('s');

async function instancesOf({ client }: Store, service: string): Promise<readonly Instance[]> {
  return (await readServices(client, [service])).services.get(service) ?? [];
}

async function reasonOf({ client }: Store, service: string): Promise<string | undefined> {
  return (await readServices(client, [service])).departed.get(service)?.[0]?.reason;
}

/** Prints its number, listens, at once or when told by `SIGUSR2`, and does `atEnd` when asked to end. */
function service(port: number, options: { isTold?: boolean; atEnd?: string } = {}): readonly string[] {
  const { isTold = false, atEnd = 'process.stdout.write("asked\\n"); process.exit(3)' } = options;
  const script = `
    process.on('SIGTERM', () => { ${atEnd} });
    const listen = () => { require('node:net').createServer().listen(${port}, '127.0.0.1'); };
    if (${isTold}) process.once('SIGUSR2', listen); else listen();
    process.stdout.write(process.pid + ' ' + process.env.COTERIE_SERVICE + ' ' + process.env.COTERIE_INSTANCE_ID + '\\n');
    setInterval(() => undefined, 1000);`;
  return ['--', process.execPath, '-e', script];
}

async function pidIn(running: Running): Promise<number> {
  return Number((await running.says(/^(\d+) /))[1]);
}

function isRegistered(t: ExecutionContext, running: Running, name: string): Promise<RegExpExecArray> {
  t.timeout(60_000);
  return running.complains(new RegExp(`coterie register: ${name}/\\S+ is registered at `));
}

test.serial('registered once its port answers; at the end draining, then out, then asked to end', async (t) => {
  for (const store of stores()) {
    const [name, port] = [fresh(), await freePort()];
    const flags = ['--id', 'i1', '--weight', '5', '--zone', 'z', '--tags', 'a,b', '--meta', 'v=1.2,w=x=y', '--drain', '1s'];
    const command = ['register', name, '--port', String(port), ...flags, ...service(port, { isTold: true })];
    const running = begin(t, store.url, command);
    t.regex((await running.says(/^.*\n/))[0], new RegExp(`^\\d+ ${name} i1\n$`));
    t.deepEqual(await instancesOf(store, name), [], 'not before it answers');
    process.kill(await pidIn(running), 'SIGUSR2');
    await isRegistered(t, running, name);
    const [instance] = await instancesOf(store, name);
    t.like(instance, { id: 'i1', address: '127.0.0.1', port, weight: 5, zone: 'z', state: 'up' });
    t.deepEqual([instance?.tags, instance?.meta], [['a', 'b'], { v: '1.2', w: 'x=y' }]);
    const seen: string[] = [];
    const view = await discover(store.client, name).ready();
    const follow = (async () => {
      for await (const { instances } of view.changes) {
        seen.push(`${instances[0]?.state ?? 'out'}${running.stdout().includes('asked') ? ' after it was asked to end' : ''}`);
      }
    })();
    running.signal('SIGTERM');
    t.is((await running.ended).code, 3);
    t.regex(running.stdout(), /\nasked\n$/);
    await view.close();
    await follow;
    t.deepEqual(seen.slice(-3), ['up', 'draining', 'out'], store.name);
    t.is(await reasonOf(store, name), 'drained');
  }
});

test.serial('a service that ends by itself is taken out at once, and not started again', async (t) => {
  const [store] = stores();
  const [name, port] = [fresh(), await freePort()];
  const running = begin(t, store.url, ['register', name, '--port', String(port), ...service(port)]);
  const pid = await pidIn(running);
  await isRegistered(t, running, name);
  process.kill(pid, 'SIGKILL');
  t.is((await running.ended).code, 137);
  t.deepEqual(await instancesOf(store, name), []);
  t.is(await reasonOf(store, name), 'closed');
});

test.serial('a service that never answers is ended, and was never registered', async (t) => {
  const [store] = stores();
  const [name, port] = [fresh(), await freePort()];
  // A shell: it says its number long before the wait is over, also where a start of Node takes longer than that.
  const silent = ['--', 'sh', '-c', 'echo "$$ listens nowhere"; exec sleep 1000'];
  const words = ['register', name, '--port', String(port), '--wait', '2s', ...silent];
  const running = begin(t, store.url, words);
  const pid = await pidIn(running);
  const { code, stderr } = await running.ended;
  t.is(code, 1);
  t.regex(stderr, /^coterie register: 127\.0\.0\.1:\d+ does not answer after 2s\n {2}see whether the command listens there/);
  t.false(isAlive(pid));
  t.is(await reasonOf(store, name), undefined);
});

test.serial('evicted, or replaced by a newer process with its id, it ends the service and says so', async (t) => {
  for (const store of stores()) {
    const [name, port] = [fresh(), await freePort()];
    const words = ['register', name, '--port', String(port), '--id', 'one', '--wait', '0'];
    const running = begin(t, store.url, [...words, ...service(port)]);
    const pid = await pidIn(running);
    await isRegistered(t, running, name);
    t.true(await evict(store.client, name, 'one'));
    const { code, stderr } = await running.ended;
    t.is(code, 1, store.name);
    t.regex(stderr, /the registration of \S+ has ended: evicted\n {2}it is not started again/);
    t.false(isAlive(pid));
    const older = begin(t, store.url, [...words, ...service(port)]);
    await isRegistered(t, older, name);
    // On a port of its own: the older one still has the other.
    const other = await freePort();
    const newer = begin(t, store.url, [...words, '--port', String(other), ...service(other)]);
    t.true(await pidIn(newer) > 0);
    t.is((await older.ended).code, 1);
    t.regex(older.stderr(), /superseded: a newer process registered the same id/);
    newer.signal('SIGTERM');
    t.is((await newer.ended).code, 3);
  }
});

test.serial('an outage of the store ends nothing: the service goes on and is registered again', async (t) => {
  for (const store of stores()) {
    const [name, port] = [fresh(), await freePort()];
    const proxy = await Proxy.start(t, store.port);
    const words = ['register', name, '--port', String(port), '--ttl', '2', '--drain', '0', ...service(port)];
    const running = begin(t, `http://127.0.0.1:${proxy.port}`, words);
    const pid = await pidIn(running);
    await isRegistered(t, running, name);
    proxy.refuse();
    t.true(await becomes(async () => (await instancesOf(store, name)).length === 0), store.name);
    await running.complains(/is not registered now: .*; it goes on, and will be registered again\n/);
    t.true(isAlive(pid));
    proxy.accept();
    await running.complains(/is registered again\n/);
    t.is((await instancesOf(store, name)).length, 1);
    running.signal('SIGTERM');
    t.is((await running.ended).code, 3);
  }
});

test.serial('a service that does not end when asked is ended; a second signal cuts the draining short', async (t) => {
  const [store] = stores();
  const [name, port] = [fresh(), await freePort()];
  const words = ['register', name, '--port', String(port), '--drain', '10m', '--grace', '300ms', ...service(port, { atEnd: '' })];
  const running = begin(t, store.url, words);
  const pid = await pidIn(running);
  await isRegistered(t, running, name);
  running.signal('SIGTERM');
  t.true(await becomes(async () => (await instancesOf(store, name))[0]?.state === 'draining'));
  t.true(isAlive(pid));
  running.signal('SIGTERM');
  t.is((await running.ended).code, 137);
  t.false(isAlive(pid));
  t.deepEqual(await instancesOf(store, name), []);
});

test.serial('when it is killed itself the service ends, and the registry says that it expired', async (t) => {
  const [store] = stores();
  const [name, port] = [fresh(), await freePort()];
  const words = ['register', name, '--port', String(port), '--ttl', '2', '--grace', '300ms', ...service(port, { atEnd: '' })];
  const running = begin(t, store.url, words);
  const pid = await pidIn(running);
  await isRegistered(t, running, name);
  running.signal('SIGKILL');
  t.true(await becomes(() => !isAlive(pid)));
  t.true(await becomes(async () => await reasonOf(store, name) === 'expired'));
});

test.serial('without a command it keeps registered what somebody else runs, until asked to end', async (t) => {
  const [store] = stores();
  const name = fresh();
  const running = begin(t, store.url, ['register', name, '--port', '9', '--id', 'x', '--drain', '0', '--json']);
  const [line] = await running.says(/^.*\n/);
  t.deepEqual(JSON.parse(line), { service: name, id: 'x', address: '127.0.0.1', port: 9 });
  t.is((await instancesOf(store, name)).length, 1);
  running.signal('SIGINT');
  t.is((await running.ended).code, 0);
  t.is(await reasonOf(store, name), 'drained');
});

test.serial('while the store cannot be told, or the words are wrong, nothing is started', async (t) => {
  const [store] = stores();
  const echo = ['--', 'echo', 'never'];
  const none = await begin(t, 'http://127.0.0.1:1', ['register', 'a', '--port', '1', '--dial-timeout', '300ms', ...echo]).ended;
  t.deepEqual([none.code, none.stdout], [1, '']);
  t.regex(none.stderr, /^coterie register: unavailable: /);
  const wrong: readonly (readonly [words: readonly string[], says: string])[] = [
    [['a'], '--port is missing\n  say where the service answers'],
    [['a', '--port', '0'], '--port 0: not such a number\n  give a whole number from 1 to 65535'],
    [['a/b', '--port', '1'], 'service is "a/b"; it must be 1 to 63 letters'],
    [['a', '--port', '1', '--meta', 'x'], '--meta x: not a pair\n  write NAME=VALUE'],
    [['a', '--port', '1', '--endpoints', 'http://10.0.0.1:2379'], '--address is missing\n  say where others reach the service'],
    [['a', '--port', '1', '--drain', 'soon'], '--drain soon: not a duration'],
  ];
  for (const [words, says] of wrong) {
    const { code, stdout, stderr } = await begin(t, store.url, ['register', ...words, ...echo]).ended;
    t.deepEqual([code, stdout], [2, ''], says);
    t.true(stderr.includes(says), stderr);
  }
  const missing = await begin(t, store.url, ['register', 'a', '--port', '1', '--', 'coterie-no-such-program']).ended;
  t.is(missing.code, 127);
  t.regex(missing.stderr, /the command cannot be run: spawn coterie-no-such-program ENOENT/);
});
