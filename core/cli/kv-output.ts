// What commands about keys print: etcdctl's five forms, byte for byte, and our own JSON. Everything goes to the terminal as
// bytes, because keys and values need not be text.

import { EMPTY, utf8, view } from '../base/bytes.js';
import type { DeleteResponse, Event, Header, KeyValue, OpResponse, PutResponse, RangeResponse, TxnResponse } from '../client.js';
import * as convert from '../wire/convert.js';
import * as rpc from '../wire/schema/generated/rpc.js';
import { hexText, quote, validText } from './go-text.js';
import { headerFields, headerJson, hex, json, unlessEmpty, type Format, type Json } from './output.js';

export interface Shape {
  readonly format: Format;
  readonly isHex: boolean;
}

export interface RangeShape extends Shape {
  readonly valuesOnly?: boolean;
  readonly countOnly?: boolean;
}

/** An answer inside a transaction has a revision only; so it is in etcd. */
type Answer<T> = Omit<T, 'header'> & { readonly header: Header };

function headerOf(revision: number): Header {
  return { clusterId: 0n, memberId: 0n, revision, raftTerm: 0 };
}

function lines(...parts: readonly (string | Uint8Array)[]): Buffer {
  const end = utf8('\n');
  return Buffer.concat(parts.flatMap((part) => [typeof part === 'string' ? utf8(part) : part, end]));
}

function simpleKv(kv: KeyValue, { isHex, valuesOnly = false }: RangeShape): Buffer {
  const show = (bytes: Uint8Array): string | Uint8Array => (isHex ? hexText(bytes) : bytes);
  return valuesOnly ? lines(show(kv.value)) : lines(show(kv.key), show(kv.value));
}

export function rangeBytes(answer: RangeResponse, shape: RangeShape): Uint8Array {
  const { format } = shape;
  if (format === 'json') return lines(json(rangeJson(answer)));
  if (format === 'decoded') return lines(json(rangeDecoded(answer)));
  if (format === 'protobuf') return rpc.RangeResponse.encode(convert.writeRangeResponse(answer)).finish();
  if (format === 'fields') return rangeFields(answer);
  if (shape.countOnly === true) return lines(String(answer.count));
  return Buffer.concat(answer.kvs.map((kv) => simpleKv(kv, shape)));
}

export function putBytes(answer: PutResponse, shape: Shape): Uint8Array {
  const { format } = shape;
  if (format === 'json') return lines(json(putJson(answer)));
  if (format === 'decoded') return lines(json(putDecoded(answer)));
  if (format === 'protobuf') return rpc.PutResponse.encode(convert.writePutResponse(answer)).finish();
  if (format === 'fields') return putFields(answer);
  return Buffer.concat([lines('OK'), answer.prevKv === null ? EMPTY : simpleKv(answer.prevKv, shape)]);
}

export function deleteBytes(answer: DeleteResponse, shape: Shape): Uint8Array {
  const { format } = shape;
  if (format === 'json') return lines(json(deleteJson(answer)));
  if (format === 'decoded') return lines(json(deleteDecoded(answer)));
  if (format === 'protobuf') return rpc.DeleteRangeResponse.encode(convert.writeDeleteResponse(answer)).finish();
  if (format === 'fields') return deleteFields(answer);
  return Buffer.concat([lines(String(answer.deleted)), ...answer.prevKvs.map((kv) => simpleKv(kv, shape))]);
}

export function txnBytes(answer: TxnResponse, shape: Shape): Uint8Array {
  const { format } = shape;
  if (format === 'json') return lines(json(txnJson(answer)));
  if (format === 'decoded') return lines(json(txnDecoded(answer)));
  if (format === 'protobuf') return rpc.TxnResponse.encode(convert.writeTxnResponse(answer)).finish();
  if (format === 'fields') {
    const head = [...headerLines(answer.header), `"Succeeded" : ${answer.succeeded}`];
    return Buffer.concat([lines(...head), ...answer.responses.map((one) => opBytes(one, shape))]);
  }
  const parts = answer.responses.flatMap((one) => [lines(''), opBytes(one, shape)]);
  return Buffer.concat([lines(answer.succeeded ? 'SUCCESS' : 'FAILURE'), ...parts]);
}

