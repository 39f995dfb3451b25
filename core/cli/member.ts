// `coterie member …`: who is in the cluster, and changing it. Words, answers and formats are etcdctl's.

import type { Member, MemberAdded, MembersResponse } from '../client.js';
import { writeMembers } from '../wire/convert.js';
import * as rpc from '../wire/schema/generated/rpc.js';
import { readId, runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { CONSISTENCY, isSerializable } from './operations.js';
import { fields, headerFields, headerJson, hex, hex16, json, table, unlessEmpty, type Format, type Json } from './output.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const PEER_URLS = { name: 'peer-urls', value: 'URLS', help: 'where other members reach it, separated by commas' } as const;

const CHANGED: readonly Format[] = ['simple', 'json', 'protobuf', 'decoded'];

const LIST: ClientCommand = {
  words: 'member list', usage: '', summary: 'who is in the cluster', takes: [0, 0], flags: [CONSISTENCY],
  formats: ['simple', 'table', 'json', 'fields', 'protobuf', 'decoded'],
  async run(invocation) {
    const list = await invocation.connect().members({ linearizable: !isSerializable(invocation.flags) });
    const isBinary = invocation.format === 'protobuf';
    invocation.print(isBinary ? rpc.MemberListResponse.encode(writeMembers(list)).finish() : membersText(list, invocation));
    return 0;
  },
};

const ADD: ClientCommand = {
  words: 'member add', usage: 'NAME --peer-urls URLS [--learner]', summary: 'make room for one more member; then start it',
  takes: [1, 1], formats: ['simple', 'json', 'decoded'],
  flags: [PEER_URLS, { name: 'learner', help: 'it follows without a vote until coterie member promote' }],
  async run(invocation) {
    const [name = ''] = invocation.args;
    const peerUrls = peerUrlsOf(invocation);
    const added = await invocation.connect().addMember({ peerUrls, isLearner: invocation.isSet('learner') });
    const { format } = invocation;
    const decoded = { member: memberDecoded(added.member), members: added.members.map(memberDecoded) };
    if (format === 'simple') invocation.print(addedText(added, name));
    else invocation.printJson(format === 'json' ? addedJson(added) : decoded);
    return 0;
  },
};

const REMOVE: ClientCommand = {
  words: 'member remove', usage: 'ID', summary: 'take a member out; its id never comes back', takes: [1, 1], flags: [],
  formats: CHANGED,
  run: (invocation) => change(invocation, 'removed from', (id) => invocation.connect().removeMember(id)),
};

const UPDATE: ClientCommand = {
  words: 'member update', usage: 'ID --peer-urls URLS', summary: 'tell the others where a member is reached from now on',
  takes: [1, 1], flags: [PEER_URLS], formats: CHANGED,
  run: (invocation) => {
    const peerUrls = peerUrlsOf(invocation);
    return change(invocation, 'updated in', (id) => invocation.connect().updateMember(id, peerUrls));
  },
};

const PROMOTE: ClientCommand = {
  words: 'member promote', usage: 'ID', summary: 'give a learner that has caught up its vote', takes: [1, 1], flags: [],
  formats: CHANGED,
  run: (invocation) => change(invocation, 'promoted in', (id) => invocation.connect().promoteMember(id)),
};

export const COMMANDS: readonly ClientCommand[] = [LIST, ADD, REMOVE, UPDATE, PROMOTE];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('member', COMMANDS, argv, terminal);
}

async function change(invocation: Invocation, what: string, call: (id: bigint) => Promise<MembersResponse>): Promise<number> {
  const id = readId(invocation.args[0] ?? '');
  const after = await call(id);
  const { format } = invocation;
  if (format === 'protobuf') {
    // The answers of the three have the fields of a list in the same places.
    invocation.print(rpc.MemberListResponse.encode(writeMembers(after)).finish());
    return 0;
  }
  const said = format === 'json' ? json(membersJson(after)) : `Member ${hex16(id)} ${what} cluster ${cluster(after)}`;
  const text = format === 'decoded' ? json({ members: after.members.map(memberDecoded) }) : said;
  invocation.print(`${text}\n`);
  return 0;
}

