// The requests of the loads, as protobuf by hand (field numbers of etcd's rpc.proto), so that no codec of ours is on the measured
// path; each is made once and sent over and over.

export const VALUE_BYTES = 256;
const VALUE = Buffer.alloc(VALUE_BYTES, 'v');
/** The one key of the loads that h2load makes, which sends the same request over and over. */
export const KEY = 'key-000001';

export const PATH = {
  put: '/etcdserverpb.KV/Put', range: '/etcdserverpb.KV/Range', txn: '/etcdserverpb.KV/Txn',
} as const;

type Bytes = Uint8Array | string;

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) | 128, ...varint(Math.floor(value / 128))];
}

export function bytesField(number: number, value: Bytes): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([(number << 3) | 2, ...varint(bytes.length)]), bytes]);
}

export function numberField(number: number, value: number): Buffer {
  return Buffer.from([number << 3, ...varint(value)]);
}

/** A message of gRPC on the wire: not compressed, length, bytes. */
export function framed(message: Uint8Array): Buffer {
  const frame = Buffer.alloc(5 + message.length);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, 5);
  return frame;
}

export function putMessage(key: string, value: Uint8Array = VALUE): Buffer {
  return Buffer.concat([bytesField(1, key), bytesField(2, value)]);
}

export interface Asked {
  readonly end?: string;
  readonly isSerializable?: boolean;
  readonly isCount?: boolean;
}

export function rangeMessage(key: string, { end = '', isSerializable = false, isCount = false }: Asked = {}): Buffer {
  return Buffer.concat([
    bytesField(1, key),
    ...(end === '' ? [] : [bytesField(2, end)]),
    ...(isSerializable ? [numberField(7, 1)] : []),
    ...(isCount ? [numberField(9, 1)] : []),
  ]);
}

const GREATER = 1;
const CREATE = 1;

/** If the key is there (its create revision is above 0), put it. */
export function txnMessage(key: string): Buffer {
  const compare = Buffer.concat([numberField(1, GREATER), numberField(2, CREATE), bytesField(3, key), numberField(5, 0)]);
  return Buffer.concat([bytesField(1, compare), bytesField(2, bytesField(2, putMessage(key)))]);
}

/** One transaction that puts all of these. */
export function fillMessage(keys: readonly string[]): Buffer {
  return Buffer.concat(keys.map((key) => bytesField(2, bytesField(2, putMessage(key)))));
}

export const SPACE_PREFIX = 'space/';
const SPACE_DIGITS = 8;

/** The keys of a space of so many: all of one length, so that a request for another key differs in these digits alone. */
export function spaceKey(i: number): string {
  return SPACE_PREFIX + String(i).padStart(SPACE_DIGITS, '0');
}

/** Writes another number into a request that was made with `spaceKey`, at the place `digitsAt` found. */
export function setSpaceKey(message: Buffer, at: number, i: number): void {
  let rest = i;
  for (let place = at + SPACE_DIGITS - 1; place >= at; place--) {
    message[place] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

export function digitsAt(message: Buffer): number {
  const at = message.indexOf(SPACE_PREFIX);
  if (at < 0) throw new Error('the message names no key of the space');
  return at + SPACE_PREFIX.length;
}
