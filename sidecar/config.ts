// The configuration file: YAML to a checked, complete `SidecarConfig`. Every bad value is named with its place (file, line,
// column, path), the reason and what to write instead; all of them at once, not the first only. Unknown keys are refused.
// Nothing here touches the disk: the caller reads the file. The table of all keys is in sidecar/README.md.

import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LineCounter, isMap, isNode, parseDocument } from 'yaml';
import type { Document } from 'yaml';
import { z } from 'zod';
import { ESCAPES, escapeForFile } from './escape.js';
import type { Escape } from './escape.js';

export const GROUPS_MAX = 64;
export const TEMPLATES_MAX = 64;
export const SERVICES_MAX = 1_000;
export const CONFIG_CHARS_MAX = 1_000_000;
const DAY_MS = 86_400_000;

export type WhenEmpty = 'holdLast' | 'renderEmpty';

export interface ServiceConfig {
  readonly name: string;
  /** What happens when all instances are gone and nobody said goodbye. */
  readonly whenEmpty: WhenEmpty;
  /** The longest time `holdLast` holds; 0: until the cause goes. */
  readonly holdMaxMs: number;
  /** Instances needed before the first configuration is written. */
  readonly require: number;
}

export interface TemplateConfig {
  /** How `{{staged:name}}` calls it; the target's base name unless given. */
  readonly name: string;
  readonly source: string;
  readonly target: string;
  readonly escape: Escape;
  /** Absent: the present file's, else 0644. */
  readonly mode?: number;
  /** Name or number. Absent: the present file's, else the process's. */
  readonly owner?: string | number;
  readonly group?: string | number;
}

export type ReloadConfig =
  | {
      readonly kind: 'nginx';
      readonly binary: string;
      /** The main configuration nginx is started with. */
      readonly config: string;
      readonly pid: string;
      readonly prefix: string | null;
      /** Start nginx when it is not running. */
      readonly start: boolean;
      /** Where a worker answers with the generation; null: not asked. */
      readonly confirm: string | null;
    }
  | {
      readonly kind: 'haproxy';
      readonly binary: string;
      /** The files HAProxy is started with, in order. */
      readonly config: readonly string[];
      /** The master's command socket (`haproxy -W -S <path>`). */
      readonly master: string;
      readonly start: boolean;
    }
  | { readonly kind: 'command'; readonly argv: readonly string[] }
  | { readonly kind: 'none' };

export interface GroupConfig {
  readonly name: string;
  readonly services: readonly ServiceConfig[];
  readonly vars: Readonly<Record<string, unknown>>;
  readonly templates: readonly TemplateConfig[];
  /** Null: nginx's or HAProxy's own check, or none for a command. */
  readonly check: readonly string[] | null;
  readonly reload: ReloadConfig;
  readonly quiet: { readonly minMs: number; readonly maxMs: number };
  readonly timeouts: { readonly checkMs: number; readonly reloadMs: number; readonly confirmMs: number };
  readonly retry: {
    readonly minMs: number;
    readonly maxMs: number;
    /** Reloads that may fail in a row before the previous files are put back; 0: any number. */
    readonly attempts: number;
    /** How long a generation the proxy did not take is left alone unless inputs change. */
    readonly quarantineMs: number;
  };
}

export interface SidecarConfig {
  readonly endpoints: readonly string[];
  /** Where /healthz, /readyz and /status are served; null: nowhere. */
  readonly status: string | null;
  readonly groups: readonly GroupConfig[];
}

export interface Problem {
  /** Such as `groups[0].templates[1].mode`; '' for the whole file. */
  readonly path: string;
  readonly line: number | null;
  readonly column: number | null;
  readonly reason: string;
}

export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly file: string;
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[]) {
    const lines = problems.map(({ path, line, column, reason }) => {
      const place = line === null ? file : `${file}:${line}:${column ?? 1}`;
      return `${place}: ${path === '' ? '' : `${path}: `}${reason}`;
    });
    super(lines.join('\n'));
    this.file = file;
    this.problems = problems;
  }
}

