// Where the proxy may connect to, when the list of instances is written by whoever may register.

import test from 'ava';

import { createTargets, isInside, toBlockList } from '../../sidecar/proxy-targets.js';

const ALLOWED = null;

test('by default loopback, link-local, metadata and other special addresses are refused', (t) => {
  const targets = createTargets();
  for (const address of [
    '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1', '::ffff:7f00:1', '169.254.169.254', '::ffff:169.254.169.254', 'fe80::1',
    '0.0.0.0', '::', '224.0.0.1', '255.255.255.255', 'fd00:ec2::254', '100.100.100.200',
    '168.63.129.16', '192.0.0.192', 'fd20:ce::254', 'fd00:c1::a9fe:a9fe',
    '64:ff9b::a9fe:a9fe', '64:ff9b::7f00:1', '64:ff9b::127.0.0.1',
  ]) {
    t.regex(targets.refuse(address, 80) ?? '', /loopback, link-local/, address);
  }
  for (const address of ['10.0.0.1', '192.168.1.1', '8.8.8.8', 'fd00::1', '64:ff9b::8.8.8.8', 'api.internal', 'a_b.example.']) {
    t.is(targets.refuse(address, 80), ALLOWED, address);
  }
});

test('naming networks allows these and nothing else', (t) => {
  const targets = createTargets({ networks: ['127.0.0.0/8', '10.1.0.0/16', 'fd00::/8'] });
  for (const address of ['127.0.0.1', '10.1.2.3', 'fd00::9']) t.is(targets.refuse(address, 80), ALLOWED);
  for (const address of ['10.2.0.1', '169.254.169.254', '::1']) t.regex(targets.refuse(address, 80) ?? '', /outside the allowed/);
});

test('ports outside the allowed ranges are refused', (t) => {
  const targets = createTargets({ ports: [{ from: 8000, to: 8999 }] });
  t.is(targets.refuse('10.0.0.1', 8000), ALLOWED);
  for (const port of [0, 22, 7999, 9000, 65_536, 80.5, Number.NaN]) {
    t.regex(targets.refuse('10.0.0.1', port) ?? '', /port .* not allowed/);
  }
});

test('an address in disguise is not a host name', (t) => {
  const targets = createTargets();
  for (const address of [
    '2130706433', '0x7f.0.0.1', '127.1', '[::1]', 'a b', 'a/b', 'user@host', 'http://x', '', 'a\r\nb', '-x', '10.0.0.1:80',
  ]) {
    t.regex(targets.refuse(address, 80) ?? '', /neither an IP address nor a host name/, address);
  }
});

test('a name is judged by what it resolves to when the connection is made', async (t) => {
  const resolve = (networks?: readonly string[]): Promise<string> => new Promise((done) => {
    const targets = createTargets(networks === undefined ? {} : { networks });
    t.is(targets.refuse('localhost', 80), ALLOWED, 'the name itself says nothing');
    targets.lookup('localhost', { all: false }, (error, address) => done(error?.message ?? JSON.stringify(address)));
  });
  t.regex(await resolve(), /localhost resolves to .*, outside the allowed networks/);
  t.is(await resolve(['127.0.0.0/8']), '"127.0.0.1"');
});

test('a rule that cannot be understood is an error, not a hole', (t) => {
  for (const network of ['10.0.0.0/33', '10.0.0.0/', '10.0.0/8', 'fd00::/129', 'localhost', '10.0.0.0/8x', '10.0.0.0/-1']) {
    t.throws(() => createTargets({ networks: [network] }), { message: new RegExp(`bad network "${network.replace('/', '.')}`) });
  }
  t.throws(() => createTargets({ ports: [{ from: 10, to: 5 }] }), { message: /bad port range 10-5/ });
});

test('a network without a length is one address', (t) => {
  const list = toBlockList(['10.0.0.1', 'fd00::1']);
  t.true(isInside(list, '10.0.0.1'));
  t.false(isInside(list, '10.0.0.2'));
  t.false(isInside(list, 'no address'));
});
