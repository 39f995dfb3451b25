// Puts cases of the matrix to a server and compares. The server is a node in memory behind a real port; a caller with nothing
// but a certificate is put to the table of methods, where the port would put it. What a permitted case changed is put back by
// the process itself, so that each case meets the world the oracle knows.

import { utf8 } from '../../core/base/bytes.js';
import { opDelete, opPut, opTxn, type Backend } from '../../core/client.js';
import { codeOfText, isApiError } from '../../core/errors.js';
import { startNode } from '../../core/start-node.js';
import type { Method } from '../../core/wire/call.js';
import { methods } from '../../core/wire/methods.js';
import { serve } from '../serving.js';
import { WatchResponse } from '../../core/wire/schema/generated/rpc.js';
import { statusInText } from '../../core/wire/status.js';
import { fakeCall } from '../core/wire/fake-call.js';
import type { Verdict } from '../model/auth-oracle.js';
import { bytesOf, CERTIFIED, expected, ROUTES, STREAMS, WORLD, type Case } from './auth-matrix.js';
import { RawClient } from './raw-grpc.js';

export interface Report {
  readonly cases: number;
  readonly permitted: number;
  readonly tookMs: number;
  readonly mismatches: readonly string[];
}

const RAW = { encode: (bytes: Uint8Array) => ({ finish: () => bytes }), decode: (bytes: Uint8Array) => bytes };
const DENIED: ReadonlySet<string> = new Set(['user_empty', 'token_invalid', 'permission_denied', 'auth_revision_old']);
const WRITES = /KV\/(?:Put|DeleteRange|Txn)|LeaseRevoke/;

export async function runMatrix(all: readonly Case[], onCase: (n: number) => void = () => undefined): Promise<Report> {
  const node = await startNode({ dataDir: null, listenPeerUrls: [], auth: { bcryptCost: 4, tokenTtlSeconds: 36_000 } });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const url = server.urls[0] ?? '';
  const raw = new RawClient(url);
  const began = performance.now();
  try {
    const tokens = await populate(node.client);
    const table = methods(node.client);
    const mismatches: string[] = [];
    let permitted = 0;
    for (const [n, each] of all.entries()) {
      const wanted = expected(each);
      const token = each.who === '?' ? `${'x'.repeat(24)}.1` : (tokens.get(each.who) ?? null);
      const ask = (): Promise<string> => {
        if (each.transport === 'gateway') return overGateway(url, each, token);
        return each.who === CERTIFIED ? overTable(table, each) : overGrpc(raw, each, token);
      };
      const text = await ask();
      const got = verdictOf(text);
      const label = `${each.method} ${each.json} by ${each.who || 'nobody'} over ${each.transport}`;
      if (got !== wanted) mismatches.push(`${label}: ${got} (${text}), not ${wanted}`);
      if (wanted === 'ok') permitted += 1;
      if ((wanted === 'ok' || got === 'ok') && WRITES.test(each.method)) await restore(node.client);
      onCase(n + 1);
    }
    return { cases: all.length, permitted, tookMs: performance.now() - began, mismatches };
  } finally {
    raw.close();
    await server.drain(100);
    await node.close();
  }
}

/** Users with their names as passwords. Returns their tokens. */
async function populate(client: Backend): Promise<ReadonlyMap<string, string>> {
  for (const [name, grants] of WORLD.grants) {
    await client.changeAuth({ kind: 'role_add', name });
    for (const { kind, key, end } of grants) {
      const permission = { kind, key: Buffer.from(key, 'latin1'), rangeEnd: Buffer.from(end, 'latin1') };
      await client.changeAuth({ kind: 'role_grant', name, permission });
    }
  }
  for (const [name, roles] of WORLD.users) {
    await client.changeAuth({ kind: 'user_add', name, password: { plain: name } });
    for (const role of roles) await client.changeAuth({ kind: 'user_grant', name, role });
  }
  await restore(client);
  await client.changeAuth({ kind: 'enable' });
  const tokens = new Map<string, string>();
  for (const name of WORLD.users.keys()) {
    if (name !== CERTIFIED) tokens.set(name, (await client.authenticate(name, name)).token);
  }
  return tokens;
}

