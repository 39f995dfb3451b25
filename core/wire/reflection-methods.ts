// gRPC's reflection service, versions 1 and 1alpha: tools such as grpcurl and Postman ask it which methods there are and what
// their messages look like, and need no .proto files. It tells what is public anyway, etcd's schema, and nothing about data,
// so nobody has to say who he is. etcd has none (test/interop/DIFFERENCES.md).

import { clone, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  FileDescriptorProtoSchema, FileDescriptorSetSchema, type DescriptorProto, type EnumDescriptorProto, type FileDescriptorProto,
} from '@bufbuild/protobuf/wkt';
import { Status } from '../errors.js';
import type { Method } from './call.js';
import { descriptorSet } from './schema/generated/descriptors.js';
import { ServerReflectionRequest, ServerReflectionResponse } from './schema/generated/reflection.js';
import { decode } from './unary.js';

const PACKAGES = ['grpc.reflection.v1', 'grpc.reflection.v1alpha'] as const;

export function reflectionMethods(others: readonly Method[]): Method[] {
  const services = [...new Set([...others.map(({ service }) => service), ...PACKAGES.map(serviceOf)])].sort();
  let known: Schema | null = null;
  return PACKAGES.map((name) => ({
    kind: 'stream',
    service: serviceOf(name),
    name: 'ServerReflectionInfo',
    async handle(requests, _call, send) {
      // Read when somebody asks: most servers are never asked.
      known ??= readSchema();
      for await (const bytes of requests) {
        const request = decode(ServerReflectionRequest, bytes, 'ServerReflectionRequest');
        const messageResponse = answerTo(request.messageRequest, known, services);
        const answer = { validHost: request.host, originalRequest: request, messageResponse };
        await send(ServerReflectionResponse.encode(answer).finish());
      }
    },
  }));
}

function serviceOf(name: string): string {
  return `${name}.ServerReflection`;
}

interface Schema {
  readonly files: ReadonlyMap<string, FileDescriptorProto>;
  /** Which file declares a name: services, methods, messages, fields, enums and their values. */
  readonly symbols: ReadonlyMap<string, FileDescriptorProto>;
  readonly messages: ReadonlySet<string>;
}

type Question = ServerReflectionRequest['messageRequest'];
type Answer = ServerReflectionResponse['messageResponse'];

function answerTo(question: Question, schema: Schema, services: readonly string[]): Answer {
  switch (question?.$case) {
    case 'listServices':
      return { $case: 'listServicesResponse', value: { service: services.map((name) => ({ name })) } };
    case 'fileByFilename':
      return files(schema, schema.files.get(question.value), question.value);
    case 'fileContainingSymbol':
      return files(schema, schema.symbols.get(question.value), question.value);
    case 'fileContainingExtension':
      return unknown(`${question.value.containingType} with ${question.value.extensionNumber}`);
    case 'allExtensionNumbersOfType':
      if (!schema.messages.has(question.value)) return unknown(question.value);
      return { $case: 'allExtensionNumbersResponse', value: { baseTypeName: question.value, extensionNumber: [] } };
    default:
      return { $case: 'errorResponse', value: { errorCode: Status.invalid_argument, errorMessage: 'nothing was asked' } };
  }
}

/** The file and all that it imports, so that nobody has to ask again. */
function files(schema: Schema, file: FileDescriptorProto | undefined, asked: string): Answer {
  if (file === undefined) return unknown(asked);
  const wanted = new Set<FileDescriptorProto>();
  const add = (one: FileDescriptorProto | undefined): void => {
    if (one === undefined || wanted.has(one)) return;
    wanted.add(one);
    for (const name of one.dependency) add(schema.files.get(name));
  };
  add(file);
  const fileDescriptorProto = [...wanted].map((one) => toBinary(FileDescriptorProtoSchema, one));
  return { $case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function unknown(asked: string): Answer {
  return { $case: 'errorResponse', value: { errorCode: Status.not_found, errorMessage: `not found: ${asked}` } };
}

function readSchema(): Schema {
  const declared = fromBinary(FileDescriptorSetSchema, Buffer.from(descriptorSet, 'base64')).file;
  const all = declared.flatMap((file) => (file.package === PACKAGES[0] ? [file, inAlpha(file)] : [file]));
  const symbols = new Map<string, FileDescriptorProto>();
  const messages = new Set<string>();
  for (const file of all) {
    const add = (name: string): void => void symbols.set(name, file);
    for (const service of file.service) {
      const name = `${file.package}.${service.name}`;
      add(name);
      for (const method of service.method) add(`${name}.${method.name}`);
    }
    for (const one of file.enumType) addEnum(one, file.package, add);
    for (const one of file.messageType) addMessage(one, file.package, { add, messages });
  }
  return { files: new Map(all.map((file) => [file.name, file])), symbols, messages };
}

interface Names {
  readonly add: (name: string) => void;
  readonly messages: Set<string>;
}

function addMessage(message: DescriptorProto, scope: string, names: Names): void {
  const name = `${scope}.${message.name}`;
  names.add(name);
  names.messages.add(name);
  for (const { name: field } of [...message.field, ...message.oneofDecl]) names.add(`${name}.${field}`);
  for (const one of message.enumType) addEnum(one, name, names.add);
  for (const one of message.nestedType) addMessage(one, name, names);
}

/** A value's name stands beside its enum's, not below it. */
function addEnum({ name, value }: EnumDescriptorProto, scope: string, add: (name: string) => void): void {
  add(`${scope}.${name}`);
  for (const one of value) add(`${scope}.${one.name}`);
}

/** The same file under the older name of its package. */
function inAlpha(file: FileDescriptorProto): FileDescriptorProto {
  const [from, to] = PACKAGES;
  const copy = clone(FileDescriptorProtoSchema, file);
  const renamed = (type: string): string => (type.startsWith(`.${from}.`) ? `.${to}.${type.slice(from.length + 2)}` : type);
  copy.name = `v1alpha/${file.name}`;
  copy.package = to;
  for (const { field } of copy.messageType) for (const one of field) one.typeName = renamed(one.typeName);
  for (const { method } of copy.service) {
    for (const one of method) {
      one.inputType = renamed(one.inputType);
      one.outputType = renamed(one.outputType);
    }
  }
  return copy;
}
