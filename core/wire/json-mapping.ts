// JSON <-> message bytes for the gateway, by the descriptors in schema/generated. Answers carry proto names, 64-bit
// numbers as strings, bytes in padded base64, no defaults (protobuf-es does that). Requests are judged here first, because
// what etcd accepts and how it words a refusal is contract (11.2); what passes is handed to protobuf-es. What comes in its usual
// form takes neither road: quick-json.ts does the same in one pass.

import {
  createFileRegistry,
  fromBinary,
  fromJson,
  ScalarType,
  toBinary,
  toJsonString,
  type DescEnum,
  type DescField,
  type DescMessage,
  type DescMethod,
  type FileRegistry,
  type JsonObject,
  type JsonValue,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { present } from '../base/assert.js';
import { JsonFault, NumberText, parseFirst, parseWhole, type Json } from './json-text.js';
import { AnswerWriter, RequestReader, shapes } from './quick-json.js';
import { descriptorSet } from './schema/generated/descriptors.js';

/** One served method's messages. */
export interface JsonMapping {
  /** The bytes of the request written in `text`; throws `JsonFault`. */
  toBytes(text: string): Uint8Array;
  /** The caller sends several requests, one after another. */
  readonly takesMany: boolean;
  /** The answer as JSON text. */
  toText(bytes: Uint8Array): string;
}

/** Hands out mappings by service and method. */
export type JsonMappings = (service: string, method: string) => JsonMapping;

/** Reads the descriptors once. */
export function jsonMappings(): JsonMappings {
  const methodOf = descriptorOf();
  const shapeOf = shapes();
  const reader = new RequestReader();
  const writer = new AnswerWriter();
  return (service, method) => {
    const { input, output, methodKind } = methodOf(service, method);
    const long = longMapping(input, output, methodKind);
    const [request, answer] = [shapeOf(input), shapeOf(output)];
    return {
      takesMany: long.takesMany,
      toBytes: (text) => (request === null ? null : reader.read(request, text)) ?? long.toBytes(text),
      toText: (bytes) => (answer === null ? null : writer.write(answer, bytes)) ?? long.toText(bytes),
    };
  };
}

/** The same, always by the long way. */
export function longMappings(): JsonMappings {
  const methodOf = descriptorOf();
  return (service, method) => {
    const { input, output, methodKind } = methodOf(service, method);
    return longMapping(input, output, methodKind);
  };
}

/** What stands in the descriptors of a method. */
export function descriptorOf(): (service: string, method: string) => DescMethod {
  const set = fromBinary(FileDescriptorSetSchema, Buffer.from(descriptorSet, 'base64'));
  const registry: FileRegistry = createFileRegistry(set);
  return (service, method) => {
    const found = registry.getService(service)?.methods.find(({ name }) => name === method);
    return present(found, `${service}/${method} in the descriptors`);
  };
}

function longMapping(input: DescMessage, output: DescMessage, kind: DescMethod['methodKind']): JsonMapping {
  return {
    takesMany: kind === 'bidi_streaming',
    toBytes: (text) => toBinary(input, fromJson(input, messageOf(input, parseFirst(text)), { ignoreUnknownFields: true })),
    toText: (bytes) => toJsonString(output, fromBinary(output, bytes), { useProtoFieldName: true }),
  };
}

/** The members `desc` knows, under their proto names, checked. Unknown members are dropped, null ones are absent. */
function messageOf(desc: DescMessage, json: Json): JsonObject {
  const known: JsonObject = {};
  if (json === null) return known;
  if (!(json instanceof Map)) throw cannot(json, 'map[string]json.RawMessage');
  for (const field of desc.fields) {
    const value = json.get(field.name) ?? json.get(field.jsonName) ?? null;
    if (value === null) continue;
    if (field.oneof !== undefined) {
      // Of several members of one oneof the last declared wins.
      for (const other of field.oneof.fields) delete known[other.name];
    }
    known[field.name] = fieldOf(field, value);
  }
  return known;
}

function fieldOf(field: DescField, value: Json): JsonValue {
  switch (field.fieldKind) {
    case 'message':
      return messageOf(field.message, value);
    case 'enum':
      return enumOf(field.enum, value);
    case 'scalar':
      return scalarOf(field.scalar, value);
    case 'list':
      if (!Array.isArray(value)) throw cannot(value, '[]json.RawMessage');
      return value.map((item) => itemOf(field, item));
    case 'map':
      throw new JsonFault(`${field.name}: maps are not part of this API`);
  }
}

function itemOf(field: DescField & { fieldKind: 'list' }, item: Json): JsonValue {
  if (field.listKind === 'message') return messageOf(field.message, item);
  return field.listKind === 'enum' ? enumOf(field.enum, item) : scalarOf(field.scalar, item);
}

/** A name or a number; numbers nobody declared pass, as on the wire. */
function enumOf(desc: DescEnum, value: Json): JsonValue {
  if (typeof value === 'string') {
    const known = desc.values.find(({ name }) => name === value);
    if (known !== undefined) return known.number;
    throw new JsonFault(`unknown value ${JSON.stringify(value)} for enum ${goName(desc)}`);
  }
  return integerOf(value, 'int32', goName(desc));
}

/** `etcdserverpb.RangeRequest.SortOrder` as etcd's messages call it: nested names joined with `_`. */
function goName(desc: DescEnum): string {
  const { package: name } = desc.file.proto;
  return `${name}.${desc.typeName.slice(name.length + 1).replaceAll('.', '_')}`;
}

function scalarOf(type: ScalarType, value: Json): JsonValue {
  switch (type) {
    case ScalarType.BOOL:
      if (typeof value !== 'boolean') throw cannot(value, 'bool');
      return value;
    case ScalarType.STRING:
      if (typeof value !== 'string') throw cannot(value, 'string');
      return value;
    case ScalarType.BYTES:
      // Etcd takes a list of numbers as well.
      if (Array.isArray(value)) return Buffer.from(value.map((byte) => Number(integerOf(byte, 'uint8')))).toString('base64');
      if (typeof value !== 'string') throw cannot(value, '[]uint8');
      checkBase64(value);
      return value;
    case ScalarType.UINT64:
      return String(integerOf(unquoted(value), 'uint64'));
    case ScalarType.INT64:
      return String(integerOf(unquoted(value), 'int64'));
    default:
      return integerOf(value, type === ScalarType.UINT32 ? 'uint32' : 'int32');
  }
}

/** 64-bit numbers may stand in quotes; what is inside is JSON again. */
function unquoted(value: Json): Json {
  if (typeof value !== 'string') return value;
  if (value === '') throw new JsonFault('unexpected end of JSON input');
  return parseWhole(value);
}

const INTEGERS = {
  uint8: [0n, 255n],
  int32: [-(2n ** 31n), 2n ** 31n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
} as const;
/** Of the longest of them, with its sign. What is longer is not read: that takes seconds when it has a million digits. */
const INTEGER_LENGTH = 20;

/** `name`: what to call the type in a refusal. */
function integerOf(value: Json, type: keyof typeof INTEGERS, name: string = type): string | number {
  if (!(value instanceof NumberText)) throw cannot(value, name);
  const [least, greatest] = INTEGERS[type];
  const isInteger = value.text.length <= INTEGER_LENGTH && /^-?\d+$/.test(value.text);
  const number = isInteger ? BigInt(value.text) : null;
  if (number === null || number < least || number > greatest) {
    throw new JsonFault(`json: cannot unmarshal number ${value.text} into Go value of type ${name}`);
  }
  return type.endsWith('64') ? number.toString() : Number(number);
}

function cannot(value: Json, into: string): JsonFault {
  return new JsonFault(`json: cannot unmarshal ${kindOf(value)} into Go value of type ${into}`);
}

function kindOf(value: Json): string {
  if (value === null) return 'null';
  if (value instanceof NumberText) return 'number';
  if (value instanceof Map) return 'object';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : 'string';
}

const BASE64 = /^[A-Za-z0-9+/]$/;

/** Standard base64 with padding, line breaks allowed. A fault names the byte etcd would name. */
function checkBase64(value: string): void {
  let inGroup = 0;
  for (let at = 0; at < value.length; at++) {
    const char = value.charAt(at);
    if (char === '\r' || char === '\n') continue;
    if (BASE64.test(char)) {
      inGroup = (inGroup + 1) % 4;
      continue;
    }
    if (char !== '=' || inGroup < 2) throw illegal(at);
    return checkPadding(value, at, inGroup);
  }
  if (inGroup > 0) throw illegal(value.length - inGroup);
}

/** `at` is the first `=`, after two or three characters of its group; the text must end with the group. */
function checkPadding(value: string, at: number, inGroup: number): void {
  let next = skipBreaks(value, at + 1);
  if (inGroup === 2) {
    if (next >= value.length) throw illegal(value.length);
    if (value.charAt(next) !== '=') throw illegal(next - 1);
    next = skipBreaks(value, next + 1);
  }
  if (next < value.length) throw illegal(next);
}

function skipBreaks(value: string, at: number): number {
  let next = at;
  while (value.charAt(next) === '\r' || value.charAt(next) === '\n') next++;
  return next;
}

function illegal(at: number): JsonFault {
  return new JsonFault(`illegal base64 data at input byte ${at}`);
}