/** From the file's text. Relative paths are taken from the file's own folder. Throws `ConfigError`. */
export function parseConfig(text: string, file: string): SidecarConfig {
  const whole = (reason: string): ConfigError => new ConfigError(file, [{ path: '', line: null, column: null, reason }]);
  if (text.length > CONFIG_CHARS_MAX) throw whole(`longer than ${CONFIG_CHARS_MAX} characters`);
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false });
  if (document.errors.length > 0) {
    throw new ConfigError(file, document.errors.map((error) => {
      const at = counter.linePos(error.pos[0]);
      return { path: '', line: at.line, column: at.col, reason: `not YAML: ${error.message}` };
    }));
  }
  if (document.contents === null) throw whole('the file is empty; it needs at least groups: (see sidecar/README.md)');
  const place = (path: readonly PropertyKey[], key: string | null): { line: number | null; column: number | null } => {
    const offset = offsetOf(document, path, key);
    if (offset === null) return { line: null, column: null };
    const at = counter.linePos(offset);
    return { line: at.line, column: at.col };
  };
  return checked(document.toJS({ maxAliasCount: 100 }), { file, directory: dirname(resolve(file)), place });
}

/** From plain data, for programs. Relative paths are taken from `directory`. Throws `ConfigError`. */
export function checkConfig(value: unknown, directory: string): SidecarConfig {
  return checked(value, { file: 'configuration', directory, place: () => ({ line: null, column: null }) });
}

/** Where the templates that come with the package lie: `source: coterie:nginx.conf.hbs`. */
export function packagedTemplate(name: string): string {
  return fileURLToPath(new URL(`../../templates/${name}`, import.meta.url));
}

// --- The schema ----------------------------------------------------------------------------------------------------

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

const name = z.string().regex(NAME, 'must be 1 to 63 letters, digits, ".", "_" or "-", a letter or digit at both ends');
const path = z.string().min(1, 'must not be empty');
const millis = (min: number, max: number): z.ZodNumber => z.int().min(min).max(max);
const argv = z.array(z.string().min(1, 'an argument must not be empty')).min(1, 'needs at least the program').max(100);
const mode = z.string().regex(/^0?[0-7]{3}$/, 'must be three octal digits in quotes, such as "0644"');
const principal = z.union([z.int().min(0).max(4_294_967_294), z.string().min(1)]);

export const LISTEN_RULE = 'must be host:port with a port up to 65535, such as 127.0.0.1:9180';

/** Whether a server can be told to listen at `text`; port 0 takes a free one. */
export function isListen(text: string): boolean {
  const port = /^(?:\[[0-9A-Fa-f:.]+\]|[^\s:[\]]*):(\d{1,5})$/.exec(text)?.[1];
  return port !== undefined && Number(port) <= 65_535;
}

const service = z.preprocess(
  (value) => (typeof value === 'string' ? { name: value } : value),
  z.strictObject({
    name,
    whenEmpty: z.enum(['holdLast', 'renderEmpty']).default('holdLast'),
    holdMaxMs: millis(0, 30 * DAY_MS).default(0),
    require: z.int().min(0).max(10_000).default(0),
  }),
);

const template = z.strictObject({
  name: name.optional(),
  source: path,
  target: path,
  escape: z.enum(ESCAPES).optional(),
  mode: mode.optional(),
  owner: principal.optional(),
  group: principal.optional(),
});

const reload = z.preprocess(
  (value) => (value === 'none' ? { none: true } : value),
  z.strictObject({
    nginx: z
      .strictObject({
        binary: path.default('nginx'),
        config: path.default('/etc/nginx/nginx.conf'),
        pid: path.default('/run/nginx.pid'),
        prefix: path.optional(),
        start: z.boolean().default(false),
        confirm: z.url({ protocol: /^http$/, error: 'must be a URL such as http://127.0.0.1:8404/generation' }).optional(),
      })
      .optional(),
    haproxy: z
      .strictObject({
        binary: path.default('haproxy'),
        config: z.union([path, z.array(path).min(1).max(100)]).default('/etc/haproxy/haproxy.cfg'),
        master: path,
        start: z.boolean().default(false),
      })
      .optional(),
    command: argv.optional(),
    none: z.literal(true).optional(),
  }),
);

