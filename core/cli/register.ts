// `coterie register SERVICE --port N [-- command …]`: runs a service and keeps it registered. It is registered once its port
// answers; asked to end, it is first shown as draining, then taken out, and only then is the command asked to end. When
// the command ends by itself the registration goes with it; it is never started again. An outage of the store ends nothing:
// the registration is put back (registration.ts), and the service goes on serving.

import { connect } from 'node:net';
import { hostname } from 'node:os';
import { systemClock } from '../base/clock.js';
import type { Client } from '../client.js';
import { isApiError } from '../errors.js';
import { servicePrefix } from '../../recipes/instance.js';
import { pause } from '../../recipes/pause.js';
import { checkSpec, register, RegistrationEnded } from '../../recipes/registry.js';
import type { InstanceSpec, Registration, RegistrationEvent } from '../../recipes/registry.js';
import { Child } from './child.js';
import { complain, runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { aborted, cannotRun, tell } from './hold.js';
import { json } from './output.js';
import { Refusal } from './refusal.js';
import { Requests } from './requests.js';
import { showDuration } from './values.js';

const TTL_SECONDS = 10;
const DRAIN_MS = 5_000;
const GRACE_MS = 10_000;
const WAIT_MS = 30_000;
const PROBE_MS = 100;
const PROBE_TIMEOUT_MS = 1_000;
const REGISTER_MS = 30_000;
const CLOSE_MS = 3_000;

const REGISTER: ClientCommand = {
  words: 'register', usage: 'SERVICE --port PORT [-- COMMAND …]', summary: 'run a service and keep it registered',
  takes: [1, Infinity],
  flags: [
    { name: 'port', value: 'PORT', help: 'where the service answers' },
    { name: 'address', value: 'HOST', help: 'where others reach it; default 127.0.0.1 when the store is on this machine too' },
    { name: 'id', value: 'ID', help: 'of this instance; a newer process with the same one takes its place; default HOST-PORT' },
    { name: 'weight', value: 'NUMBER', help: 'its share of the traffic, 0 to 256; default 1' },
    { name: 'zone', value: 'ZONE', help: 'where it runs' },
    { name: 'tags', value: 'TAGS', help: 'separated by commas' },
    { name: 'meta', value: 'PAIRS', help: 'NAME=VALUE, separated by commas' },
    { name: 'ttl', value: 'SECONDS', help: 'how long it is still shown after this process is gone without a word; default 10' },
    { name: 'wait', value: 'DURATION', help: 'how long the port may take to answer, to be registered; default 30s, 0: not' },
    { name: 'drain', value: 'DURATION', help: 'how long it is shown as draining before the command is asked to end; default 5s' },
    { name: 'grace', value: 'DURATION', help: 'between SIGTERM and SIGKILL; default 10s' },
  ],
  formats: ['simple', 'json'],
  run: (invocation) => supervise(invocation, specOf(invocation), timesOf(invocation)),
};

export const COMMANDS: readonly ClientCommand[] = [REGISTER];

export function main(argv: readonly string[]): Promise<number> {
  return runGroup('register', COMMANDS, argv);
}

function specOf(invocation: Invocation): InstanceSpec {
  const [service = ''] = invocation.args;
  if (invocation.text('port') === null) {
    throw new Refusal('--port is missing', 'say where the service answers, for instance --port 8080');
  }
  const port = invocation.whole('port', 0, { min: 1, max: 65_535 });
  const zone = invocation.text('zone');
  const spec = {
    service, port, address: addressOf(invocation),
    id: invocation.text('id') ?? `${hostname().replace(/[^\w.-]/g, '-')}-${port}`,
    weight: invocation.whole('weight', 1, { min: 0, max: 256 }),
    tags: invocation.list('tags') ?? [],
    meta: Object.fromEntries((invocation.list('meta') ?? []).map(pairOf)),
    ...(zone === null ? {} : { zone }),
  };
  checkSpec(spec);
  return spec;
}

function pairOf(word: string): readonly [string, string] {
  const at = word.indexOf('=');
  if (at > 0) return [word.slice(0, at), word.slice(at + 1)];
  throw new Refusal(`--meta ${word}: not a pair`, 'write NAME=VALUE, for instance --meta version=1.2');
}

/** Whoever looks the service up elsewhere could do nothing with this machine's name for itself. */
function addressOf(invocation: Invocation): string {
  const given = invocation.text('address');
  if (given !== null) return given;
  const here = invocation.endpoints.every((url) => /^(?:https?:\/\/)?(?:localhost|127(?:\.\d+){3}|\[::1\])(?::|$|\/)/.test(url));
  if (here) return '127.0.0.1';
  throw new Refusal('--address is missing', 'say where others reach the service, for instance --address 10.0.0.7');
}

interface Times {
  readonly ttlSeconds: number;
  readonly waitMs: number;
  readonly drainMs: number;
  readonly graceMs: number;
}

function timesOf(invocation: Invocation): Times {
  return {
    ttlSeconds: invocation.seconds('ttl', TTL_SECONDS),
    waitMs: invocation.milliseconds('wait', WAIT_MS),
    drainMs: invocation.milliseconds('drain', DRAIN_MS),
    graceMs: invocation.milliseconds('grace', GRACE_MS),
  };
}

interface Service {
  readonly spec: InstanceSpec;
  readonly times: Times;
  /** Null: it runs somewhere else, or was started by somebody else. */
  readonly child: Child | null;
  readonly requests: Requests;
  /** Aborts when the command has ended. */
  readonly over: AbortSignal;
  /** Aborts when asked to end once more: no more draining. */
  readonly hurry: AbortSignal;
}

async function supervise(invocation: Invocation, spec: InstanceSpec, times: Times): Promise<number> {
  const [, program, ...args] = invocation.args;
  const client = invocation.connect();
  // While the store cannot be told of it the service need not be started. Who may write this service may perhaps read no other.
  await client.range({ key: servicePrefix(spec.service), limit: 1, keysOnly: true });
  const [over, hurry] = [new AbortController(), new AbortController()];
  let asked = 0;
  const onEnding = (): void => {
    asked += 1;
    if (asked > 1) hurry.abort();
  };
  const requests = new Requests({ onEnding });
  const env = { COTERIE_SERVICE: spec.service, COTERIE_INSTANCE_ID: spec.id };
  const child = program === undefined ? null : new Child([program, ...args], { env, graceMs: times.graceMs, apart: true });
  void child?.ended.then(() => over.abort());
  if (child !== null) requests.passTo(child);
  const service = { spec, times, child, requests, over: over.signal, hurry: hurry.signal };
  try {
    return await whileItRuns(invocation, client, service);
  } finally {
    await child?.end();
    requests.stop();
  }
}

async function whileItRuns(invocation: Invocation, client: Client, service: Service): Promise<number> {
  const { spec, times, child, requests, over } = service;
  const stop = AbortSignal.any([requests.asked, over]);
  const answers = child === null || times.waitMs === 0 || await untilItAnswers(spec, times.waitMs, stop);
  if (stop.aborted) return ending(invocation, service);
  if (!answers) {
    const problem = `${spec.address}:${spec.port} does not answer after ${showDuration(times.waitMs)}`;
    throw new Refusal(problem, 'see whether the command listens there, or give it more time with --wait', { exitCode: 1 });
  }
  let registration: Registration;
  try {
    const observe = reporter(invocation, spec);
    const bounds = { signal: stop, timeoutMs: REGISTER_MS, closeTimeoutMs: CLOSE_MS, observe };
    registration = await register(client, spec, { ttlSeconds: times.ttlSeconds, ...bounds });
  } catch (error) {
    if (stop.aborted && isApiError(error, 'canceled')) return ending(invocation, service);
    throw error instanceof RegistrationEnded ? endedByOthers(error) : error;
  }
  if (child === null) {
    const { service: name, id, address, port } = spec;
    invocation.print(invocation.format === 'json' ? `${json({ service: name, id, address, port })}\n` : `${name}/${id}\n`);
  }
  return untilTheEnd(invocation, service, registration);
}

async function untilTheEnd(invocation: Invocation, service: Service, registration: Registration): Promise<number> {
  const { requests, over, hurry, times } = service;
  await aborted(requests.asked, over, registration.signal);
  if (registration.signal.aborted) {
    throw endedByOthers(registration.signal.reason);
  }
  if (!over.aborted) {
    // Nobody sends it anything new by the time it is asked to end.
    const gone = registration.drain({ graceMs: times.drainMs });
    await Promise.race([gone, aborted(over, hurry)]);
  }
  await registration.close();
  return ending(invocation, service);
}

function endedByOthers(reason: unknown): Refusal {
  const problem = reason instanceof Error ? reason.message : String(reason);
  return new Refusal(problem, 'it is not started again: find out who did that, and start it anew', { exitCode: 1 });
}

async function ending(invocation: Invocation, { child }: Service): Promise<number> {
  if (child === null) return 0;
  const code = await child.end();
  const fault = child.fault();
  if (fault === null) return code;
  complain(invocation.words, cannotRun(fault));
  return code;
}

/** False when it did not within that time, or `stop` aborted. */
async function untilItAnswers({ address, port }: InstanceSpec, waitMs: number, stop: AbortSignal): Promise<boolean> {
  const deadline = performance.now() + waitMs;
  while (!stop.aborted && performance.now() < deadline) {
    if (await accepts(address, port)) return true;
    await pause(systemClock, PROBE_MS, stop);
  }
  return false;
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PROBE_TIMEOUT_MS });
    const end = (outcome: boolean): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}

/** One line when it is there, one when an outage begins, one when it is over. */
function reporter(invocation: Invocation, { service, id, address, port }: InstanceSpec): (event: RegistrationEvent) => void {
  const name = `${service}/${id}`;
  let said: 'nothing' | 'registered' | 'outage' = 'nothing';
  return (event) => {
    if (event.kind === 'registered' && said !== 'registered') {
      tell(invocation, said === 'nothing' ? `${name} is registered at ${address}:${port}` : `${name} is registered again`);
      said = 'registered';
    } else if ((event.kind === 'session_lost' || event.kind === 'attempt_failed') && said === 'registered') {
      tell(invocation, `${name} is not registered now: ${event.error.message}; it goes on, and will be registered again`);
      said = 'outage';
    } else if (event.kind === 'left_behind') {
      tell(invocation, `${name}: the store could not be told of the end; it is shown until its lease has run out`);
    }
  };
}
