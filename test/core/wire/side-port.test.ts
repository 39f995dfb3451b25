// What stands beside the API on HTTP: health with its reasons, metrics and health on ports of their own, pages of strangers kept
// out, and ports that speak one language. One node in memory serves all.

import test, { type ExecutionContext } from 'ava';
import { request } from 'node:http';
import { connect as connectHttp2, type Settings } from 'node:http2';
import { startNode } from '../../../core/index.js';
import type { Backend, RangeRequest, StatusResponse } from '../../../core/client.js';
import { ApiError } from '../../../core/errors.js';
import { ANY_SITE, siteFault, type CrossSiteRules } from '../../../core/wire/cross-site.js';
import type { MetricsText } from '../../../core/wire/health-routes.js';
import { serve, type ServeOptions, type WireServer } from '../../serving.js';
import type { WireEvent } from '../../../core/wire/wire-events.js';

let backend: Backend;
let stop: () => Promise<void> = () => Promise.resolve();

test.before('one node', async () => {
  const node = await startNode({ dataDir: null });
  backend = node.client;
  stop = () => node.close();
});

test.after.always('ends', () => stop());

const FREE = ['http://127.0.0.1:0'];

async function served(t: ExecutionContext, options: ServeOptions = {}, behind: Backend = backend): Promise<WireServer> {
  const metrics = (): Promise<MetricsText> => Promise.resolve({ contentType: 'text/plain', body: 'm 1\n' });
  const server = await serve(behind, { urls: FREE, metrics, ...options });
  t.teardown(() => server.close());
  return server;
}

/** The same node, telling otherwise of itself. */
function saying(change: Partial<StatusResponse>): Backend {
  return new Proxy(backend, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (name === 'status') return async () => ({ ...(await target.status()), ...change });
      return typeof value === 'function' ? (...args: unknown[]): unknown => Reflect.apply(value, target, args) : value;
    },
  });
}

async function get(url: string): Promise<[status: number, body: string]> {
  const answer = await fetch(url);
  return [answer.status, await answer.text()];
}

type Answer = [status: number, body: string, headers: Record<string, unknown>];

/** `fetch` does not let a Host or an Origin be chosen. */
function ask(url: string, headers: Record<string, string>, method = 'GET', body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = request(url, { method, headers }, (answer) => {
      let text = '';
      answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
      answer.on('end', () => resolve([answer.statusCode ?? 0, text, answer.headers]));
    });
    call.on('error', reject);
    call.end(body);
  });
}

const site = (rules: Partial<CrossSiteRules>): ServeOptions => ({ crossSite: { ...ANY_SITE, ...rules } });

test('/health says no with etcd\'s reason: an alarm, no leader, no answer', async (t) => {
  const events: WireEvent[] = [];
  const well = await served(t, { observe: (event) => events.push(event) });
  t.deepEqual(await get(`${well.urls[0]}/health`), [200, '{"health":"true"}']);
  const full = await served(t, {}, saying({ errors: ['memberID:1 alarm:NOSPACE '] }));
  t.deepEqual(await get(`${full.urls[0]}/health`), [503, '{"health":"false","reason":"ALARM NOSPACE"}']);
  t.deepEqual(await get(`${full.urls[0]}/health?exclude=NOSPACE`), [200, '{"health":"true"}']);
  t.deepEqual(await get(`${full.urls[0]}/health?exclude=CORRUPT&exclude=NOSPACE`), [200, '{"health":"true"}']);
  t.deepEqual(await get(`${full.urls[0]}/health?exclude=CORRUPT`), [503, '{"health":"false","reason":"ALARM NOSPACE"}']);
  const headless = await served(t, {}, saying({ leader: 0n }));
  t.deepEqual(await get(`${headless.urls[0]}/health`), [503, '{"health":"false","reason":"RAFT NO LEADER"}']);
  const learning = new Proxy(saying({ isLearner: true }), {
    get: (target, name): unknown => {
      if (name !== 'range') return Reflect.get(target, name);
      return ({ serializable }: RangeRequest): Promise<unknown> =>
        (serializable === true ? Promise.resolve({}) : Promise.reject(new ApiError('learner_unsupported')));
    },
  });
  const learner = await served(t, {}, learning);
  t.deepEqual(await get(`${learner.urls[0]}/health`), [200, '{"health":"true"}'], 'a learner reads what it has');
  t.deepEqual(events.filter(({ kind }) => kind === 'health_checked'), [{ kind: 'health_checked', well: true }]);
});

