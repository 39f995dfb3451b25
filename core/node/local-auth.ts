// Users and roles as a client of this process sees them: callbacks behind the Auth methods of LocalClient, and the one place
// where a caller is held against what a method needs (needs.ts). Whatever has no caller is this process itself.

import type { Done } from '../base/done.js';
import type { AuthChange, AuthStatus, CallOptions, Caller, Header, Permission } from '../client.js';
import { ApiError, type ErrorCode } from '../errors.js';
import {
  refuseCommand, refuseCommoner, refuseRoleQuestion, refuseStranger, refuseUserQuestion, type LeaseKeys,
} from '../store/access.js';
import type { AuthTable } from '../store/auth.js';
import type { Command } from '../store/command.js';
import type { Reply } from '../store/store.js';
import type { Gate } from './gate.js';
import type { NodeLimits } from './limits.js';
import type { Need } from './needs.js';
import type { Node } from './node.js';

type Options = CallOptions | undefined;
type AuthLimits = Pick<NodeLimits, 'usersMax' | 'rolesMax'>;

export class LocalAuth {
  readonly #gate: Gate;
  readonly #node: Node;
  readonly #header: () => Header;
  readonly #limits: AuthLimits;
  readonly #leaseKeys: LeaseKeys = (lease) => this.#node.store.keysOn(lease);

  constructor(node: Node, gate: Gate, { header, limits }: { header: () => Header; limits: AuthLimits }) {
    this.#node = node;
    this.#gate = gate;
    this.#header = header;
    this.#limits = limits;
  }

  /** Why a method that needs this is not for the caller; null: it is, or judges for itself. */
  refusal(need: Need, caller: Caller | undefined): ErrorCode | null {
    if (need === 'judged' || need === 'nothing') return null;
    return this.judge(caller, need === 'user' ? refuseStranger : refuseCommoner);
  }

  judge(caller: Caller | undefined, refuse: (auth: AuthTable, caller: Caller) => ErrorCode | null): ErrorCode | null {
    const { auth } = this.#node.store;
    return caller === undefined || !auth.isEnabled ? null : refuse(auth, caller);
  }

  /** A wish for the log: judged here, and again by every replica that applies it. */
  propose(command: Command, options: Options, done: Done<Reply>): void {
    const caller = options?.caller;
    const { auth } = this.#node.store;
    if (caller === undefined || !auth.isEnabled) return this.#node.desk.propose(command, done);
    const code = refuseCommand(auth, caller, command, this.#leaseKeys);
    if (code !== null) return done(new ApiError(code));
    const { user, authRevision } = caller;
    this.#node.desk.propose({ kind: 'as_user', user, authRevision, command }, done);
  }

  /** Renewing keeps the keys of a lease alive, so it takes the right to write them, as of all that was acknowledged. */
  mayRenew(caller: Caller, refuse: (auth: AuthTable, caller: Caller) => ErrorCode | null, done: Done): void {
    this.#node.desk.read((error) => {
      if (error !== null) return done(error);
      const code = this.judge(caller, refuse);
      done(code === null ? null : new ApiError(code));
    });
  }

  authenticate(name: string, password: string, done: Done<{ header: Header; token: string }>): void {
    this.#gate.authenticate(name, password, (error, token) => {
      if (error !== null || token === undefined) return done(error ?? new ApiError('internal'));
      done(null, { header: this.#header(), token });
    });
  }

  status(done: Done<AuthStatus>): void {
    this.#node.desk.read((error) => {
      if (error !== null) return done(error);
      const { isEnabled, revision } = this.#node.store.auth;
      done(null, { header: this.#header(), enabled: isEnabled, authRevision: revision });
    });
  }

  /** Judged before the password is hashed: that is work nobody is to make us do who may not. */
  change(change: AuthChange, options: Options, done: Done<Header>): void {
    const early = this.judge(options?.caller, refuseCommoner);
    if (early !== null) return done(new ApiError(early));
    const full = this.#full(change);
    if (full !== null) return done(new ApiError('limit_reached', { detail: full }));
    this.#gate.store(change, (error, stored) => {
      if (error !== null || stored === undefined) return done(error ?? new ApiError('internal'));
      this.propose({ kind: 'auth_change', change: stored }, options, (proposeError, reply) => {
        if (proposeError !== null) return done(proposeError);
        if (reply?.kind === 'auth') return done(null, this.#header());
        done(new ApiError(reply?.kind === 'error' ? reply.code : 'internal'));
      });
    });
  }

  /** Why no more of them are taken; null: there is room. */
  #full({ kind }: AuthChange): string | null {
    const { auth } = this.#node.store;
    const { usersMax, rolesMax } = this.#limits;
    if (kind === 'user_add' && auth.userCount >= usersMax) return `there are ${usersMax} users, and no more are kept`;
    if (kind === 'role_add' && auth.roleCount >= rolesMax) return `there are ${rolesMax} roles, and no more are kept`;
    return null;
  }

  user(name: string, options: Options, done: Done<{ header: Header; roles: readonly string[] }>): void {
    this.#ask(options, (auth, caller) => refuseUserQuestion(auth, caller, name), done, (auth) => {
      const user = auth.user(name);
      return user === null ? 'user_not_found' : { header: this.#header(), roles: user.roles };
    });
  }

  role(name: string, options: Options, done: Done<{ header: Header; permissions: readonly Permission[] }>): void {
    this.#ask(options, (auth, caller) => refuseRoleQuestion(auth, caller, name), done, (auth) => {
      const role = auth.role(name);
      return role === null ? 'role_not_found' : { header: this.#header(), permissions: role.permissions };
    });
  }

  users(options: Options, done: Done<{ header: Header; names: readonly string[] }>): void {
    this.#ask(options, refuseCommoner, done, (auth) => ({ header: this.#header(), names: auth.userNames }));
  }

  roles(options: Options, done: Done<{ header: Header; names: readonly string[] }>): void {
    this.#ask(options, refuseCommoner, done, (auth) => ({ header: this.#header(), names: auth.roleNames }));
  }

  /** Judged and answered by the same state of users and roles. */
  #ask<T extends object>(
    options: Options,
    refuse: (auth: AuthTable, caller: Caller) => ErrorCode | null,
    done: Done<T>,
    answer: (auth: AuthTable) => T | ErrorCode,
  ): void {
    this.#node.desk.read((error) => {
      if (error !== null) return done(error);
      const found = this.judge(options?.caller, refuse) ?? answer(this.#node.store.auth);
      if (typeof found === 'string') done(new ApiError(found));
      else done(null, found);
    });
  }
}
