// Requests of the auth service, and under whose name the others are made. Calls that later releases allow to fewer than 3.4
// does are made as root alone while auth is on (test/interop/DIFFERENCES.md).

import { deepReader } from '../../../core/wire/deep-reader.js';
import * as rpc from '../../../core/wire/schema/generated/rpc.js';
import type { CallName } from './calls.js';
import type { Dice } from './dice.js';
import type { KeyValueRequests } from './generate-kv.js';
import type { Knowledge } from './knowledge.js';
import { textOf, type Operation } from './operation.js';

type CallOperation = Extract<Operation, { kind: 'call' }>;

const USERS = ['u1', 'u2', 'u3'];
const ROLES = ['r1', 'r2', 'r3'];
/** Where the range of a permission ends that begins at a key: always there, and at the key itself for others. */
const ENDS: ReadonlyMap<string, string> = new Map([['a', 'b'], ['b', 'k'], ['k', 'l'], ['k05', 'k1'], ['c', '\0'], ['\0', '\0']]);
/** Whose token is none, is no token, and was one. */
export const BOGUS = 'bogus';
export const STALE = 'stale';
/** While auth is on, open to everybody in 3.4 and to fewer later. */
const NARROWED: ReadonlySet<CallName> = new Set(['compact', 'grant', 'ttl', 'leases', 'hash']);

export class AuthRequests {
  readonly #dice: Dice;
  readonly #known: Knowledge;
  readonly #kv: KeyValueRequests;

  constructor(dice: Dice, known: Knowledge, kv: KeyValueRequests) {
    this.#dice = dice;
    this.#known = known;
    this.#kv = kv;
  }

