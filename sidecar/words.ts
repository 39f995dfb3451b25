// The words a template may use. Pure functions, deliberately few; nothing here reads a clock, a network, the environment or
// chance. Every word refuses a missing or wrong argument, because silence is how an empty upstream reaches production.
// Printing words (quote, raw, json, generation, braces) are in render.ts, where the target's alphabet is known.

import { byText } from './view-data.js';
import type { Refused } from './view-data.js';

/** Handlebars' data frame. `owner` is set while an instance's block runs: unsafe values are blamed on it. */
export interface Frame {
  readonly root: unknown;
  readonly owners: WeakMap<object, { readonly service: string; readonly id: string }>;
  readonly owner?: { readonly service: string; readonly id: string };
  /** Those that were blamed in this rendering, by name. */
  readonly blamed: Map<string, Refused>;
}

/** What a word is told besides its arguments. */
export interface Scope {
  readonly context: unknown;
  readonly data: Frame;
  readonly named: Readonly<Record<string, unknown>>;
  inner(value: unknown, frame?: Frame): string;
  otherwise(): string;
  frame(entries: Readonly<Record<string, unknown>>): Frame;
}

export type Word = (args: readonly unknown[], scope: Scope) => unknown;

type Container = Readonly<Record<string, unknown>>;

export const BLOCKS: ReadonlyMap<string, Word> = new Map<string, Word>([
  ['each', each],
  ['if', ([value], scope) => (truthy(given('if', value)) ? scope.inner(scope.context) : scope.otherwise())],
  ['unless', ([value], scope) => (truthy(given('unless', value)) ? scope.otherwise() : scope.inner(scope.context))],
  ['service', service],
  ['services', (_args, scope) => each([services(scope)], scope)],
]);

export const INLINE: ReadonlyMap<string, Word> = new Map<string, Word>([
  ['default', ([value, fallback]) => (value === undefined || value === '' ? given('default', fallback) : value)],
  ['get', ([from, key, fallback]) => container('get', from)[text('get', key)] ?? fallback ?? ''],
  ['required', ([value, message]) => {
    if (truthy(value)) return value;
    throw new Error(`required: ${message === undefined ? 'this value is empty' : text('required', message)}`);
  }],
  ['join', ([items, separator = ',']) => list('join', items).map((item) => scalar('join', item)).join(text('join', separator))],
  ['upper', ([value]) => scalar('upper', value).toUpperCase()],
  ['lower', ([value]) => scalar('lower', value).toLowerCase()],
  ['replace', ([value, from, to]) => scalar('replace', value).replaceAll(text('replace', from), text('replace', to))],
  ['slug', ([value]) => scalar('slug', value).replaceAll(/[^A-Za-z0-9]+/g, '_')],
  ['where', where],
  ['groupBy', groupBy],
  ['unique', ([items]) => [...new Set(list('unique', items))]],
  ['count', ([items]) => list('count', items).length],
  ['first', ([items]) => given('first', list('first', items)[0], 'the list is empty')],
  ['eq', ([a, b]) => given('eq', a) === given('eq', b)],
  ['ne', ([a, b]) => given('ne', a) !== given('ne', b)],
  ['gt', ([a, b]) => number('gt', a) > number('gt', b)],
  ['and', (args) => args.every((value) => truthy(given('and', value)))],
  ['or', (args) => args.some((value) => truthy(given('or', value)))],
  ['not', ([value]) => !truthy(given('not', value))],
  ['add', (args) => args.reduce((sum: number, value) => sum + number('add', value), 0)],
  ['bracket', ([address]) => (text('bracket', address).includes(':') ? `[${text('bracket', address)}]` : address)],
]);

/** `{{#each list}} … {{else}} … {{/each}}`; of a map, the values in order of their keys. */
function each([items]: readonly unknown[], scope: Scope): string {
  const value = given('each', items);
  const entries: readonly (readonly [string | number, unknown])[] = Array.isArray(value)
    ? value.map((item: unknown, i) => [i, item] as const)
    : Object.entries(container('each', value)).toSorted(([a], [b]) => byText(a, b));
  if (entries.length === 0) return scope.otherwise();
  return entries
    .map(([key, item], index) => {
      const owner = isContainer(item) ? (scope.data.owners.get(item) ?? scope.data.owner) : scope.data.owner;
      return scope.inner(item, scope.frame({ key, index, first: index === 0, last: index === entries.length - 1, owner }));
    })
    .join('');
}

