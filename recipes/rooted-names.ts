// The keys of what may be shared with others' clients: under our own root a name is one step of the key, under a root that
// the caller gives it stands as it is, because others write it so too.

import { utf8 } from '../core/base/bytes.js';
import { ApiError } from '../core/errors.js';
import { escapeName, NAME_BYTES_MAX } from './lock-names.js';

/**
 * `<root><name>`. Under `home` a slash in the name is written as %2F (and % as %25), so that `a` and `a/b` are two things.
 * Throws `invalid_request`, naming the value, unless something may be called that.
 */
export function rootedPath(what: string, name: string, home: string, root: string = home): string {
  const path = `${root}${root === home ? escapeName(String(name)) : name}`;
  const { length } = utf8(path);
  if (typeof name === 'string' && name !== '' && length <= NAME_BYTES_MAX && !/[\p{Cc}\p{Surrogate}]/u.test(path)) return path;
  const given = JSON.stringify(String(name)).slice(0, 80);
  const detail = `the ${what}'s name is ${given}; give 1 to ${NAME_BYTES_MAX} bytes with its root, no control characters`;
  throw new ApiError('invalid_request', { detail });
}
