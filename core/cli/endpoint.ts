// `coterie endpoint …` and `coterie move-leader`: how each member is, one by one. Every endpoint is asked by itself, so that
// one that is down hides nobody else. Words, answers and formats are etcdctl's.

import type { HashResponse, StatusResponse } from '../client.js';
import { utf8 } from '../base/bytes.js';
import { isApiError } from '../errors.js';
import type { RemoteClient } from '../wire/remote-client.js';
import { readId, runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { bytesText, durationText, fields, headerFields, headerJson, hex, json, table, unlessEmpty, type Json } from './output.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const CLUSTER = { name: 'cluster', help: 'ask every member of the list, not only --endpoints' } as const;
const ALL = ['simple', 'table', 'json', 'fields', 'decoded'] as const;

const STATUS: ClientCommand = {
  words: 'endpoint status', usage: '[--cluster]', summary: 'version, size, leader and position of each member',
  takes: [0, 0], flags: [CLUSTER], formats: ALL,
  async run(invocation) {
    const answers = await askEach(invocation, 'the status', (client) => client.status());
    invocation.print(statusText(answers.good, invocation));
    return answers.bad > 0 ? 1 : 0;
  },
};

const HEALTH: ClientCommand = {
  words: 'endpoint health', usage: '[--cluster]', summary: 'whether each member answers a read that needs a majority',
  takes: [0, 0], flags: [CLUSTER], formats: ALL,
  async run(invocation) {
    const found = await Promise.all((await endpointsOf(invocation)).map((endpoint) => healthOf(invocation, endpoint)));
    showHealth(found, invocation);
    if (found.every(({ error }) => error === null)) return 0;
    throw new Refusal('unhealthy cluster', 'the members that answer nothing are named above', { exitCode: 1 });
  },
};

const HASHKV: ClientCommand = {
  words: 'endpoint hashkv', usage: '[--cluster] [--rev N]', summary: 'a hash over the data of each member, equal where it is',
  takes: [0, 0], flags: [CLUSTER, { name: 'rev', value: 'REVISION', help: 'up to this revision; default: the newest' }],
  formats: ALL,
  async run(invocation) {
    const revision = revisionOf(invocation);
    const answers = await askEach(invocation, 'the hash', (client) => client.hash(revision));
    invocation.print(hashText(answers.good, invocation));
    return answers.bad > 0 ? 1 : 0;
  },
};

const MOVE_LEADER: ClientCommand = {
  words: 'move-leader', usage: 'ID', summary: 'let another member lead', takes: [1, 1], flags: [],
  formats: ['simple', 'json', 'protobuf', 'decoded'],
  async run(invocation) {
    const to = readId(invocation.args[0] ?? '');
    for (const endpoint of invocation.endpoints) {
      const client = invocation.connect([endpoint]);
      const status = await client.status().catch((error: unknown) => {
        if (isApiError(error)) return null;
        throw error;
      });
      if (status === null || status.leader !== status.header.memberId) continue;
      await client.moveLeader(to);
      invocation.print(movedText(status.leader, to, invocation));
      return 0;
    }
    const remedy = 'name all members with --endpoints; coterie endpoint status --cluster shows which leads';
    throw new Refusal(`no leader endpoint given at [${invocation.endpoints.join(' ')}]`, remedy, { exitCode: 1 });
  },
};

function movedText(from: bigint, to: bigint, { format }: Invocation): string {
  // The answer has no fields that etcdctl prints: of its bytes none are left.
  if (format === 'protobuf') return '';
  if (format === 'json') return '{}\n';
  if (format === 'decoded') return `${json({ from: hex(from), to: hex(to) })}\n`;
  return `Leadership transferred from ${hex(from)} to ${hex(to)}\n`;
}

export const COMMANDS: readonly ClientCommand[] = [STATUS, HEALTH, HASHKV, MOVE_LEADER];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('endpoint', COMMANDS.slice(0, 3), argv, terminal);
}

export function moveLeader(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('move-leader', [MOVE_LEADER], argv, terminal);
}

