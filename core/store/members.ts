// Who the members are: names, addresses and incarnations, beside the machine's `Configuration`, which alone says who votes.
// Written only by applying entries, so that every replica agrees; part of every snapshot. Ids are never used twice: those
// removed are remembered for ever.
//
// Invariant: there is a record for everybody the configuration names, and for nobody else.

import { assert } from '../base/assert.js';
import { text, utf8 } from '../base/bytes.js';
import type { ErrorCode } from '../errors.js';
import type { Configuration } from '../raft/types.js';
import { ByteReader, ByteWriter } from './binary.js';
import type { Command } from './command.js';

/** What everybody knows about a member. */
export interface MemberRecord {
  readonly id: bigint;
  /** Empty until it has started and published itself. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
  /** The life of its data directory, published at its first start; 0n before. Another one under this id has lost its disk. */
  readonly incarnation: bigint;
}

type Update = Extract<Command, { kind: 'member_update' }>;

const NOBODY: Configuration = { voters: [], outgoing: [], learners: [] };
const FORM = 1;

export class MemberTable {
  #configuration = NOBODY;
  /** Ascending by id. */
  #records: readonly MemberRecord[] = [];
  readonly #removed = new Set<bigint>();

  get configuration(): Configuration {
    return this.#configuration;
  }

  get records(): readonly MemberRecord[] {
    return this.#records;
  }

  get removed(): ReadonlySet<bigint> {
    return this.#removed;
  }

  /** A committed change: `added` are the records it brings; those no longer named are gone for ever. */
  change(configuration: Configuration, added: readonly MemberRecord[]): void {
    const known = new Map(this.#records.map((record) => [record.id, record]));
    for (const record of added) known.set(record.id, record);
    const named = new Set([...configuration.voters, ...configuration.outgoing, ...configuration.learners]);
    for (const { id } of this.#records) if (!named.has(id)) this.#removed.add(id);
    const learners = new Set(configuration.learners);
    this.#configuration = configuration;
    this.#records = [...named].sort((a, b) => (a < b ? -1 : 1)).map((id) => {
      const record = known.get(id) ?? { id, name: '', peerUrls: [], clientUrls: [], incarnation: 0n };
      return { ...record, isLearner: learners.has(id) };
    });
  }

  update({ id, name, peerUrls, clientUrls, incarnation }: Update): ErrorCode | null {
    const old = this.#records.find((record) => record.id === id);
    if (old === undefined) return 'member_not_found';
    const isTaken = (url: string): boolean => this.#records.some((other) => other.id !== id && other.peerUrls.includes(url));
    if (peerUrls?.some(isTaken) === true) return 'peer_urls_exist';
    const record: MemberRecord = {
      ...old,
      name: name ?? old.name,
      peerUrls: peerUrls ?? old.peerUrls,
      clientUrls: clientUrls ?? old.clientUrls,
      incarnation: incarnation === 0n ? old.incarnation : incarnation,
    };
    this.#records = this.#records.map((each) => (each.id === id ? record : each));
    return null;
  }

  write(writer: ByteWriter): void {
    const { voters, outgoing, learners } = this.#configuration;
    for (const list of [voters, outgoing, learners, [...this.#removed].sort((a, b) => (a < b ? -1 : 1))]) {
      writer.varint(list.length);
      for (const id of list) writer.i64(BigInt.asIntN(64, id));
    }
    writer.bytes(encodeMemberRecords(this.#records));
  }

  static read(reader: ByteReader): MemberTable {
    const list = (): bigint[] => {
      const ids: bigint[] = [];
      for (let n = reader.varint(); n > 0; n--) ids.push(BigInt.asUintN(64, reader.i64()));
      return ids;
    };
    const table = new MemberTable();
    const configuration = { voters: list(), outgoing: list(), learners: list() };
    for (const id of list()) table.#removed.add(id);
    table.change(configuration, decodeMemberRecords(reader.bytes()));
    return table;
  }
}

/** The form (one byte), the count, then each record. Learners are known from the configuration, not from here. */
export function encodeMemberRecords(records: readonly MemberRecord[]): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(FORM);
  writer.varint(records.length);
  for (const { id, name, peerUrls, clientUrls, incarnation, isLearner } of records) {
    writer.i64(BigInt.asIntN(64, id));
    writer.i64(BigInt.asIntN(64, incarnation));
    writer.byte(isLearner ? 1 : 0);
    writer.bytes(utf8(name));
    writeTexts(writer, peerUrls);
    writeTexts(writer, clientUrls);
  }
  return writer.take();
}

/** No bytes are no records. Asserts on bytes `encodeMemberRecords` cannot have written. */
export function decodeMemberRecords(bytes: Uint8Array): readonly MemberRecord[] {
  if (bytes.length === 0) return [];
  const reader = new ByteReader(bytes);
  const form = reader.byte();
  assert(form === FORM, `members in form ${form}: this release reads form ${FORM} only, so a newer one wrote it`);
  const records: MemberRecord[] = [];
  for (let n = reader.varint(); n > 0; n--) {
    const id = BigInt.asUintN(64, reader.i64());
    const incarnation = BigInt.asUintN(64, reader.i64());
    const isLearner = reader.byte() === 1;
    const name = text(reader.bytes());
    records.push({ id, name, peerUrls: readTexts(reader), clientUrls: readTexts(reader), isLearner, incarnation });
  }
  assert(reader.rest === 0, `the records of members have ${reader.rest} bytes too many`);
  return records;
}

export function writeTexts(writer: ByteWriter, texts: readonly string[]): void {
  writer.varint(texts.length);
  for (const each of texts) writer.bytes(utf8(each));
}

export function readTexts(reader: ByteReader): readonly string[] {
  const texts: string[] = [];
  for (let n = reader.varint(); n > 0; n--) texts.push(text(reader.bytes()));
  return texts;
}
