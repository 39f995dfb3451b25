// `coterie alarm` and `coterie defrag`: words and answers are etcdctl's. Every endpoint is defragmented by itself.

import type { Alarm, AlarmsResponse } from '../client.js';
import { isApiError } from '../errors.js';
import { writeAlarms } from '../wire/convert-auth.js';
import * as rpc from '../wire/schema/generated/rpc.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { endpointsOf } from './endpoint.js';
import { fields, headerFields, headerJson, hex, json, unlessEmpty, type Format, type Json } from './output.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const FORMATS: readonly Format[] = ['simple', 'json', 'fields', 'protobuf', 'decoded'];
const WORDS = { no_space: 'NOSPACE', corrupt: 'CORRUPT' } as const;
const NUMBERS = { no_space: 1, corrupt: 2 } as const;
const EVERYTHING = { action: 'list', memberId: 0n, kind: null } as const;

const LIST: ClientCommand = {
  words: 'alarm list', usage: '', summary: 'which alarms stand', takes: [0, 0], flags: [], formats: FORMATS,
  async run(invocation) {
    show(invocation, await invocation.connect().alarm(EVERYTHING));
    return 0;
  },
};

const DISARM: ClientCommand = {
  words: 'alarm disarm', usage: '', summary: 'clear all alarms, once their cause is gone', takes: [0, 0], flags: [],
  formats: FORMATS,
  async run(invocation) {
    const client = invocation.connect();
    const { header, alarms } = await client.alarm(EVERYTHING);
    const cleared: Alarm[] = [];
    for (const { memberId, kind } of alarms) cleared.push(...(await client.alarm({ action: 'clear', memberId, kind })).alarms);
    show(invocation, { header, alarms: cleared });
    return 0;
  },
};

function show(invocation: Invocation, { header, alarms }: AlarmsResponse): void {
  const { format } = invocation;
  if (format === 'json') {
    const list = alarms.map(({ memberId, kind }): Json => ({ memberID: unlessEmpty(memberId), alarm: NUMBERS[kind] }));
    // etcd 3.4 answers without a header.
    const head = header.clusterId === 0n ? {} : { header: headerJson(header) };
    invocation.printJson({ ...head, alarms: unlessEmpty(list) });
  } else if (format === 'decoded') {
    invocation.printJson({ alarms: alarms.map(alarmDecoded) });
  } else if (format === 'fields') {
    const rows = alarms.flatMap(({ memberId, kind }): [string, bigint | string][] => {
      return [['MemberID', memberId], ['AlarmType', WORDS[kind]]];
    });
    invocation.print(fields([...headerFields(header), ...rows]));
  } else if (format === 'protobuf') {
    const message = writeAlarms({ header, alarms });
    const told = header.clusterId === 0n ? { ...message, header: undefined } : message;
    invocation.print(rpc.AlarmResponse.encode(told).finish());
  } else invocation.print(alarms.map(({ memberId, kind }) => `memberID:${memberId} alarm:${WORDS[kind]} \n`).join(''));
}

export function alarmDecoded({ memberId, kind }: Alarm): Json {
  return { member: hex(memberId), alarm: WORDS[kind] };
}

const DEFRAG: ClientCommand = {
  words: 'defrag', usage: '[--cluster]', summary: 'give memory of removed data back, member by member', takes: [0, 0],
  flags: [
    { name: 'cluster', help: 'every member of the list, not only --endpoints' },
    { name: 'data-dir', value: 'DIR', help: 'for etcd\'s files only; not available' },
  ],
  formats: ['simple', 'table', 'json', 'fields', 'protobuf', 'decoded'],
  async run(invocation) {
    if (invocation.text('data-dir') !== null) {
      throw new Refusal('--data-dir: a directory of coterie needs no defragmentation', 'leave it out and ask a running member');
    }
    let failed = 0;
    // One after another: a member may stand still for it, and not all of them at once.
    for (const endpoint of await endpointsOf(invocation)) {
      try {
        await invocation.connect([endpoint]).defragment();
        const done = { endpoint, defragmented: true };
        const isDecoded = invocation.format === 'decoded';
        invocation.print(isDecoded ? `${json(done)}\n` : `Finished defragmenting etcd member[${endpoint}]\n`);
      } catch (error) {
        if (!isApiError(error)) throw error;
        failed += 1;
        invocation.say(`Failed to defragment etcd member[${endpoint}] (${error.message})`);
      }
    }
    return failed > 0 ? 1 : 0;
  },
};

export const COMMANDS: readonly ClientCommand[] = [LIST, DISARM, DEFRAG];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('alarm', [LIST, DISARM], argv, terminal);
}

export function defrag(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('defrag', [DEFRAG], argv, terminal);
}
