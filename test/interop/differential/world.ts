// One world: a fresh etcd and a fresh coterie, and operations put to both one after the other (reads that follow each other
// at once, for speed: they change nothing). The first answer that differs ends it.

import type { ClientDuplexStream } from '@grpc/grpc-js';
import { CALLS, KEEP_ALIVE, type CallName, type Message } from './calls.js';
import { compareOutcomes, firstDifference, type Difference } from './compare.js';
import { BOGUS, STALE } from './generate-auth.js';
import { Ids } from './ids.js';
import { Knowledge } from './knowledge.js';
import { chosenLease, plain, requestOf, type Operation } from './operation.js';
import { startSides, type Outcome, type Side, type Sides } from './side.js';
import { Watches, type Tokens } from './watches.js';

/** What one call was answered: for counting. */
export type Count = (operation: Operation, outcome: 'answer' | 'error') => void;

const EXPIRY_POLL_MS = 50;
const EXPIRY_MS = 60_000;
const TOKEN_CALLS: ReadonlySet<CallName> = new Set(['authenticate', 'user_delete', 'user_password', 'auth_disable']);
const READS: ReadonlySet<CallName> = new Set(['range', 'ttl', 'leases', 'hash']);

export class World {
  readonly known = new Knowledge();
  readonly watches: Watches;
  readonly #sides: Sides;
  readonly #names = { etcd: new Ids(), coterie: new Ids() };
  readonly #ids = { etcd: new Ids(), coterie: new Ids() };
  readonly #keepers: { readonly etcd: Keeper; readonly coterie: Keeper };
  readonly #count: Count;
  readonly #tokens = new Map<string, Tokens>([
    [BOGUS, { etcd: 'bogus', coterie: 'bogus' }],
    [STALE, { etcd: 'stale.1', coterie: 'stale.1' }],
  ]);

  private constructor(sides: Sides, count: Count) {
    this.#sides = sides;
    this.#count = count;
    this.watches = new Watches(sides, this.#names);
    this.#keepers = { etcd: new Keeper(sides.etcd), coterie: new Keeper(sides.coterie) };
  }

  static async open(count: Count): Promise<World> {
    const world = new World(await startSides(), count);
    const difference = await world.watches.start(0, null);
    if (difference !== null) throw new Error(`the watch of everything failed: ${JSON.stringify(difference)}`);
    return world;
  }

  async close(): Promise<void> {
    this.watches.close();
    this.#keepers.etcd.close();
    this.#keepers.coterie.close();
    await this.#sides.close();
  }

  /** Whether operations of this kind may be put to the servers at once. */
  isRead(operation: Operation): boolean {
    return operation.kind === 'call' && (READS.has(operation.call) || operation.isRead === true);
  }

  async run(operation: Operation): Promise<Difference | null> {
    const at = this.known;
    switch (operation.kind) {
      case 'call':
        return await this.#call(operation);
      case 'keep_alive':
        return await this.#keepAlive(operation);
      case 'watch':
        this.#count(operation, 'answer');
        return await this.watches.request(operation.stream, operation.bytes, at, this.#tokensOf(operation.as));
      case 'leave':
        this.#count(operation, 'answer');
        return await this.watches.leave(operation.stream, at.revision);
      case 'sync':
        return await this.watches.sync(at.revision);
      case 'part':
        return await this.watches.part(at.revision);
      case 'rejoin':
        return await this.watches.start(at.revision, this.#tokensOf(operation.as ?? undefined));
      case 'expire':
        return await this.#expire(operation);
    }
  }

  async #call(operation: Extract<Operation, { kind: 'call' }>): Promise<Difference | null> {
    const { call, bytes, as } = operation;
    const tokens = this.#tokensOf(as);
    // Watches read what came before a pair, and where they start, from history: compaction must not overtake them.
    if (call === 'compact') {
      const difference = await this.watches.settle(this.known.revision, this.#tokensOf(as));
      if (difference !== null) return difference;
    }
    const [etcd, coterie] = await Promise.all([
      this.#ask(this.#sides.etcd, call, bytes, tokens?.etcd ?? null),
      this.#ask(this.#sides.coterie, call, bytes, tokens?.coterie ?? null),
    ]);
    this.#count(operation, etcd.kind);
    if (call === 'grant') this.#nameChosen(bytes, etcd, coterie);
    if (TOKEN_CALLS.has(call)) this.#keepTokens(call, requestOf(operation), etcd, coterie);
    const failures = call === 'authenticate' ? this.#countLogin(bytes, etcd, coterie) : 0;
    const { compacted } = this.known;
    const difference = compareOutcomes(call, bytes, { etcd, coterie }, { names: this.#names, compacted, as, failures });
    if (etcd.kind === 'answer') this.known.learn(call, bytes, etcd.bytes);
    return difference;
  }

  async #ask(side: Side, call: CallName, bytes: Uint8Array, token: string | null): Promise<Outcome> {
    const own = CALLS[call].request.translate(bytes, this.#ids[side.name]);
    return await side.call(CALLS[call].path, own, token);
  }

  #tokensOf(as: string | undefined): Tokens | null {
    return as === undefined ? null : (this.#tokens.get(as) ?? null);
  }

  /** How many logins of this name failed in a row before this one. */
  #countLogin(request: Uint8Array, etcd: Outcome, coterie: Outcome): number {
    const name = String(CALLS.authenticate.request.read(request)['name']);
    const failures = this.known.failedLogins.get(name) ?? 0;
    const hasFailed = etcd.kind === 'error' || coterie.kind === 'error';
    this.known.failedLogins.set(name, hasFailed ? failures + 1 : 0);
    return failures;
  }

  /** A login gives tokens; a new password, the end of the user and the end of auth take them. */
  #keepTokens(call: CallName, request: Message, etcd: Outcome, coterie: Outcome): void {
    if (etcd.kind === 'error' || coterie.kind === 'error') return;
    const name = String(request['name']);
    const drop = (each: string): void => {
      const old = this.#tokens.get(each);
      if (old !== undefined) this.#tokens.set(STALE, old);
      this.#tokens.delete(each);
      this.known.tokens.delete(each);
    };
    if (call === 'user_delete' || call === 'user_password') drop(name);
    if (call === 'auth_disable') for (const each of [...this.known.tokens]) drop(each);
    if (call !== 'authenticate') return;
    const tokenIn = ({ bytes }: { readonly bytes: Uint8Array }): string => String(CALLS.authenticate.answer.read(bytes)['token']);
    this.#tokens.set(name, { etcd: tokenIn(etcd), coterie: tokenIn(coterie) });
    this.known.tokens.add(name);
  }

  /** Both chose an id for the same lease: from now on it has one name. */
  #nameChosen(request: Uint8Array, etcd: Outcome, coterie: Outcome): void {
    if (CALLS.grant.request.read(request)['ID'] !== 0n || etcd.kind === 'error' || coterie.kind === 'error') return;
    const name = chosenLease(this.known.chosen++);
    for (const [side, { bytes }] of [['etcd', etcd], ['coterie', coterie]] as const) {
      const id = CALLS.grant.answer.read(bytes)['ID'];
      // Etcd's are positive: another answer must stay visible.
      if (typeof id !== 'bigint' || id <= 0n) continue;
      this.#ids[side].set(name, id);
      this.#names[side].set(id, name);
    }
    this.known.leases.add(name);
  }

  async #keepAlive(operation: Extract<Operation, { kind: 'keep_alive' }>): Promise<Difference | null> {
    const answers = await Promise.all(
      (['etcd', 'coterie'] as const).map(async (side) => {
        const answer = await this.#keepers[side].ask(KEEP_ALIVE.request.translate(operation.bytes, this.#ids[side]));
        if (!(answer instanceof Uint8Array)) return answer;
        return plain(KEEP_ALIVE.answer.read(KEEP_ALIVE.answer.translate(answer, this.#names[side])));
      }),
    );
    this.#count(operation, 'answer');
    return firstDifference(answers[0], answers[1], '');
  }

  async #expire(operation: Extract<Operation, { kind: 'expire' }>): Promise<Difference | null> {
    const until = Date.now() + EXPIRY_MS;
    const gone = async (side: 'etcd' | 'coterie'): Promise<boolean> => {
      while (Date.now() < until) {
        const outcome = await this.#ask(this.#sides[side], 'ttl', operation.bytes, null);
        if (outcome.kind === 'answer' && CALLS.ttl.answer.read(outcome.bytes)['TTL'] === -1) return true;
        await new Promise((resolve) => setTimeout(resolve, EXPIRY_POLL_MS));
      }
      return false;
    };
    const [etcd, coterie] = await Promise.all([gone('etcd'), gone('coterie')]);
    this.#count(operation, 'answer');
    const { ID: id } = requestOf(operation);
    if (typeof id === 'bigint') this.known.leases.delete(id);
    return etcd && coterie ? null : { where: 'whether the lease has run out', etcd, coterie };
  }
}

/** One stream of keep-alives, its answers in the order of the requests. */
class Keeper {
  readonly #side: Side;
  #stream: ClientDuplexStream<Uint8Array, Uint8Array> | null = null;
  #waiting: ((answer: Uint8Array | string) => void) | null = null;

  constructor(side: Side) {
    this.#side = side;
  }

  async ask(bytes: Uint8Array): Promise<Uint8Array | string> {
    const stream = this.#stream ?? this.#open();
    return await new Promise((resolve) => {
      const timer = setTimeout(() => this.#answer('no answer'), EXPIRY_MS);
      this.#waiting = (answer) => {
        clearTimeout(timer);
        resolve(answer);
      };
      stream.write(bytes);
    });
  }

  close(): void {
    this.#stream?.cancel();
  }

  #open(): ClientDuplexStream<Uint8Array, Uint8Array> {
    const stream = this.#side.stream(KEEP_ALIVE.path, null);
    stream.on('data', (bytes: Uint8Array) => this.#answer(bytes));
    stream.on('error', (error: Error) => this.#answer(error.message));
    this.#stream = stream;
    return stream;
  }

  #answer(answer: Uint8Array | string): void {
    this.#waiting?.(answer);
    this.#waiting = null;
  }
}
