// Who a remote client is to its servers: a token, fetched when first needed, by a name and a password or from a source of the
// user's own, and fetched anew once it is refused. Any number of calls that need one at the same time fetch it once.
//
// Where auth is off there is no token to be had: calls go out without one, until one is refused for want of it.

import type { ErrorCode } from '../errors.js';
import { isApiError } from '../errors.js';

export interface LoginOptions {
  /** With `password`: logs in by itself, and again when the token is not good any more. */
  readonly user?: string;
  readonly password?: string;
  /** In their place: asked for a token when one is needed, and again when that one was refused. */
  readonly token?: () => string | Promise<string>;
}

/** What is said of a caller who has to log in, again or at all. Nothing was done. */
const REFUSED: ReadonlySet<string> = new Set<ErrorCode>(['token_invalid', 'auth_revision_old', 'user_empty']);

export function mayLoginHelp(code: ErrorCode): boolean {
  return REFUSED.has(code);
}

export class RemoteLogin {
  readonly #obtain: () => string | Promise<string>;
  /** Null: auth was off when it was last asked for. Undefined: to be asked for. */
  #token: string | null | undefined = undefined;
  #fetching: Promise<string | null> | null = null;

  constructor(obtain: () => string | Promise<string>) {
    this.#obtain = obtain;
  }

  /** The token, if it need not be waited for. */
  get now(): string | null | undefined {
    return this.#token;
  }

  get(): Promise<string | null> {
    if (this.#token !== undefined) return Promise.resolve(this.#token);
    this.#fetching ??= this.#start();
    return this.#fetching;
  }

  /** It was refused. A newer one may be there already. */
  spoil(token: string | null): void {
    if (this.#token === token) this.#token = undefined;
  }

  async #start(): Promise<string | null> {
    try {
      this.#token = await this.#obtain();
    } catch (error) {
      if (!isApiError(error, 'auth_disabled')) throw error;
      this.#token = null;
    } finally {
      this.#fetching = null;
    }
    return this.#token;
  }
}