/** `{{#service "web"}} … {{else}} no instance takes traffic … {{/service}}`. A name not in the configuration is an error. */
function service([name]: readonly unknown[], scope: Scope): string {
  const wanted = text('service', name);
  const all = services(scope);
  const found = all.find((candidate) => candidate['name'] === wanted);
  if (found === undefined) {
    const names = all.map((one) => String(one['name'])).join(', ');
    throw new Error(`there is no service "${wanted}" in this group's configuration (there are: ${names})`);
  }
  return list('service', found['instances']).length > 0 ? scope.inner(found) : scope.otherwise();
}

function services(scope: Scope): readonly Container[] {
  return list('services', container('services', scope.data.root)['services']).map((item) => container('services', item));
}

/** `(where instances tag="blue" zone="eu")`, or `(where instances "meta.color" "red")`: those for which all of it holds. */
function where([items, path, wanted]: readonly unknown[], scope: Scope): readonly unknown[] {
  const rules = Object.entries(scope.named);
  if (path !== undefined) rules.push([text('where', path), given('where', wanted)]);
  if (rules.length === 0) throw new Error('where: say what must hold, such as (where instances tag="blue")');
  return list('where', items).filter((item) =>
    rules.every(([field, value]) => {
      if (field === 'tag') return list('where', container('where', item)['tags']).includes(value);
      return fieldOf('where', item, field) === value;
    }),
  );
}

/** `(groupBy instances "zone")`, `"meta.color"` or `"tag"`: a map from value to instances; with several tags, several times. */
function groupBy([items, path]: readonly unknown[]): Container {
  const field = text('groupBy', path);
  const groups = new Map<string, unknown[]>();
  for (const item of list('groupBy', items)) {
    const keys = field === 'tag' ? list('groupBy', container('groupBy', item)['tags']) : [fieldOf('groupBy', item, field)];
    for (const key of keys) {
      const name = scalar('groupBy', key);
      const members = groups.get(name) ?? [];
      members.push(item);
      groups.set(name, members);
    }
  }
  const made = Object.create(null) as Record<string, unknown>;
  for (const [key, members] of [...groups].toSorted(([a], [b]) => byText(a, b))) made[key] = members;
  return made;
}

/** A field, or an entry of `meta` ('' when the instance has none). */
function fieldOf(word: string, item: unknown, field: string): unknown {
  const of = container(word, item);
  if (field.startsWith('meta.')) return container(word, of['meta'])[field.slice('meta.'.length)] ?? '';
  if (!Object.hasOwn(of, field)) throw new Error(`${word}: there is no "${field}" in ${kindOf(item)}`);
  return of[field];
}

function truthy(value: unknown): boolean {
  if (Array.isArray(value)) return value.length > 0;
  if (isContainer(value)) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== '' && value !== false && value !== 0;
}

function given(word: string, value: unknown, reason = 'an argument is missing'): unknown {
  if (value === undefined || value === null) throw new Error(`${word}: ${reason}`);
  return value;
}

export function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function isContainer(value: unknown): value is Container {
  return typeof value === 'object' && value !== null;
}

/** How a message calls a value. */
export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  if (isContainer(value)) return 'a map';
  return `the ${typeof value} ${JSON.stringify(value)}`;
}

function container(word: string, value: unknown): Container {
  if (isContainer(value) && !Array.isArray(value)) return value;
  throw new Error(`${word}: expects a map, was given ${kindOf(value)}`);
}

function list(word: string, value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value as readonly unknown[];
  throw new Error(`${word}: expects a list, was given ${kindOf(value)}`);
}

function text(word: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw new Error(`${word}: expects a text, was given ${kindOf(value)}`);
}

function scalar(word: string, value: unknown): string {
  if (isScalar(value)) return String(value);
  throw new Error(`${word}: expects a text or number, was given ${kindOf(value)}`);
}

function number(word: string, value: unknown): number {
  if (typeof value === 'number') return value;
  throw new Error(`${word}: expects a number, was given ${kindOf(value)}`);
}
