// What a server tells about itself over gRPC: health, and reflection as tools use it.

import { createFileRegistry, create, fromBinary, type FileRegistry } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, type FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import test, { type ExecutionContext } from 'ava';
import { startNode } from '../../../core/start-node.js';
import { methods } from '../../../core/wire/methods.js';
import { serve } from '../../serving.js';
import { HealthCheckRequest, HealthCheckResponse } from '../../../core/wire/schema/generated/health.js';
import {
  ServerReflectionRequest, ServerReflectionResponse,
} from '../../../core/wire/schema/generated/reflection.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import { RawClient, type RawStream } from '../../interop/raw-grpc.js';
import { fakeCall } from './fake-call.js';

async function setUp(t: ExecutionContext): Promise<{ client: RawClient; drain: () => Promise<void> }> {
  const node = await startNode({ dataDir: null });
  const server = await serve(node.client, { urls: ['http://127.0.0.1:0'] });
  const client = new RawClient(server.urls[0] ?? '');
  t.teardown(async () => {
    client.close();
    await server.close();
    await node.close();
  });
  return { client, drain: () => server.drain(1000) };
}

test('health is that of the server as a whole, and its end is the end of who watches it', async (t) => {
  const { client, drain } = await setUp(t);
  const check = (service: string): Promise<unknown> =>
    client.call('/grpc.health.v1.Health/Check', HealthCheckRequest, HealthCheckResponse, { service });
  t.deepEqual(await check(''), { answer: { status: 1 } });
  t.deepEqual(await check('etcdserverpb.KV'), { code: 5, text: 'unknown service' });
  const watch = (service: string): RawStream<HealthCheckRequest, HealthCheckResponse> => {
    const stream = client.stream('/grpc.health.v1.Health/Watch', HealthCheckRequest, HealthCheckResponse);
    stream.write({ service });
    stream.halfClose();
    return stream;
  };
  const [known, strange] = [watch(''), watch('x')];
  t.deepEqual(await known.next(), { status: 1 });
  t.deepEqual(await strange.next(), { status: 3 });
  t.is(await known.next(50), 'nothing');
  const drained = drain();
  t.deepEqual(await known.next(), { code: 14, text: 'etcdserver: server stopped' });
  t.deepEqual(await strange.next(), { code: 14, text: 'etcdserver: server stopped' });
  await drained;
});

test('a server that is going away is not well', async (t) => {
  const node = await startNode({ dataDir: null });
  t.teardown(() => node.close());
  let serving = true;
  const check = methods(node.client, { isServing: () => serving }).get('/grpc.health.v1.Health/Check');
  const ask = async (): Promise<unknown> => {
    if (check?.kind !== 'unary') return null;
    return HealthCheckResponse.decode(await check.handle(new Uint8Array(0), fakeCall()));
  };
  t.deepEqual(await ask(), { status: 1 });
  serving = false;
  t.deepEqual(await ask(), { status: 2 });
});

type Question = ServerReflectionRequest['messageRequest'];
type Answer = ServerReflectionResponse['messageResponse'];

