// `coterie lease`: leases by hand. Words, answers and formats are etcdctl's. Sessions and what hangs on them are shown by
// coterie sessions.

import { pause } from '../../recipes/pause.js';
import { view } from '../base/bytes.js';
import { systemClock } from '../base/clock.js';
import type { KeepAlive, LeaseId, LeaseInfo } from '../client.js';
import { ApiError } from '../errors.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { quote, validText } from './go-text.js';
import { bytesDecoded } from './kv-output.js';
import { readLease } from './operations.js';
import { fields, headerFields, headerJson, type Format, type Json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import type { Terminal } from './terminal.js';

const FORMATS: readonly Format[] = ['simple', 'json', 'fields', 'decoded'];
/** How often of its time a lease is renewed, as etcd's clients have it. */
const RENEWALS_PER_TTL = 3;

const GRANT: ClientCommand = {
  words: 'lease grant', usage: 'TTL', summary: 'a lease of so many seconds', takes: [1, 1], formats: FORMATS,
  flags: [{ name: 'id', value: 'ID', help: 'of your choosing, in hex; default: the server picks one' }],
  async run(invocation) {
    const [word = ''] = invocation.args;
    // As with etcd, less than the server's least is that.
    if (!/^-?\d{1,15}$/.test(word)) throw new Refusal(`${word}: not a number of seconds`, 'give whole seconds, for instance 60');
    const id = invocation.text('id');
    const lease = await invocation.connect().grant(Number(word), id === null ? {} : { id: readLease(id, '--id ') });
    const { format } = invocation;
    if (format === 'json') invocation.printJson({ ...headerJson(lease.header), ID: lease.id, TTL: lease.ttlSeconds, Error: '' });
    else if (format === 'decoded') invocation.printJson({ lease: hexOf(lease.id), ttlSeconds: lease.ttlSeconds });
    else if (format === 'fields') {
      invocation.print(fields([...headerFields(lease.header), ['ID', lease.id], ['TTL', lease.ttlSeconds]]));
    } else invocation.print(`lease ${hexOf(lease.id)} granted with TTL(${lease.ttlSeconds}s)\n`);
    return 0;
  },
};

const REVOKE: ClientCommand = {
  words: 'lease revoke', usage: 'ID', summary: 'end a lease now; its keys go with it', takes: [1, 1], flags: [], formats: FORMATS,
  async run(invocation) {
    const id = leaseOf(invocation);
    const header = await invocation.connect().revoke(id);
    const { format } = invocation;
    if (format === 'json') invocation.printJson({ header: headerJson(header) });
    else if (format === 'decoded') invocation.printJson({ lease: hexOf(id), revision: header.revision });
    else if (format === 'fields') invocation.print(fields(headerFields(header)));
    else invocation.print(`lease ${hexOf(id)} revoked\n`);
    return 0;
  },
};

const TIME_TO_LIVE: ClientCommand = {
  words: 'lease timetolive', usage: 'ID', summary: 'how long a lease still has, and its keys', takes: [1, 1], formats: FORMATS,
  flags: [{ name: 'keys', help: 'its keys as well' }],
  async run(invocation) {
    const keys = invocation.isSet('keys');
    const info = await invocation.connect().leaseInfo(leaseOf(invocation), { keys });
    const { format } = invocation;
    if (format === 'json') invocation.printJson(infoJson(info));
    else if (format === 'decoded') invocation.printJson(infoDecoded(info, keys));
    else if (format === 'fields') {
      const rows = [['ID', info.id], ['TTL', info.ttlSeconds], ['GrantedTTL', info.grantedTtlSeconds]] as const;
      const named = info.keys.map((key) => `"Key" : ${quote(key)}\n`).join('');
      invocation.print(`${fields([...headerFields(info.header), ...rows])}${named}`);
    } else invocation.print(infoText(info, keys));
    return 0;
  },
};

const LIST: ClientCommand = {
  words: 'lease list', usage: '', summary: 'all leases there are', takes: [0, 0], flags: [], formats: FORMATS,
  async run(invocation) {
    const { header, ids } = await invocation.connect().leases();
    const { format } = invocation;
    if (format === 'json') invocation.printJson({ ...headerJson(header), leases: ids.map((id) => ({ id })) });
    else if (format === 'decoded') invocation.printJson({ leases: ids.map(hexOf) });
    else if (format === 'fields') {
      invocation.print(fields([...headerFields(header), ...ids.map((id): [string, LeaseId] => ['ID', id])]));
    } else invocation.print(`found ${ids.length} leases\n${ids.map((id) => `${hexOf(id)}\n`).join('')}`);
    return 0;
  },
};

const KEEP_ALIVE: ClientCommand = {
  words: 'lease keep-alive', usage: 'ID', summary: 'renew a lease until asked to end, or until it is gone', takes: [1, 1],
  flags: [{ name: 'once', help: 'renew it once' }], formats: FORMATS,
  async run(invocation) {
    const id = leaseOf(invocation);
    const client = await invocation.reached();
    if (invocation.isSet('once')) {
      const answer = await client.keepAlive(id);
      if (answer.ttlSeconds > 0) return said(invocation, id, answer);
      throw new ApiError('lease_not_found');
    }
    const requests = new Requests({ ended: invocation.terminal.ended });
    try {
      while (!requests.asked.aborted) {
        const answer = await client.keepAlive(id);
        if (answer.ttlSeconds === 0) {
          if (invocation.format === 'decoded') invocation.printJson({ lease: hexOf(id), exists: false });
          else invocation.print(`lease ${hexOf(id)} expired or revoked.\n`);
          return 0;
        }
        said(invocation, id, answer);
        await pause(systemClock, (answer.ttlSeconds * 1000) / RENEWALS_PER_TTL, requests.asked);
      }
    } finally {
      requests.stop();
    }
    return requests.exitCode;
  },
};

export const COMMANDS: readonly ClientCommand[] = [GRANT, REVOKE, TIME_TO_LIVE, LIST, KEEP_ALIVE];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('lease', COMMANDS, argv, terminal);
}