function opBytes(op: OpResponse, shape: Shape): Uint8Array {
  const header = headerOf(op.response.revision);
  if (op.kind === 'range') return rangeBytes({ ...op.response, header }, shape);
  if (op.kind === 'put') return putBytes({ ...op.response, header }, shape);
  if (op.kind === 'delete') return deleteBytes({ ...op.response, header }, shape);
  return txnBytes({ ...op.response, header }, shape);
}

/** One answer of a watch: events, of one revision or several. */
export function watchBytes(header: Header, events: readonly Event[], shape: Shape): Uint8Array {
  const { format } = shape;
  if (format === 'json') return lines(json(watchJson(header, events)));
  if (format === 'decoded') return Buffer.concat(events.map((event) => lines(json(eventDecoded(event)))));
  if (format === 'protobuf') {
    return rpc.WatchResponse.encode({
      header: convert.writeHeader(header), watchId: 0n, created: false, canceled: false, compactRevision: 0, cancelReason: '',
      fragment: false, events: events.map((event) => convert.writeEvent(event)),
    }).finish();
  }
  const word = ({ kind }: Event): string => (kind === 'put' ? 'PUT' : 'DELETE');
  if (format === 'fields') {
    return lines(...headerLines(header), ...events.flatMap((event) => {
      const before = event.prevKv === null ? [] : kvLines(event.prevKv, 'Prev');
      return [`"Type" : ${word(event)}`, ...before, ...kvLines(event.kv)];
    }));
  }
  return Buffer.concat(events.flatMap((event) => [
    lines(word(event)), event.prevKv === null ? EMPTY : simpleKv(event.prevKv, shape), simpleKv(event.kv, shape),
  ]));
}

// -w fields

function headerLines(header: Header): string[] {
  return headerFields(header).map(([name, value]) => `"${name}" : ${value}`);
}

function kvLines(kv: KeyValue, prefix = ''): string[] {
  const rows: readonly (readonly [string, string | number | bigint])[] = [
    ['Key', quote(kv.key)], ['CreateRevision', kv.createRevision], ['ModRevision', kv.modRevision], ['Version', kv.version],
    ['Value', quote(kv.value)], ['Lease', BigInt.asIntN(64, kv.lease)],
  ];
  return rows.map(([name, value]) => `"${prefix}${name}" : ${value}`);
}

function rangeFields({ header, kvs, more, count }: Answer<RangeResponse>): Buffer {
  return lines(...headerLines(header), ...kvs.flatMap((kv) => kvLines(kv)), `"More" : ${more}`, `"Count" : ${count}`);
}

function putFields({ header, prevKv }: Answer<PutResponse>): Buffer {
  return lines(...headerLines(header), ...(prevKv === null ? [] : kvLines(prevKv, 'Prev')));
}

function deleteFields({ header, deleted, prevKvs }: Answer<DeleteResponse>): Buffer {
  return lines(...headerLines(header), `"Deleted" : ${deleted}`, ...prevKvs.flatMap((kv) => kvLines(kv, 'Prev')));
}

// -w json: what Go prints of etcd's messages

/** What Go prints of bytes: nothing of none. */
export function base64(bytes: Uint8Array): string | undefined {
  return bytes.length === 0 ? undefined : view(bytes).toString('base64');
}

function kvJson(kv: KeyValue): Json {
  return {
    key: base64(kv.key), create_revision: unlessEmpty(kv.createRevision), mod_revision: unlessEmpty(kv.modRevision),
    version: unlessEmpty(kv.version), value: base64(kv.value), lease: unlessEmpty(BigInt.asIntN(64, kv.lease)),
  };
}

function kvsJson(kvs: readonly KeyValue[]): Json | undefined {
  return kvs.length === 0 ? undefined : kvs.map(kvJson);
}

