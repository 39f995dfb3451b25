// Who a call comes from, and how one gets to be somebody: credentials to a `Caller`, a name and a password to a token, and
// changes of users with their passwords hashed before they go anywhere. Nothing here decides what anybody may do: that is
// store/access.ts, asked wherever data is served.
//
// A simple token is letters, a point, and the index of the entry that made it. The letters are 136 bits of chance, known to
// the caller alone: in the log, in snapshots and in memory there is only their digest. The index tells a member that lags
// behind how far it has to come before it may say that it does not know the token.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import type { TokenFacts, TokenSigner } from '../base/jwt.js';
import { costOf, isBcryptHash, type Secrets } from '../base/secrets.js';
import type { AuthChange, Caller, Credentials, Password } from '../client.js';
import { ApiError } from '../errors.js';
import type { StoredChange } from '../store/auth-records.js';
import type { AuthTable } from '../store/auth.js';
import { loginRoundsMax } from './limits.js';
import type { Node } from './node.js';
import { Passwords } from './passwords.js';

export interface GateDoors {
  readonly clock: Clock;
  readonly secrets: Secrets;
  /** Null: simple tokens. */
  readonly signer: TokenSigner | null;
}

/** Letters to draw from, and how many: 24 of 52 are 136 bits. */
const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const TOKEN_LETTERS = 24;
const SIMPLE_TOKEN = /^([A-Za-z]{1,64})\.(\d{1,15})$/;
/** Signed tokens that were checked lately, and for how long their checking is believed. */
const CHECKED_MAX = 1000;
const CHECKED_MS = 5000;

interface Checked {
  readonly user: string;
  readonly authRevision: number;
  readonly untilMs: number;
}

export class Gate {
  readonly passwords: Passwords;
  readonly #node: Node;
  readonly #doors: GateDoors;
  readonly #checked = new Map<string, Checked>();

  constructor(node: Node, doors: GateDoors, bcryptCost: number) {
    this.#node = node;
    this.#doors = doors;
    this.passwords = new Passwords(doors.secrets, doors.clock, bcryptCost);
  }