const group = z.strictObject({
  name,
  services: z.array(service).min(1, 'needs at least one service').max(SERVICES_MAX),
  vars: z.record(z.string(), z.unknown()).default({}),
  templates: z.array(template).min(1, 'needs at least one template').max(TEMPLATES_MAX),
  check: argv.optional(),
  reload,
  quiet: z.strictObject({ minMs: millis(0, 60_000).default(100), maxMs: millis(0, 600_000).default(1_000) }).prefault({}),
  timeouts: z
    .strictObject({
      checkMs: millis(100, 600_000).default(10_000),
      reloadMs: millis(100, 600_000).default(10_000),
      confirmMs: millis(100, 600_000).default(10_000),
    })
    .prefault({}),
  retry: z
    .strictObject({
      minMs: millis(10, 60_000).default(250),
      maxMs: millis(10, 600_000).default(15_000),
      attempts: z.int().min(0).max(1_000_000).default(10),
      quarantineMs: millis(0, DAY_MS).default(300_000),
    })
    .prefault({}),
});

const schema = z.strictObject({
  endpoints: z.array(z.string().min(1)).min(1).max(64).default(['http://127.0.0.1:2379']),
  status: z.string().refine(isListen, LISTEN_RULE).optional(),
  groups: z.array(group).min(1, 'needs at least one group').max(GROUPS_MAX),
});

type Parsed = z.output<typeof schema>;
type ParsedGroup = Parsed['groups'][number];

// --- From the schema to what the sidecar uses ----------------------------------------------------------------------

interface Origin {
  readonly file: string;
  readonly directory: string;
  readonly place: (path: readonly PropertyKey[], key: string | null) => { line: number | null; column: number | null };
}

function checked(value: unknown, origin: Origin): SidecarConfig {
  const problems: Problem[] = [];
  const report = (at: readonly PropertyKey[], reason: string, key: string | null = null): void => {
    const path = key === null ? at : [...at, key];
    problems.push({ path: pathText(path), ...origin.place(at, key), reason });
  };
  const result = schema.safeParse(value);
  if (!result.success) {
    for (const issue of result.error.issues) explain(issue, [], value, report);
    throw new ConfigError(origin.file, problems);
  }
  const config = complete(result.data, origin.directory, report);
  if (problems.length > 0) throw new ConfigError(origin.file, problems);
  return config;
}

type Report = (at: readonly PropertyKey[], reason: string, key?: string | null) => void;

function complete(data: Parsed, directory: string, report: Report): SidecarConfig {
  repeated(data.groups.map((one) => one.name), (i) => report(['groups', i, 'name'], 'another group has this name already'));
  const groups = data.groups.map((one, i) => completeGroup(one, directory, ['groups', i], report));
  const targets = groups.flatMap((one, i) =>
    one.templates.map((each, j) => ({ at: ['groups', i, 'templates', j, 'target'], path: each.target })),
  );
  const paths = targets.map((target) => target.path);
  repeated(paths, (i) => report(targets[i]?.at ?? [], 'another template writes this file already'));
  return Object.freeze({ endpoints: data.endpoints, status: data.status ?? null, groups });
}

