// Who may do what, written from contract 8.3 and 8.4 and from nothing else: slow, plain, by trying every point. What the product
// works out by merging intervals, this answers by asking of each place where a grant or a request begins or ends whether some
// grant holds it; between two neighbours of those places nothing can change.

export interface Grant {
  readonly kind: 'read' | 'write' | 'readwrite';
  readonly key: string;
  /** Empty: the key alone; `\0`: from there on. */
  readonly end: string;
}

/** What somebody wants. Keys are text of one byte a character. */
export type Deed =
  | { readonly kind: 'range' | 'watch'; readonly key: string; readonly end: string }
  | { readonly kind: 'put'; readonly key: string; readonly prevKv: boolean; readonly lease: string | null }
  | { readonly kind: 'delete'; readonly key: string; readonly end: string; readonly prevKv: boolean }
  | {
      readonly kind: 'txn';
      readonly compare: readonly { readonly key: string; readonly end: string }[];
      readonly success: readonly Deed[];
      readonly failure: readonly Deed[];
    }
  | { readonly kind: 'lease'; readonly what: 'revoke' | 'renew' | 'list_keys' | 'look'; readonly lease: string }
  | { readonly kind: 'all_leases' }
  | { readonly kind: 'user_get' | 'role_get'; readonly name: string }
  | { readonly kind: 'method'; readonly name: string };

export interface World {
  /** By role. */
  readonly grants: ReadonlyMap<string, readonly Grant[]>;
  /** Roles by user. */
  readonly users: ReadonlyMap<string, readonly string[]>;
  /** Keys by lease. */
  readonly leases: ReadonlyMap<string, readonly string[]>;
}

/** Null: nobody in particular; 'unknown': a token that nobody was given. */
export type Who = { readonly user: string } | 'unknown' | null;
export type Verdict = 'ok' | 'user_empty' | 'token_invalid' | 'permission_denied';

/** Contract 8.3, right column: of methods that do not look at what is asked for. */
export const METHODS: Readonly<Record<string, 'nothing' | 'user' | 'admin'>> = {
  'Lease/LeaseGrant': 'user', 'Maintenance/Alarm:list': 'user', 'Maintenance/Status': 'user', 'Cluster/MemberList': 'user',
  'KV/Compact': 'admin', 'Maintenance/Alarm:raise': 'admin', 'Maintenance/MoveLeader': 'admin', 'Cluster/MemberAdd': 'admin',
  'Cluster/MemberRemove': 'admin', 'Cluster/MemberUpdate': 'admin', 'Cluster/MemberPromote': 'admin',
  'Maintenance/Defragment': 'admin', 'Maintenance/Snapshot': 'admin', 'Maintenance/Hash': 'admin', 'Maintenance/HashKV': 'admin',
  'Maintenance/Downgrade': 'admin',
  'Auth/AuthEnable': 'admin', 'Auth/AuthDisable': 'admin', 'Auth/UserAdd': 'admin', 'Auth/UserList': 'admin',
  'Auth/UserDelete': 'admin', 'Auth/UserChangePassword': 'admin', 'Auth/UserGrantRole': 'admin', 'Auth/UserRevokeRole': 'admin',
  'Auth/RoleAdd': 'admin', 'Auth/RoleList': 'admin', 'Auth/RoleDelete': 'admin', 'Auth/RoleGrantPermission': 'admin',
  'Auth/RoleRevokePermission': 'admin', 'Auth/AuthStatus': 'nothing', 'Auth/Authenticate': 'nothing',
};

export function judge(world: World, who: Who, deed: Deed): Verdict {
  if (deed.kind === 'method' && METHODS[deed.name] === 'nothing') return 'ok';
  if (who === 'unknown') return 'token_invalid';
  if (who === null) return 'user_empty';
  const roles = world.users.get(who.user);
  if (roles === undefined) return 'permission_denied';
  return roles.includes('root') || may(world, who.user, roles, deed) ? 'ok' : 'permission_denied';
}

function may(world: World, user: string, roles: readonly string[], deed: Deed): boolean {
  const grants = roles.flatMap((role) => world.grants.get(role) ?? []);
  const reads = (key: string, end = ''): boolean => holds(grants.filter(({ kind }) => kind !== 'write'), key, end);
  const writes = (key: string, end = ''): boolean => holds(grants.filter(({ kind }) => kind !== 'read'), key, end);
  const keysOf = (lease: string): readonly string[] => world.leases.get(lease) ?? [];
  switch (deed.kind) {
    case 'range':
    case 'watch':
      return reads(deed.key, deed.end);
    case 'put': {
      const keys = deed.lease === null ? [] : keysOf(deed.lease);
      return writes(deed.key) && (!deed.prevKv || reads(deed.key)) && keys.every((key) => writes(key));
    }
    case 'delete':
      return writes(deed.key, deed.end) && (!deed.prevKv || reads(deed.key, deed.end));
    case 'txn':
      return deed.compare.every(({ key, end }) => reads(key, end))
        && [...deed.success, ...deed.failure].every((each) => may(world, user, roles, each));
    case 'lease':
      if (deed.what === 'look') return true;
      return keysOf(deed.lease).every((key) => (deed.what === 'list_keys' ? reads(key) : writes(key)));
    case 'all_leases':
      return [...world.leases.values()].flat().every((key) => reads(key));
    case 'user_get':
      return deed.name === user;
    case 'role_get':
      return roles.includes(deed.name);
    default:
      return METHODS[deed.name] === 'user';
  }
}

/** Null: there is no end. */
function bounds(key: string, end: string): readonly [from: string, to: string | null] {
  if (end === '') return [key, `${key}\0`];
  return [key, end === '\0' ? null : end];
}

function isIn(point: string, { key, end }: Grant): boolean {
  const [from, to] = bounds(key, end);
  return point >= from && (to === null || point < to);
}

/**
 * Whether the grants together hold all of the range. One that selects nothing, because its end does not follow its key, is held
 * when all is from its end through its key: so etcd 3.4 answers.
 */
function holds(grants: readonly Grant[], key: string, end: string): boolean {
  const [from, to] = bounds(key, end);
  const isHeld = (point: string): boolean => grants.some((grant) => isIn(point, grant));
  if (to !== null && to <= from) return places(grants, to, from).every(isHeld) && isHeld(from);
  const within = places(grants, from, to);
  return within.every(isHeld) && (to !== null || grants.some((grant) => grant.end === '\0'));
}

/** Where something begins or ends, from `from` on and before `to`. */
function places(grants: readonly Grant[], from: string, to: string | null): readonly string[] {
  const ends = grants.flatMap(({ key, end }) => bounds(key, end)).filter((place) => place !== null);
  return [from, ...ends].filter((place) => place >= from && (to === null || place < to));
}