/** `--endpoints`, or with `--cluster` all client URLs of the member list. */
export async function endpointsOf(invocation: Invocation): Promise<readonly string[]> {
  if (!invocation.isSet('cluster')) return invocation.endpoints;
  // What one member knows: the list is wanted most when no majority is left to confirm it.
  const { members } = await invocation.connect().members({ linearizable: false });
  const urls = members.flatMap(({ clientUrls }) => clientUrls);
  return [...new Set(urls)];
}

interface Answered<T> {
  readonly endpoint: string;
  readonly answer: T;
}

/** Asks each; who does not answer is told on stderr. */
async function askEach<T>(
  invocation: Invocation,
  what: string,
  ask: (client: RemoteClient) => Promise<T>,
): Promise<{ good: readonly Answered<T>[]; bad: number }> {
  const endpoints = await endpointsOf(invocation);
  const answers = await Promise.all(endpoints.map(async (endpoint): Promise<Answered<T> | null> => {
    try {
      return { endpoint, answer: await ask(invocation.connect([endpoint])) };
    } catch (error) {
      if (!isApiError(error)) throw error;
      invocation.say(`Failed to get ${what} of endpoint ${endpoint} (${error.message})`);
      return null;
    }
  }));
  const good = answers.filter((answer) => answer !== null);
  return { good, bad: answers.length - good.length };
}

function statusText(answers: readonly Answered<StatusResponse>[], { format }: Invocation): string {
  if (format === 'json') {
    return `${json(answers.map(({ endpoint, answer }) => ({ Endpoint: endpoint, Status: statusJson(answer) })))}\n`;
  }
  if (format === 'decoded') return `${json(answers.map(statusDecoded))}\n`;
  if (format === 'fields') return answers.map(statusFields).join('');
  const rows = answers.map(({ endpoint, answer }) => [
    endpoint, hex(answer.header.memberId), answer.version, bytesText(answer.dbSizeBytes),
    String(answer.leader === answer.header.memberId), String(answer.isLearner), String(answer.raftTerm), String(answer.raftIndex),
    String(answer.raftAppliedIndex), answer.errors.join(', '),
  ]);
  if (format === 'simple') return rows.map((row) => `${row.join(', ')}\n`).join('');
  const headings = ['ENDPOINT', 'ID', 'VERSION', 'DB SIZE', 'IS LEADER', 'IS LEARNER', 'RAFT TERM', 'RAFT INDEX'];
  return table([...headings, 'RAFT APPLIED INDEX', 'ERRORS'], rows);
}

function statusJson(status: StatusResponse): Json {
  return {
    header: headerJson(status.header),
    version: unlessEmpty(status.version),
    dbSize: unlessEmpty(status.dbSizeBytes),
    leader: unlessEmpty(status.leader),
    raftIndex: unlessEmpty(status.raftIndex),
    raftTerm: unlessEmpty(status.raftTerm),
    raftAppliedIndex: unlessEmpty(status.raftAppliedIndex),
    errors: unlessEmpty(status.errors),
    dbSizeInUse: unlessEmpty(status.dbSizeInUseBytes),
    isLearner: unlessEmpty(status.isLearner),
  };
}

function statusDecoded({ endpoint, answer }: Answered<StatusResponse>): Json {
  const { header, leader, dbSizeBytes, dbSizeInUseBytes, raftTerm, raftIndex, raftAppliedIndex, isLearner, errors } = answer;
  return {
    endpoint, member: hex(header.memberId), version: answer.version, revision: header.revision, leader: hex(leader),
    isLeader: leader === header.memberId, isLearner, raftTerm, raftIndex, raftAppliedIndex, dbSizeBytes, dbSizeInUseBytes, errors,
  };
}