function cluster({ header }: MembersResponse): string {
  return hex16(header.clusterId);
}

function peerUrlsOf(invocation: Invocation): readonly string[] {
  const urls = invocation.list('peer-urls') ?? [];
  if (urls.length === 0) {
    throw new Refusal('--peer-urls is missing', 'say where the other members will reach it, for instance http://10.0.0.9:2380');
  }
  const bad = urls.find((url) => !/^https?:\/\/[^/]+:\d+\/?$/.test(url) || !URL.canParse(url));
  if (bad === undefined) return urls;
  throw new Refusal(`--peer-urls ${bad}: not a peer URL`, 'write scheme, host and port, for instance http://10.0.0.9:2380');
}

function memberJson({ id, name, peerUrls, clientUrls, isLearner }: Member): Json {
  return {
    ID: unlessEmpty(id), name: unlessEmpty(name), peerURLs: unlessEmpty(peerUrls), clientURLs: unlessEmpty(clientUrls),
    isLearner: unlessEmpty(isLearner),
  };
}

function memberDecoded({ id, name, peerUrls, clientUrls, isLearner }: Member): Json {
  return { id: hex(id), name, started: name !== '', peerUrls, clientUrls, isLearner };
}

function membersJson({ header, members }: MembersResponse): Json {
  return { header: headerJson(header), members: members.map(memberJson) };
}

function addedJson(added: MemberAdded): Json {
  return { header: headerJson(added.header), member: memberJson(added.member), members: added.members.map(memberJson) };
}

/** With the words to start the new member with, ready for a shell. */
function addedText(added: MemberAdded, name: string): string {
  const { member, members } = added;
  const nameOf = (one: Member): string => (one.id === member.id ? name : one.name);
  const named = members.flatMap((one) => one.peerUrls.map((url) => `${nameOf(one)}=${url}`));
  const role = member.isLearner ? 'added as learner to' : 'added to';
  return `Member ${hex16(member.id)} ${role} cluster ${cluster(added)}\n\n`
    + `ETCD_NAME="${name}"\n`
    + `ETCD_INITIAL_CLUSTER="${named.join(',')}"\n`
    + `ETCD_INITIAL_ADVERTISE_PEER_URLS="${member.peerUrls.join(',')}"\n`
    + 'ETCD_INITIAL_CLUSTER_STATE="existing"\n';
}

function membersText(list: MembersResponse, { format }: Invocation): string {
  if (format === 'json') return `${json(membersJson(list))}\n`;
  if (format === 'decoded') {
    return `${json({ cluster: hex(list.header.clusterId), members: list.members.map(memberDecoded) })}\n`;
  }
  if (format === 'fields') return fields(headerFields(list.header)) + list.members.map(memberFields).join('');
  const rows = list.members.map(({ id, name, peerUrls, clientUrls, isLearner }) => [
    hex(id), name === '' ? 'unstarted' : 'started', name, peerUrls.join(','), clientUrls.join(','), String(isLearner),
  ]);
  if (format === 'table') return table(['ID', 'STATUS', 'NAME', 'PEER ADDRS', 'CLIENT ADDRS', 'IS LEARNER'], rows);
  return rows.map((row) => `${row.join(', ')}\n`).join('');
}

function memberFields({ id, name, peerUrls, clientUrls, isLearner }: Member): string {
  const urls = (label: string, list: readonly string[]): (readonly [string, string])[] => list.map((url) => [label, url]);
  const rows = [['ID', id], ['Name', name], ...urls('PeerURL', peerUrls), ...urls('ClientURL', clientUrls)] as const;
  return `${fields([...rows, ['IsLearner', isLearner]])}\n`;
}