test('/livez and /readyz name what fails, alone, without what is excluded, and in full when asked', async (t) => {
  const damaged = await served(t, {}, saying({ errors: ['memberID:1 alarm:CORRUPT '], isLearner: true }));
  const url = damaged.urls[0] ?? '';
  t.deepEqual(await get(`${url}/livez`), [200, 'ok\n']);
  const [status, text] = await get(`${url}/readyz`);
  t.is(status, 503);
  t.true(text.includes('[-]data_corruption failed: alarm activated: CORRUPT\n'), text);
  t.true(text.includes('[-]non_learner failed: this member is a learner\n'), text);
  t.true(text.includes('[+]serializable_read ok\n'), text);
  t.deepEqual(await get(`${url}/readyz?exclude=data_corruption&exclude=non_learner`), [200, 'ok\n']);
  t.deepEqual(await get(`${url}/readyz/serializable_read`), [200, 'ok\n']);
  t.is((await get(`${url}/readyz/data_corruption`))[0], 503);
  t.is((await get(`${url}/readyz/nonsense`))[0], 404);
  t.regex((await get(`${url}/livez?verbose`))[1], /^\[\+\]serializable_read ok\nok\n$/);
});

test('SE2: metrics and health have ports of their own, with nothing else there, which say when the server drains', async (t) => {
  const server = await served(t, { sideUrls: ['http://127.0.0.1:0'] });
  const side = server.sideUrls[0] ?? '';
  t.deepEqual(await get(`${side}/metrics`), [200, 'm 1\n']);
  t.deepEqual(await get(`${side}/health`), [200, '{"health":"true"}']);
  t.deepEqual(await get(`${side}/readyz`), [200, 'ok\n']);
  for (const path of ['/version', '/v3/kv/range', '/debug/vars', '/debug/pprof/heap', '/']) {
    t.deepEqual(await get(`${side}${path}`), [404, '404 page not found\n'], path);
  }
  t.is((await ask(`${side}/metrics`, {}, 'POST'))[0], 405);
  const hanging = await fetch(`${server.urls[0]}/v3/watch`, { method: 'POST', body: '{"createRequest":{"key":"YQ=="}}' });
  const draining = server.drain(1000);
  const [status, text] = await get(`${side}/readyz`);
  t.true(status === 503 && text.includes('[-]serving failed: the server is shutting down'), text);
  await hanging.body?.cancel();
  await draining;
  await t.throwsAsync(fetch(`${side}/health`));
});

test('SE1: a page of another origin writes nothing once --cors names origins, and reads nothing', async (t) => {
  const server = await served(t, site({ origins: ['https://console.test:8080'] }));
  const url = server.urls[0] ?? '';
  const put = JSON.stringify({ key: 'c2Ux', value: 'eA==' });
  const [status, , headers] = await ask(`${url}/v3/kv/put`, { origin: 'https://evil.test' }, 'POST', put);
  t.is(status, 403);
  t.is(headers['access-control-allow-origin'], undefined);
  t.is((await ask(`${url}/v3/kv/put`, { origin: 'null' }, 'POST', put))[0], 403);
  t.is((await backend.range({ key: Buffer.from('se1') })).count, 0);
  const preflight = await ask(`${url}/v3/kv/put`, { origin: 'https://evil.test' }, 'OPTIONS');
  t.deepEqual([preflight[0], preflight[2]['access-control-allow-origin']], [200, undefined]);
  const allowed = await ask(`${url}/v3/kv/range`, { origin: 'https://console.test:8080' }, 'POST', '{"key":"c2Ux"}');
  t.deepEqual([allowed[0], allowed[2]['access-control-allow-origin']], [200, 'https://console.test:8080']);
  t.is((await ask(`${url}/version`, {}))[0], 200, 'who sends no origin is no page');
  t.is((await ask(`${url}/version`, { origin: url }))[0], 200, 'its own origin');
  for (const path of ['/v3/kv/put', '/v3/kv/range', '/v3/auth/enable']) {
    t.not((await ask(`${url}${path}`, {}, 'GET'))[0], 200, 'only POST does anything');
  }
  const open = await served(t);
  const [, , free] = await ask(`${open.urls[0]}/version`, { origin: 'https://any.test' });
  t.is(free['access-control-allow-origin'], '*', 'as etcd without the flag');
});

test('SE1: a name that was not agreed upon is misdirected, in etcd\'s words, whatever the path', async (t) => {
  const server = await served(t, site({ hosts: ['good.test', '127.0.0.1', '::1'] }));
  const url = server.urls[0] ?? '';
  for (const path of ['/version', '/health', '/metrics', '/v3/kv/range', '/nonsense']) {
    const [status, text] = await ask(`${url}${path}`, { host: 'evil.test:80' });
    t.is(status, 421, path);
    t.true(text.includes('the Host header was unrecognized') && text.includes('--host-whitelist "evil.test"'), text);
  }
  for (const host of ['good.test', 'good.test:99', '127.0.0.1:1', '[::1]:9']) {
    t.is((await ask(`${url}/version`, { host }))[0], 200, host);
  }
});