function leaseOf({ args: [word = ''] }: Invocation): LeaseId {
  return readLease(word);
}

/** Sixteen digits, as etcdctl prints leases. */
function hexOf(id: LeaseId): string {
  return BigInt.asUintN(64, id).toString(16).padStart(16, '0');
}

function said(invocation: Invocation, id: LeaseId, { header, ttlSeconds }: KeepAlive): number {
  const { format } = invocation;
  if (format === 'json') invocation.printJson({ ...headerJson(header), ID: id, TTL: ttlSeconds });
  else if (format === 'decoded') invocation.printJson({ lease: hexOf(id), ttlSeconds });
  else if (format === 'fields') invocation.print(fields([...headerFields(header), ['ID', id], ['TTL', ttlSeconds]]));
  else invocation.print(`lease ${hexOf(id)} keepalived with TTL(${ttlSeconds})\n`);
  return 0;
}

function infoText({ id, ttlSeconds, grantedTtlSeconds, keys }: LeaseInfo, withKeys: boolean): string {
  if (ttlSeconds < 0) return `lease ${hexOf(id)} already expired\n`;
  const named = keys.map((key) => Buffer.from(key).toString()).join(' ');
  const attached = withKeys ? `, attached keys([${named}])` : '';
  return `lease ${hexOf(id)} granted with TTL(${grantedTtlSeconds}s), remaining(${ttlSeconds}s)${attached}\n`;
}

function infoJson({ header, id, ttlSeconds, grantedTtlSeconds, keys }: LeaseInfo): Json {
  const list = keys.length === 0 ? null : keys.map((key) => view(key).toString('base64'));
  // Go prints a list that is not there as null.
  return { ...headerJson(header), id, ttl: ttlSeconds, 'granted-ttl': grantedTtlSeconds, keys: list };
}

function infoDecoded({ id, ttlSeconds, grantedTtlSeconds, keys }: LeaseInfo, withKeys: boolean): Json {
  const isThere = ttlSeconds >= 0;
  const list = keys.map((key): Json => validText(key) ?? bytesDecoded('key', key));
  const rest = isThere ? { ttlSeconds, grantedTtlSeconds, keys: withKeys ? list : undefined } : {};
  return { lease: hexOf(id), exists: isThere, ...rest };
}