function completeGroup(given: ParsedGroup, directory: string, at: readonly PropertyKey[], report: Report): GroupConfig {
  const { services, vars, quiet, timeouts, retry, check = null } = given;
  repeated(services.map((one) => one.name), (i) => report([...at, 'services', i], 'this service is listed already'));
  if (quiet.minMs > quiet.maxMs) report([...at, 'quiet'], `minMs ${quiet.minMs} is more than maxMs ${quiet.maxMs}`);
  if (retry.minMs > retry.maxMs) report([...at, 'retry'], `minMs ${retry.minMs} is more than maxMs ${retry.maxMs}`);
  const templates = given.templates.map((one, i): TemplateConfig => {
    const target = resolve(directory, one.target);
    const source = sourcePath(one.source, directory);
    const escape = one.escape ?? escapeForFile(target) ?? escapeForFile(source.replace(/\.hbs$/, ''));
    if (escape === null) {
      const hint = `add escape: (one of ${ESCAPES.join(', ')})`;
      report([...at, 'templates', i], `the file names do not tell how to escape values; ${hint}`);
    }
    if (target === source) report([...at, 'templates', i, 'target'], 'is the template itself');
    return {
      name: one.name ?? target.slice(target.lastIndexOf('/') + 1),
      source,
      target,
      escape: escape ?? 'plain',
      ...(one.mode === undefined ? {} : { mode: Number.parseInt(one.mode, 8) }),
      ...(one.owner === undefined ? {} : { owner: one.owner }),
      ...(one.group === undefined ? {} : { group: one.group }),
    };
  });
  const names = templates.map((one) => one.name);
  repeated(names, (i) => report([...at, 'templates', i], 'another template has this name; give it a name:'));
  checkPlaceholders(check, templates, [...at, 'check'], report);
  const action = completeReload(given.reload, directory, [...at, 'reload'], report);
  if (action.kind === 'command') checkPlaceholders(action.argv, templates, [...at, 'reload', 'command'], report);
  return Object.freeze({ name: given.name, services, vars, templates, check, reload: action, quiet, timeouts, retry });
}

function completeReload(
  given: ParsedGroup['reload'],
  directory: string,
  at: readonly PropertyKey[],
  report: Report,
): ReloadConfig {
  const kinds = Object.keys(given);
  if (kinds.length !== 1) report(at, 'needs exactly one of nginx:, haproxy:, command: or the word none');
  if (given.nginx !== undefined) {
    const { binary, config, pid, prefix, start, confirm } = given.nginx;
    return {
      kind: 'nginx',
      binary,
      config: resolve(directory, config),
      pid: resolve(directory, pid),
      prefix: prefix === undefined ? null : resolve(directory, prefix),
      start,
      confirm: confirm ?? null,
    };
  }
  if (given.haproxy !== undefined) {
    const { binary, config, master, start } = given.haproxy;
    const files = (typeof config === 'string' ? [config] : config).map((file) => resolve(directory, file));
    return { kind: 'haproxy', binary, config: files, master: resolve(directory, master), start };
  }
  return given.command === undefined ? { kind: 'none' } : { kind: 'command', argv: given.command };
}

const PLACEHOLDER = /\{\{([^}]*)\}\}/g;

function checkPlaceholders(
  words: readonly string[] | null,
  templates: readonly TemplateConfig[],
  at: readonly PropertyKey[],
  report: Report,
): void {
  const known = ['staged', 'target', 'generation', ...templates.flatMap((one) => [`staged:${one.name}`, `target:${one.name}`])];
  const list = known.map((word) => `{{${word}}}`).join(' ');
  for (const [i, word] of (words ?? []).entries()) {
    for (const [whole, inside] of word.matchAll(PLACEHOLDER)) {
      if (!known.includes(inside ?? '')) report([...at, i], `${whole} stands for nothing (there are: ${list})`);
    }
  }
}

function sourcePath(source: string, directory: string): string {
  return source.startsWith('coterie:') ? packagedTemplate(source.slice('coterie:'.length)) : resolve(directory, source);
}

function repeated(values: readonly string[], each: (index: number) => void): void {
  for (const [i, value] of values.entries()) if (values.indexOf(value) !== i) each(i);
}

// --- Saying what is wrong ------------------------------------------------------------------------------------------