for (const version of ['v1', 'v1alpha']) {
  const service = `grpc.reflection.${version}.ServerReflection`;

  test(`a tool that speaks reflection ${version} learns every method and every message`, async (t) => {
    const { client } = await setUp(t);
    const path = `/${service}/ServerReflectionInfo`;
    const stream = client.stream(path, ServerReflectionRequest, ServerReflectionResponse);
    const ask = async (messageRequest: Question): Promise<Answer> => {
      const request = { host: 'h', messageRequest };
      stream.write(request);
      const answer = await stream.next();
      if (answer === 'nothing' || 'code' in answer) return undefined;
      t.deepEqual([answer.validHost, answer.originalRequest], ['h', request]);
      return answer.messageResponse;
    };
    const listed = await ask({ $case: 'listServices', value: '' });
    const names = listed?.$case === 'listServicesResponse' ? listed.value.service.map(({ name }) => name) : [];
    t.deepEqual(names, [
      ...['Auth', 'Cluster', 'KV', 'Lease', 'Maintenance', 'Watch'].map((name) => `etcdserverpb.${name}`),
      'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection',
      'v3electionpb.Election', 'v3lockpb.Lock',
    ]);
    const paths: string[] = [];
    for (const name of names) {
      const registry = registryOf(t, await ask({ $case: 'fileContainingSymbol', value: name }));
      for (const method of registry.getService(name)?.methods ?? []) paths.push(`/${name}/${method.name}`);
    }
    const served = [...methods(unused()).keys()];
    t.deepEqual(paths.toSorted(), served.toSorted());
    const registry = registryOf(t, await ask({ $case: 'fileContainingSymbol', value: 'etcdserverpb.RangeRequest.sort_order' }));
    t.is(registry.getMessage('etcdserverpb.RangeRequest')?.field['sortOrder']?.number, 5);
    registryOf(t, await ask({ $case: 'fileByFilename', value: 'mvcc.proto' }));
    registryOf(t, await ask({ $case: 'fileContainingSymbol', value: 'etcdserverpb.AlarmType' }));
    const missing = { errorCode: 5, errorMessage: 'not found: no.Such' };
    t.deepEqual(await ask({ $case: 'fileContainingSymbol', value: 'no.Such' }), { $case: 'errorResponse', value: missing });
    t.deepEqual(await ask({ $case: 'fileByFilename', value: 'no.Such' }), { $case: 'errorResponse', value: missing });
    t.like(await ask({ $case: 'fileContainingSymbol', value: '__proto__' }), { $case: 'errorResponse' });
    t.deepEqual(await ask({ $case: 'allExtensionNumbersOfType', value: 'mvccpb.KeyValue' }), {
      $case: 'allExtensionNumbersResponse', value: { baseTypeName: 'mvccpb.KeyValue', extensionNumber: [] },
    });
    t.like(await ask({ $case: 'allExtensionNumbersOfType', value: 'no.Such' }), { $case: 'errorResponse' });
    const extension = { containingType: 'mvccpb.KeyValue', extensionNumber: 100 };
    t.like(await ask({ $case: 'fileContainingExtension', value: extension }), { $case: 'errorResponse' });
    t.like(await ask(undefined), { $case: 'errorResponse', value: { errorCode: 3 } });
    stream.halfClose();
    t.deepEqual(await stream.next(), { code: 0, text: '' });
  });
}

/** The files of an answer, which must be enough to build from. */
function registryOf(t: ExecutionContext, answer: Answer): FileRegistry {
  t.is(answer?.$case, 'fileDescriptorResponse');
  const bytes = answer?.$case === 'fileDescriptorResponse' ? answer.value.fileDescriptorProto : [];
  const files = new Map(bytes.map((one) => fromBinary(FileDescriptorProtoSchema, one)).map((one) => [one.name, one]));
  const sorted = new Set<FileDescriptorProto>();
  const add = (name: string): void => {
    const file = files.get(name);
    if (file === undefined) return t.fail(`${name} is imported and was not sent`);
    file.dependency.forEach(add);
    sorted.add(file);
  };
  [...files.keys()].forEach(add);
  return createFileRegistry(create(FileDescriptorSetSchema, { file: [...sorted] }));
}

/** The table is made without asking anything of its backend. */
function unused(): Parameters<typeof methods>[0] {
  return new Proxy({} as Parameters<typeof methods>[0], {
    get: () => {
      throw new Error('the backend was asked');
    },
  });
}

test('there is nothing to downgrade to, and that is said as later releases of etcd say it', async (t) => {
  const { client } = await setUp(t);
  const ask = (action: number, version: string): Promise<unknown> => client.call(
    '/etcdserverpb.Maintenance/Downgrade', rpc.DowngradeRequest, rpc.DowngradeResponse, { action, version },
  );
  // downgrade_format, downgrade_target, downgrade_none
  t.deepEqual(await ask(0, 'x'), { code: 3, text: 'etcdserver: wrong downgrade target version format' });
  t.deepEqual(await ask(1, '3.3'), { code: 3, text: 'etcdserver: invalid downgrade target version' });
  t.deepEqual(await ask(2, ''), { code: 9, text: 'etcdserver: no inflight downgrade job' });
});