test('SE1: what comes with TLS may be for any name, which its certificate has proved', (t) => {
  const rules = { origins: null, hosts: ['good.test'] };
  const asked = { host: 'evil.test:80', origin: undefined };
  t.is(siteFault(rules, { ...asked, isSecure: false })?.status, 421);
  t.is(siteFault(rules, { ...asked, isSecure: true }), null);
});

test('SE4: what a caller is told of a failure has no stack and no path in it', async (t) => {
  const broken = new Proxy(backend, {
    get: (target, name): unknown => {
      if (name === 'rangeAs') return () => Promise.reject(new TypeError('secret of /var/lib/coterie'));
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? (...args: unknown[]): unknown => Reflect.apply(value, target, args) : value;
    },
  });
  const events: WireEvent[] = [];
  const server = await served(t, { observe: (event) => events.push(event) }, broken);
  const url = server.urls[0] ?? '';
  const bodies = [
    (await ask(`${url}/v3/kv/range`, {}, 'POST', '{"key":"YQ=="}'))[1],
    (await ask(`${url}/v3/kv/range`, {}, 'POST', '{"key":'))[1],
    (await ask(`${url}/v3/%zz`, {}, 'POST', ''))[1],
    (await ask(`${url}/nothing`, {}))[1],
    (await ask(`${url}/readyz`, {}))[1],
  ];
  const { connect } = await import('../../../core/index.js');
  const client = connect(server.urls);
  t.teardown(() => client.close());
  await client.range({ key: Buffer.from('a') }).catch((error: unknown) => bodies.push(String(error)));
  t.is(bodies.length, 6);
  for (const body of bodies) t.notRegex(body, /\bat .*\.[jt]s|node_modules|file:\/\/|\/work\/|\/home\/|\/var\/|secret/, body);
  const told = events.flatMap((event) => (event.kind === 'failed' ? [`${event.where}: ${event.error.message}`] : []));
  const fault = 'secret of /var/lib/coterie';
  t.deepEqual(told, [`http: ${fault}`, `etcdserverpb.KV/Range: ${fault}`], 'whoever runs it is told');
});

test('without the gateway there is no API over HTTP, and health stays', async (t) => {
  const server = await served(t, { servesGateway: false });
  t.deepEqual(await get(`${server.urls[0]}/health`), [200, '{"health":"true"}']);
  const [status, text] = await ask(`${server.urls[0]}/v3/kv/range`, {}, 'POST', '{}');
  t.deepEqual([status, text], [404, '404 page not found\n']);
});

test('with ports for HTTP alone, the others speak gRPC alone', async (t) => {
  const server = await served(t, { httpUrls: ['http://127.0.0.1:0'] });
  t.is((await get(`${server.httpUrls[0]}/health`))[0], 200);
  await t.throwsAsync(fetch(`${server.urls[0]}/health`));
  const { connect } = await import('../../../core/index.js');
  const client = connect([server.urls[0] ?? '']);
  t.true((await client.status()).leader > 0n);
  await client.close();
  const other = connect([server.httpUrls[0] ?? ''], { timeoutMs: 1000, connectTimeoutMs: 500 });
  await t.throwsAsync(other.status());
  await other.close();
});

test('a call over the gateway counts as the call it becomes', async (t) => {
  const events: WireEvent[] = [];
  const server = await served(t, { observe: (event) => events.push(event) });
  await ask(`${server.urls[0]}/v3/kv/range`, {}, 'POST', '{"key":"YQ=="}');
  await ask(`${server.urls[0]}/v3/kv/range`, {}, 'POST', '{"key":"YQ==","revision":"999999"}');
  const handled = events.flatMap((event) => (event.kind === 'call_handled' ? [event] : []));
  const told = handled.map(({ method, code, messagesReceived }) => [method.name, code, messagesReceived]);
  t.deepEqual(told, [['Range', 0, 1], ['Range', 11, 1]]);
  t.true(handled.every(({ tookMs }) => tookMs >= 0));
  t.true(events.some((event) => event.kind === 'serving' && event.methods.length > 30), 'all methods are told of at the start');
});

test('streams on one gRPC connection are bounded, and a silent one is pinged, as told', async (t) => {
  const server = await served(t, { connection: { streamsMax: 7, pingEveryMs: 300, pingTimeoutMs: 5000 } });
  const session = connectHttp2(server.urls[0] ?? '');
  t.teardown(() => session.destroy());
  const pinged = new Promise((resolve) => void session.once('ping', resolve));
  const settings = await new Promise<Settings>((resolve) => void session.once('remoteSettings', resolve));
  t.is(settings.maxConcurrentStreams, 7);
  await pinged;
  t.pass('a ping came');
});