function explain(issue: z.core.$ZodIssue, above: readonly PropertyKey[], value: unknown, report: Report): void {
  const at = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      const known = knownKeys(at);
      const near = nearest(key, known);
      const hint = near === null ? `known here: ${known.join(', ')}` : `did you mean ${near}?`;
      report(at, `unknown key; ${hint}`, key);
    }
    return;
  }
  if (issue.code === 'invalid_type') {
    const given = valueAt(value, at);
    if (given === undefined) return report(at.slice(0, -1), 'is missing', String(at.at(-1)));
    return report(at, `${shownValue(given)} is not ${article(issue.expected)}`);
  }
  if (issue.code === 'invalid_value') {
    return report(at, `${shownValue(valueAt(value, at))} is not one of ${issue.values.map(String).join(', ')}`);
  }
  if (issue.code === 'too_small' || issue.code === 'too_big') {
    const bound = issue.code === 'too_small' ? `at least ${String(issue.minimum)}` : `at most ${String(issue.maximum)}`;
    const custom = /^(needs|must|an argument)/.test(issue.message);
    return report(at, custom ? issue.message : `${shownValue(valueAt(value, at))} must be ${bound}`);
  }
  if (issue.code === 'invalid_union') {
    return report(at, `${shownValue(valueAt(value, at))} is not of a kind that is allowed here`);
  }
  return report(at, `${shownValue(valueAt(value, at))} ${issue.message}`);
}

/** The keys the schema knows at a path, for suggestions. */
function knownKeys(at: readonly PropertyKey[]): readonly string[] {
  let here: unknown = schema;
  for (const step of at) {
    here = unwrapped(here);
    if (here instanceof z.ZodArray) here = here.element;
    else if (here instanceof z.ZodObject) here = (here.shape as Record<string, unknown>)[String(step)];
  }
  const end = unwrapped(here);
  return end instanceof z.ZodObject ? Object.keys(end.shape as object).filter((key) => key !== 'none') : [];
}

function unwrapped(type: unknown): unknown {
  let here = type;
  for (;;) {
    if (here instanceof z.ZodPipe) here = here.out;
    else if (here instanceof z.ZodOptional || here instanceof z.ZodDefault || here instanceof z.ZodPrefault) here = here.unwrap();
    else return here;
  }
}

function offsetOf(document: Document, at: readonly PropertyKey[], key: string | null): number | null {
  // A missing value has no place of its own: the nearest one above it is shown.
  for (let depth = at.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(at.slice(0, depth), true);
    if (!isNode(node)) continue;
    if (depth === at.length && key !== null && isMap(node)) {
      const pair = node.items.find((item) => isNode(item.key) && item.key.toJSON() === key);
      if (pair !== undefined && isNode(pair.key)) return pair.key.range?.[0] ?? null;
    }
    return node.range?.[0] ?? null;
  }
  return null;
}

function pathText(at: readonly PropertyKey[]): string {
  return at.map((step, i) => (typeof step === 'number' ? `[${step}]` : `${i === 0 ? '' : '.'}${String(step)}`)).join('');
}

function valueAt(value: unknown, at: readonly PropertyKey[]): unknown {
  return at.reduce<unknown>((here, step) => (typeof here === 'object' && here !== null ? part(here, step) : undefined), value);
}

function part(whole: object, step: PropertyKey): unknown {
  return Reflect.get(whole, step) as unknown;
}

function shownValue(value: unknown): string {
  const json = JSON.stringify(value) ?? String(value);
  return json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

function article(kind: string): string {
  const names = new Map([['object', 'map'], ['record', 'map'], ['array', 'list'], ['string', 'text'], ['int', 'whole number']]);
  return `a ${names.get(kind) ?? kind}`;
}

function nearest(word: string, known: readonly string[]): string | null {
  const scored = known.map((candidate) => ({ candidate, far: distance(word.toLowerCase(), candidate.toLowerCase()) }));
  const best = scored.toSorted((a, b) => a.far - b.far || sizeGap(word, a.candidate) - sizeGap(word, b.candidate))[0];
  return best !== undefined && best.far <= Math.max(2, Math.floor(word.length / 3)) ? best.candidate : null;
}

// Two swapped letters count as two edits; equal length tells them from a different word.
function sizeGap(a: string, b: string): number {
  return Math.abs(a.length - b.length);
}

/** Levenshtein's distance, one row at a time. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