function rangeJson({ header, kvs, more, count }: Answer<RangeResponse>): Json {
  return { header: headerJson(header), kvs: kvsJson(kvs), more: unlessEmpty(more), count: unlessEmpty(count) };
}

function putJson({ header, prevKv }: Answer<PutResponse>): Json {
  return { header: headerJson(header), prev_kv: prevKv === null ? undefined : kvJson(prevKv) };
}

function deleteJson({ header, deleted, prevKvs }: Answer<DeleteResponse>): Json {
  return { header: headerJson(header), deleted: unlessEmpty(deleted), prev_kvs: kvsJson(prevKvs) };
}

function txnJson({ header, succeeded, responses }: Answer<TxnResponse>): Json {
  const list = responses.map((one): Json => ({ Response: opJson(one) }));
  return { header: headerJson(header), succeeded: unlessEmpty(succeeded), responses: unlessEmpty(list) };
}

function opJson(op: OpResponse): Json {
  const header = headerOf(op.response.revision);
  if (op.kind === 'range') return { ResponseRange: rangeJson({ ...op.response, header }) };
  if (op.kind === 'put') return { ResponsePut: putJson({ ...op.response, header }) };
  if (op.kind === 'delete') return { ResponseDeleteRange: deleteJson({ ...op.response, header }) };
  return { ResponseTxn: txnJson({ ...op.response, header }) };
}

function watchJson(header: Header, events: readonly Event[]): Json {
  const list = events.map((event): Json => ({
    type: event.kind === 'put' ? undefined : 1, kv: kvJson(event.kv),
    prev_kv: event.prevKv === null ? undefined : kvJson(event.prevKv),
  }));
  return { Header: headerJson(header), Events: list, CompactRevision: 0, Canceled: false, Created: false };
}

// --json: ours

/** `{ key: 'a' }`, or `{ keyBase64: '/w==' }` for what is not UTF-8. */
export function bytesDecoded(name: string, bytes: Uint8Array): { readonly [name: string]: Json } {
  const text = validText(bytes);
  return text === null ? { [`${name}Base64`]: view(bytes).toString('base64') } : { [name]: text };
}

function kvDecoded(kv: KeyValue): Json {
  return {
    ...bytesDecoded('key', kv.key), ...bytesDecoded('value', kv.value), createRevision: kv.createRevision,
    modRevision: kv.modRevision, version: kv.version, lease: kv.lease === 0n ? undefined : hex(BigInt.asUintN(64, kv.lease)),
  };
}

function rangeDecoded({ header, kvs, more, count }: Answer<RangeResponse>): Json {
  return { revision: header.revision, count, more, kvs: kvs.map(kvDecoded) };
}

function putDecoded({ header, prevKv }: Answer<PutResponse>): Json {
  return { revision: header.revision, prevKv: prevKv === null ? undefined : kvDecoded(prevKv) };
}

function deleteDecoded({ header, deleted, prevKvs }: Answer<DeleteResponse>): Json {
  return { revision: header.revision, deleted, prevKvs: prevKvs.map(kvDecoded) };
}

function txnDecoded({ header, succeeded, responses }: Answer<TxnResponse>): Json {
  const list = responses.map((op): Json => {
    const inner = headerOf(op.response.revision);
    if (op.kind === 'range') return { get: rangeDecoded({ ...op.response, header: inner }) };
    if (op.kind === 'put') return { put: putDecoded({ ...op.response, header: inner }) };
    if (op.kind === 'delete') return { del: deleteDecoded({ ...op.response, header: inner }) };
    return { txn: txnDecoded({ ...op.response, header: inner }) };
  });
  return { revision: header.revision, succeeded, responses: list };
}

function eventDecoded({ kind, kv, prevKv }: Event): Json {
  const before = prevKv === null ? {} : { prevKv: kvDecoded(prevKv) };
  if (kind === 'put') return { event: 'put', revision: kv.modRevision, kv: kvDecoded(kv), ...before };
  return { event: 'delete', revision: kv.modRevision, kv: bytesDecoded('key', kv.key), ...before };
}