async function restore(client: Backend): Promise<void> {
  const leases = [...WORLD.leases].map(([id, keys]) => ({ id: BigInt(id), keys }));
  for (const { id } of leases) {
    await client.grant(3600, { id }).catch((error: unknown) => {
      if (!isApiError(error, 'lease_exists')) throw error;
    });
  }
  const everything = new Uint8Array([0]);
  await client.txn({ success: [opDelete(everything, { rangeEnd: everything })] });
  const puts = leases.flatMap(({ id, keys }) => keys.map((key) => opPut(utf8(key), utf8('v'), { lease: id })));
  await client.txn({ success: [opTxn({ success: puts })] });
}

/** What was said against it; empty: nothing. */
async function overGrpc(raw: RawClient, each: Case, token: string | null): Promise<string> {
  const path = `/etcdserverpb.${each.method}`;
  const headers = token === null ? {} : { token };
  if (!STREAMS.includes(each.method)) {
    const outcome = await raw.call(path, RAW, RAW, bytesOf(each), headers);
    return 'answer' in outcome ? '' : outcome.text;
  }
  const stream = raw.stream(path, RAW, RAW, headers);
  stream.write(bytesOf(each));
  const first = await stream.next();
  stream.cancel();
  if (first === 'nothing') return 'nothing came';
  return first instanceof Uint8Array ? refusalIn(each, first) : first.text;
}

function refusalIn(each: Case, answer: Uint8Array): string {
  if (each.method !== 'Watch/Watch') return '';
  return statusInText(WatchResponse.decode(answer).cancelReason).text;
}

async function overTable(table: ReadonlyMap<string, Method>, each: Case): Promise<string> {
  const method = table.get(`/etcdserverpb.${each.method}`);
  if (method === undefined) return 'not served';
  const abort = new AbortController();
  const call = fakeCall(abort.signal, { certificateName: CERTIFIED });
  const bytes = bytesOf(each);
  try {
    if (method.kind === 'unary') {
      await method.handle(bytes, call);
      return '';
    }
    let said = '';
    await method.handle(once(bytes, abort.signal), call, (answer) => {
      if (!abort.signal.aborted) said = refusalIn(each, answer);
      abort.abort();
      return Promise.resolve();
    });
    return said;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  } finally {
    abort.abort();
  }
}

async function* once(bytes: Uint8Array, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  yield bytes;
  if (signal.aborted) return;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}

async function overGateway(url: string, each: Case, token: string | null): Promise<string> {
  const path = ROUTES[each.method] ?? 'nowhere';
  const abort = new AbortController();
  const response = await fetch(`${url}/v3/${path}`, {
    method: 'POST', body: each.json, signal: abort.signal, headers: token === null ? {} : { Authorization: token },
  });
  try {
    if (!STREAMS.includes(each.method) || response.body === null) return spokenIn(await response.text());
    const reader = response.body.getReader();
    const first = (await reader.read()) as { readonly value?: Uint8Array };
    return spokenIn(Buffer.from(first.value ?? new Uint8Array(0)).toString('utf8').split('\n', 1)[0] ?? '');
  } finally {
    if (STREAMS.includes(each.method)) abort.abort();
  }
}

interface Spoken {
  readonly message?: string;
  readonly error?: { readonly message?: string } | string;
  readonly result?: { readonly cancel_reason?: string };
}

function spokenIn(text: string): string {
  if (text === '') return '';
  const said = JSON.parse(text) as Spoken;
  const inner = typeof said.error === 'object' ? said.error.message : said.message;
  return statusInText(inner ?? said.result?.cancel_reason ?? '').text;
}

/** Whatever else is wrong with it was found wrong after the right was given. */
function verdictOf(text: string): Verdict {
  const code = codeOfText(text);
  return code !== null && DENIED.has(code) ? (code as Verdict) : 'ok';
}