  /** Users and roles as auth needs them, and the way in: with nobody at the watches meanwhile. */
  enabling(): Operation[] {
    const hasRoot = !this.#dice.once(6);
    const basics = [
      call('user_add', rpc.AuthUserAddRequest.encode(user('root'))),
      ...(this.#dice.once(3) ? [call('role_add', rpc.AuthRoleAddRequest.encode({ name: 'root' }))] : []),
      call('user_grant', rpc.AuthUserGrantRoleRequest.encode({ user: 'root', role: 'root' })),
    ];
    return [
      ...(hasRoot ? basics : basics.slice(0, this.#dice.below(2))),
      { kind: 'part' },
      call('auth_enable', rpc.AuthEnableRequest.encode({})),
      this.login('root'),
      { kind: 'rejoin', as: 'root' },
      ...USERS.map((name) => this.login(name)),
    ];
  }

  disabling(): Operation[] {
    const disable = call('auth_disable', rpc.AuthDisableRequest.encode({}));
    return [{ kind: 'part' }, { ...disable, as: 'root' }, { kind: 'rejoin', as: null }];
  }

  login(name: string): CallOperation {
    return call('authenticate', rpc.AuthenticateRequest.encode({ name, password: passwordOf(name) }));
  }

  /** Under whose name a call is made. Null: nobody's. */
  named(operation: CallOperation): CallOperation {
    if (!this.#known.isAuthOn || operation.call === 'authenticate') return operation;
    const names = [...this.#known.tokens].filter((name) => name !== 'root');
    const isRoots = NARROWED.has(operation.call) || isUndecided(operation) || names.length === 0;
    if (isRoots || this.#dice.once(3)) return { ...operation, as: 'root' };
    return this.#dice.once(12) ? this.#unnamed(operation) : { ...operation, as: this.#dice.one(names) };
  }

  #unnamed(operation: CallOperation): CallOperation {
    const as = this.#dice.one([null, BOGUS, STALE]);
    // Who revokes a lease without keys needs no name in 3.4.
    return as === null && operation.call !== 'revoke' ? operation : { ...operation, as: as ?? BOGUS };
  }

  /** Some change or question about users and roles. */
  draw(): CallOperation {
    const dice = this.#dice;
    const name = dice.once(15) ? dice.one(['', 'nobody']) : dice.one([...USERS, ...USERS, 'root']);
    const role = dice.once(15) ? dice.one(['', 'norole']) : dice.one([...ROLES, ...ROLES, 'root']);
    // The watch of everything is root's, and ends with its password.
    const other = name === 'root' && this.#known.isAuthOn ? 'u1' : name;
    const drawn = dice.weighted<() => CallOperation>([
      [10, () => call('user_add', rpc.AuthUserAddRequest.encode(user(name, name !== 'root' && dice.once(8))))],
      [6, () => call('user_get', rpc.AuthUserGetRequest.encode({ name }))],
      [3, () => call('user_list', rpc.AuthUserListRequest.encode({}))],
      [3, () => call('user_delete', rpc.AuthUserDeleteRequest.encode({ name }))],
      [3, () => call('user_password', rpc.AuthUserChangePasswordRequest.encode({ ...user(other) }))],
      [12, () => call('user_grant', rpc.AuthUserGrantRoleRequest.encode({ user: name, role }))],
      [5, () => call('user_revoke', rpc.AuthUserRevokeRoleRequest.encode({ name, role }))],
      [8, () => call('role_add', rpc.AuthRoleAddRequest.encode({ name: role }))],
      [6, () => call('role_get', rpc.AuthRoleGetRequest.encode({ role }))],
      [3, () => call('role_list', rpc.AuthRoleListRequest.encode({}))],
      [3, () => call('role_delete', rpc.AuthRoleDeleteRequest.encode({ role }))],
      [14, () => call('role_grant', rpc.AuthRoleGrantPermissionRequest.encode({ name: role, perm: this.#permission() }))],
      [5, () => call('role_revoke', rpc.AuthRoleRevokePermissionRequest.encode({ role, ...this.#interval() }))],
      [6, () => this.#someLogin(name)],
      [1, () => call('auth_enable', rpc.AuthEnableRequest.encode({}))],
    ])();
    // Switching on has its own story.
    if (drawn.call === 'auth_enable' && !this.#known.isAuthOn) return this.login('u1');
    return this.named(drawn);
  }

  #someLogin(name: string): CallOperation {
    if (!this.#dice.once(10)) return this.login(name === '' ? 'u2' : name);
    return call('authenticate', rpc.AuthenticateRequest.encode({ name, password: this.#dice.one(['', 'wrong']) }));
  }

  #permission(): rpc.AuthRoleGrantPermissionRequest['perm'] {
    return { permType: this.#dice.one([0, 1, 2, 2] as const), ...this.#interval() };
  }

  /** What releases agree to be an interval; some come again, so that they are revoked. */
  #interval(): { key: Uint8Array; rangeEnd: Uint8Array } {
    const bytes = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));
    const drawn = this.#dice.once(2) ? this.#dice.one([...ENDS.keys()]) : textOf(this.#kv.key());
    const key = drawn === '' ? 'a' : drawn;
    return { key: bytes(key), rangeEnd: bytes(ENDS.get(key) ?? '') };
  }
}

/** Of these 3.4 decides otherwise who may make them: ranges that end before they begin, and some transactions. */
function isUndecided({ call, bytes }: CallOperation): boolean {
  if (call === 'range') return isInverted(rpc.RangeRequest.decode(bytes));
  if (call === 'delete') return isInverted(rpc.DeleteRangeRequest.decode(bytes));
  if (call !== 'txn') return false;
  const { compare, success, failure } = rpc.TxnRequest.decode(deepReader(bytes));
  const isOdd = ({ request }: rpc.RequestOp): boolean => {
    if (request?.$case === 'requestRange' || request?.$case === 'requestDeleteRange') return isInverted(request.value);
    // Whether the pair before may be read, and the keys of the lease written, is looked at for a plain put alone.
    if (request?.$case === 'requestPut') return request.value.lease !== 0n || request.value.prevKv;
    return request?.$case === 'requestTxn';
  };
  return compare.some(isInverted) || success.some(isOdd) || failure.some(isOdd);
}

export function isInverted({ key, rangeEnd }: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array }): boolean {
  if (rangeEnd.length === 0 || (rangeEnd.length === 1 && rangeEnd[0] === 0)) return false;
  return Buffer.compare(key, rangeEnd) >= 0;
}

function passwordOf(name: string): string {
  return `the password of ${name}`;
}

function user(name: string, noPassword = false): rpc.AuthUserAddRequest {
  return { name, password: passwordOf(name), options: noPassword ? { noPassword } : undefined, hashedPassword: '' };
}

function call(name: CallName, encoded: { finish(): Uint8Array }): CallOperation {
  return { kind: 'call', call: name, bytes: encoded.finish() };
}