function statusFields({ endpoint, answer }: Answered<StatusResponse>): string {
  const before = fields([
    ...headerFields(answer.header),
    ['Version', answer.version], ['DBSize', answer.dbSizeBytes], ['Leader', answer.leader], ['IsLearner', answer.isLearner],
    ['RaftIndex', answer.raftIndex], ['RaftTerm', answer.raftTerm], ['RaftAppliedIndex', answer.raftAppliedIndex],
  ]);
  const errors = answer.errors.map((error) => JSON.stringify(error)).join(' ');
  return `${before}"Errors" : [${errors}]\n${fields([['Endpoint', endpoint]])}\n`;
}

interface Health {
  readonly endpoint: string;
  readonly tookMs: number;
  readonly error: string | null;
}

/** The key etcd asks for; that it does not exist is no matter. */
const HEALTH_KEY = utf8('health');

async function healthOf(invocation: Invocation, endpoint: string): Promise<Health> {
  const startedAt = performance.now();
  let error: string | null = null;
  try {
    await invocation.connect([endpoint]).range({ key: HEALTH_KEY });
  } catch (reason) {
    if (!isApiError(reason)) throw reason;
    error = reason.message;
  }
  return { endpoint, tookMs: performance.now() - startedAt, error };
}

function showHealth(found: readonly Health[], invocation: Invocation): void {
  const { format } = invocation;
  if (format === 'simple') {
    for (const { endpoint, tookMs, error } of found) {
      if (error !== null) invocation.say(`${endpoint} is unhealthy: failed to commit proposal: ${error}`);
      else invocation.print(`${endpoint} is healthy: successfully committed proposal: took = ${durationText(tookMs)}\n`);
    }
  } else if (format === 'table') {
    const rows = found.map(({ endpoint, tookMs, error }) => {
      return [endpoint, String(error === null), durationText(tookMs), error ?? ''];
    });
    invocation.print(table(['ENDPOINT', 'HEALTH', 'TOOK', 'ERROR'], rows));
  } else if (format === 'decoded') {
    const list = found.map(({ endpoint, tookMs, error }): Json => {
      return { endpoint, healthy: error === null, tookMs: Math.round(tookMs * 1000) / 1000, error: error ?? undefined };
    });
    invocation.printJson(list);
  } else if (format === 'json') {
    const list = found.map(({ endpoint, tookMs, error }): Json => {
      return { endpoint, health: error === null, took: durationText(tookMs), error: error ?? undefined };
    });
    invocation.printJson(list);
  } else {
    for (const { endpoint, tookMs, error } of found) {
      const head = fields([['Endpoint', endpoint], ['Health', error === null]]);
      invocation.print(`${head}"Took" : ${durationText(tookMs)}\n"Error" : ${error ?? ''}\n\n`);
    }
  }
}

function revisionOf(invocation: Invocation): number {
  const word = invocation.text('rev') ?? '0';
  if (/^\d{1,15}$/.test(word)) return Number(word);
  throw new Refusal(`--rev ${word}: not a revision`, 'give a whole number; 0 is the newest');
}

function hashText(answers: readonly Answered<HashResponse>[], { format }: Invocation): string {
  if (format === 'json') {
    return `${json(answers.map(({ endpoint, answer }) => ({ Endpoint: endpoint, HashKV: hashJson(answer) })))}\n`;
  }
  if (format === 'decoded') {
    const list = answers.map(({ endpoint, answer: { header, hash, compactRevision } }): Json => {
      return { endpoint, hash, revision: header.revision, compactRevision };
    });
    return `${json(list)}\n`;
  }
  if (format === 'fields') {
    return answers.map(({ endpoint, answer }) => {
      return `${fields([...headerFields(answer.header), ['Endpoint', endpoint], ['Hash', answer.hash]])}\n`;
    }).join('');
  }
  const rows = answers.map(({ endpoint, answer }) => [endpoint, String(answer.hash)]);
  return format === 'table' ? table(['ENDPOINT', 'HASH'], rows) : rows.map((row) => `${row.join(', ')}\n`).join('');
}

function hashJson({ header, hash, compactRevision }: HashResponse): Json {
  return { header: headerJson(header), hash: unlessEmpty(hash), compact_revision: unlessEmpty(compactRevision) };
}