  /** At once where that is possible; 'later': `identify` can say. */
  look(credentials: Credentials): Caller | null | ApiError | 'later' {
    const auth = this.#auth;
    if (!auth.isEnabled) return null;
    const token = tokenIn(credentials);
    if (token === null) return callerOf(credentials.certificateName, auth.revision);
    if (this.#doors.signer !== null) return this.#recall(token) ?? 'later';
    const parts = SIMPLE_TOKEN.exec(token);
    if (parts === null) return new ApiError('token_invalid');
    const [, letters = '', index = ''] = parts;
    if (Number(index) > this.#node.store.applied.index) return 'later';
    return this.#simple(letters, Number(index)) ?? new ApiError('token_invalid');
  }

  identify(credentials: Credentials, done: Done<Caller | null>): void {
    const { signer } = this.#doors;
    const token = tokenIn(credentials);
    if (signer === null || token === null) return this.#catchUp(credentials, done);
    signer.verify(token, (error, facts) => {
      if (error !== null || facts === null || facts === undefined) return done(new ApiError('token_invalid'));
      this.#remember(token, facts);
      done(null, callerOf(facts.user, facts.authRevision));
    });
  }

  /** Done with a token. What was acknowledged before counts: an old password is not right any more anywhere. */
  authenticate(name: string, password: string, done: Done<string>, round = 0): void {
    if (round >= loginRoundsMax) return this.#later(done, new ApiError('auth_revision_old'));
    this.#node.desk.read((readError) => {
      if (readError !== null) return done(readError);
      const auth = this.#auth;
      if (!auth.isEnabled) return done(new ApiError('auth_disabled'));
      const { revision } = auth;
      const user = auth.user(name);
      if (user?.noPassword === true) return done(new ApiError('auth_without_password'));
      this.passwords.verify(name, password, user?.hash ?? null, (error, isRight) => {
        if (error !== null) return done(error);
        if (isRight !== true || user === null) return done(new ApiError('auth_failed'));
        if (revision !== this.#auth.revision) return this.authenticate(name, password, done, round + 1);
        this.#renewHash(name, password, user.hash);
        this.#issue(name, revision, (issueError, token) => {
          const isOld = issueError instanceof ApiError && issueError.code === 'auth_revision_old';
          if (isOld) this.authenticate(name, password, done, round + 1);
          else done(issueError, token);
        });
      });
    });
  }

  /** The change as it may be written down. */
  store(change: AuthChange, done: Done<StoredChange>): void {
    if (change.kind !== 'user_add' && change.kind !== 'user_password') return done(null, change);
    const { kind, name, password } = change;
    if (password === null) return done(null, { kind, name, hash: null });
    this.#hashOf(password, (error, hash) => (hash === undefined ? done(error) : done(null, { kind, name, hash })));
  }

  get #auth(): AuthTable {
    return this.#node.store.auth;
  }

  #simple(letters: string, index: number): Caller | null {
    const record = this.#auth.token(index);
    const digest = this.#doors.secrets.digest(letters);
    // Compared also where there is nothing to compare with, and before the time is looked at.
    const isKnown = this.#doors.secrets.isSame(digest, record?.digest ?? digest.toUpperCase());
    if (record === null || !isKnown || !this.#node.tokenTimes.use(index)) return null;
    return callerOf(record.user, this.#auth.revision);
  }

  /**
   * This member has not applied the entry that made the token. Whoever was given it was told so before now, so a linearizable
   * read waits for that entry, and for no entry that there is not: a made-up token costs no more than a read.
   */
  #catchUp(credentials: Credentials, done: Done<Caller | null>): void {
    this.#node.desk.read((error) => {
      if (error !== null) return done(error);
      const found = this.look(credentials);
      if (found === 'later') done(new ApiError('token_invalid'));
      else if (found instanceof ApiError) done(found);
      else done(null, found);
    });
  }

  #recall(token: string): Caller | null {
    const known = this.#checked.get(token);
    if (known === undefined || known.untilMs <= this.#doors.clock.now()) return null;
    return callerOf(known.user, known.authRevision);
  }

  #remember(token: string, { user, authRevision, leftMs }: TokenFacts): void {
    if (this.#checked.size >= CHECKED_MAX) this.#checked.clear();
    this.#checked.set(token, { user, authRevision, untilMs: this.#doors.clock.now() + Math.min(leftMs, CHECKED_MS) });
  }

  #issue(user: string, authRevision: number, done: Done<string>): void {
    const { signer, secrets } = this.#doors;
    if (signer !== null) {
      return signer.sign(user, authRevision, (error, token) => {
        done(error === null ? null : new ApiError('unsupported', { detail: error.message }), token);
      });
    }
    const letters = drawLetters(secrets);
    const digest = secrets.digest(letters);
    this.#node.desk.propose({ kind: 'authenticate', user, digest, authRevision }, (error, reply) => {
      if (error !== null) return done(error);
      if (reply?.kind === 'auth') return done(null, `${letters}.${reply.index}`);
      done(new ApiError(reply?.kind === 'error' ? reply.code : 'internal'));
    });
  }

  /** The only moment at which a hash of another cost than the configured one can be replaced: the password is here. */
  #renewHash(name: string, password: string, from: string): void {
    if (costOf(from) === this.passwords.cost) return;
    this.passwords.hash(password, (error, to) => {
      // Whatever is in the way now: the next login tries again.
      if (error === null && to !== undefined) this.#node.desk.submit({ kind: 'rehash', name, from, to }, () => undefined);
    });
  }

  #hashOf(password: Password, done: Done<string>): void {
    if ('plain' in password) return this.passwords.hash(password.plain, done);
    if (isBcryptHash(password.bcrypt)) return done(null, password.bcrypt);
    done(new ApiError('password_unfit', { detail: 'what was given as its hash is none of bcrypt\'s' }));
  }

  #later(done: (error: Error) => void, error: ApiError): void {
    this.#doors.clock.schedule(0, () => done(error));
  }
}

/** As later releases of etcd take it: HTTP's own way to bring a token names its kind first. */
function tokenIn({ token }: Credentials): string | null {
  return token?.startsWith('Bearer ') === true ? token.slice('Bearer '.length) : token;
}

function callerOf(user: string | null, authRevision: number): Caller {
  return { user, authRevision, token: null };
}

/** Each as likely as any other: bytes beyond the last whole multiple of the letters are thrown away. */
function drawLetters(secrets: Secrets): string {
  const whole = 256 - (256 % LETTERS.length);
  let letters = '';
  while (letters.length < TOKEN_LETTERS) {
    for (const byte of secrets.random(2 * TOKEN_LETTERS)) {
      if (byte < whole && letters.length < TOKEN_LETTERS) letters += LETTERS[byte % LETTERS.length] ?? '';
    }
  }
  return letters;
}
