// Members and endpoints from DNS: etcd's names of records, who this member is among them, and what is refused.

import test, { type ExecutionContext } from 'ava';
import { discoverEndpoints, discoverMembers } from '../../../core/cli/discovery.js';
import { Refusal } from '../../../core/cli/refusal.js';
import { coterie, temporaryDirectory } from './binary.js';
import { startDns, type DnsServer, type Zone } from './dns-server.js';

const THREE: Zone = {
  srv: {
    '_etcd-server._tcp.example.test': [
      { target: 'a.example.test', port: 2380 }, { target: 'b.example.test', port: 2380 },
      { target: 'c.example.test', port: 2381 },
    ],
    '_etcd-server-ssl-blue._tcp.example.test': [{ target: 'a.example.test', port: 2380 }],
    '_etcd-server._tcp.twice.test': [{ target: 'a.example.test', port: 2380 }, { target: 'alias.example.test', port: 2380 }],
    '_etcd-server._tcp.none.test': [{ target: '.', port: 0 }],
    '_etcd-client._tcp.example.test': [
      { target: 'a.example.test', port: 2379, priority: 20 }, { target: 'z.example.test', port: 2379, priority: 10 },
    ],
    '_etcd-client-ssl._tcp.example.test': [{ target: 'secure.example.test', port: 2379 }],
  },
  addresses: {
    'a.example.test': ['10.0.0.1'], 'b.example.test': ['10.0.0.2', '::2'], 'c.example.test': ['10.0.0.1'],
    'alias.example.test': ['10.0.0.1'],
  },
};

async function dns(t: ExecutionContext): Promise<DnsServer> {
  const server = await startDns(THREE);
  t.teardown(() => server.close());
  return server;
}

function zone({ server }: DnsServer, domain: string, serviceName = ''): Parameters<typeof discoverMembers>[0] {
  return { domain, serviceName, servers: [server] };
}

async function refusedBy(t: ExecutionContext, run: Promise<unknown>): Promise<string> {
  const error = await t.throwsAsync(run, { instanceOf: Refusal });
  return error instanceof Refusal ? `${error.message} / ${error.remedy}` : '';
}

test('this member is found by its URL or by its address, and the others are numbered', async (t) => {
  const server = await dns(t);
  const byUrl = await discoverMembers(zone(server, 'example.test'), { name: 'me', peerUrls: ['http://b.example.test:2380'] });
  t.deepEqual([...byUrl], [
    ['0', ['http://a.example.test:2380']], ['me', ['http://b.example.test:2380']], ['1', ['http://c.example.test:2381']],
  ]);
  // By the name in DNS: the others reckon its id from that one.
  const byAddress = await discoverMembers(zone(server, 'example.test.'), { name: 'me', peerUrls: ['http://10.0.0.1:2380'] });
  t.deepEqual(byAddress.get('me'), ['http://a.example.test:2380']);
  t.is(byAddress.size, 3, 'the same address with another port is somebody else');
  const bySix = await discoverMembers(zone(server, 'example.test'), { name: 'me', peerUrls: ['http://[::2]:2380'] });
  t.deepEqual(bySix.get('me'), ['http://b.example.test:2380']);
});

test('records with TLS are https, and a name of the service stands behind a dash', async (t) => {
  const server = await dns(t);
  const members = await discoverMembers(zone(server, 'example.test', 'blue'), {
    name: 'me', peerUrls: ['https://a.example.test:2380'],
  });
  t.deepEqual([...members], [['me', ['https://a.example.test:2380']]]);
  t.true(server.asked.includes('_etcd-server-ssl-blue._tcp.example.test'));
  t.true(server.asked.includes('_etcd-server-blue._tcp.example.test'));
});

test('SA13: what leads to this member is this member under any name, never another one', async (t) => {
  const server = await dns(t);
  const members = await discoverMembers(zone(server, 'twice.test'), { name: 'me', peerUrls: ['http://a.example.test:2380'] });
  t.deepEqual([...members], [['me', ['http://a.example.test:2380', 'http://alias.example.test:2380']]]);
});

test('nobody there, this member not among them, and a server that is none are refused with what to look at', async (t) => {
  const server = await dns(t);
  const own = { name: 'me', peerUrls: ['http://10.9.9.9:2380'] };
  t.regex(await refusedBy(t, discoverMembers(zone(server, 'nowhere.test'), own)),
    /leads to nobody \(_etcd-server-ssl\._tcp\.nowhere\.test: ENOTFOUND; _etcd-server\._tcp\.nowhere\.test: ENOTFOUND\) \/ look/);
  t.regex(await refusedBy(t, discoverMembers(zone(server, 'none.test'), own)), /leads to nobody/);
  t.regex(await refusedBy(t, discoverMembers(zone(server, 'example.test'), own)),
    /names http:\/\/a\.example.*, and none of them is this member \/ add http:\/\/10\.9\.9\.9:2380 to the records/);
  const wrong = { domain: 'example.test', serviceName: '', servers: ['dns.example'] };
  t.regex(await refusedBy(t, discoverMembers(wrong, own)), /--dns-servers dns\.example: .* \/ give addresses such as/);
});

test('endpoints come in the order of their priority, and those without TLS only where that is allowed', async (t) => {
  const server = await dns(t);
  t.deepEqual(await discoverEndpoints(zone(server, 'example.test'), true), [
    'https://secure.example.test:2379', 'http://z.example.test:2379', 'http://a.example.test:2379',
  ]);
  t.deepEqual(await discoverEndpoints(zone(server, 'example.test'), false), ['https://secure.example.test:2379']);
});

test('coterie serve --discovery-srv takes the members that DNS names', async (t) => {
  const server = await dns(t);
  const dataDir = `${await temporaryDirectory(t)}/data`;
  const { code, stdout, stderr } = await coterie([
    'serve', '--name', 'me', '--data-dir', dataDir, '--discovery-srv', 'example.test', '--dns-servers', server.server,
    '--initial-advertise-peer-urls', 'http://10.0.0.2:2380', '--print-config', '--json',
  ]);
  t.is(code, 0, stderr);
  const config = JSON.parse(stdout) as Record<string, { value: unknown }>;
  t.is(config['initial-cluster']?.value,
    '0=http://a.example.test:2380,me=http://b.example.test:2380,1=http://c.example.test:2381');
  t.deepEqual(config['initial-advertise-peer-urls']?.value, ['http://b.example.test:2380']);
  const words = ['--discovery-srv', 'nowhere.test', '--dns-servers', server.server];
  const nobody = await coterie(['serve', '--data-dir', dataDir, ...words]);
  t.is(nobody.code, 1);
  t.regex(nobody.stderr, /leads to nobody/);
});
