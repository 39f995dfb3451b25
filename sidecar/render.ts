// (template, data) -> text. Pure. Handlebars lives here and nowhere else, on a short lead: our own helpers only, no
// partials, no decorators, unknown names are errors everywhere (also as arguments of blocks), nothing is HTML-escaped, and
// every printed value passes through the alphabet of its target (escape.ts). A template is the operator's and is read from
// disk; values are the registrants'. Equal data gives equal bytes.

import Handlebars from 'handlebars';
import { assert } from '../core/base/assert.js';
import { bare, GENERATION_MARK, misread, QUOTE_MARK, quoted, settleQuotes, shown, UnsafeValue, verbatim } from './escape.js';
import type { Escape } from './escape.js';
import { BLOCKS, INLINE, isScalar, kindOf } from './words.js';
import type { Frame, Scope } from './words.js';
import { instanceKey, takesTraffic, templateData } from './view-data.js';
import type { Dict, GroupData, Owners, Refused } from './view-data.js';

export const TEMPLATE_CHARS_MAX = 1_000_000;
export const RENDERED_CHARS_MAX = 32_000_000;

/** What is wrong with a template, where, and what to do. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  readonly file: string;
  readonly line: number | null;

  constructor(file: string, line: number | null, reason: string, cause?: unknown) {
    super(`${file}${line === null ? '' : `:${line}`}: ${reason}`, cause === undefined ? undefined : { cause });
    this.file = file;
    this.line = line;
  }
}

export interface TemplateSource {
  /** How messages call it: its path. */
  readonly name: string;
  readonly text: string;
  readonly escape: Escape;
}

export interface Template {
  readonly name: string;
  readonly escape: Escape;
  /** With the generation's mark still in place; see `sealed`. Throws `TemplateError`, or `Blamed` for an unsafe value. */
  render(root: Dict, owners: Owners): string;
}

/** Unsafe values and the instances that registered them: all that one rendering has met, so that ten thousand cost two. */
export class Blamed extends Error {
  override readonly name = 'Blamed';
  readonly refused: ReadonlyMap<string, Refused>;
  constructor(refused: ReadonlyMap<string, Refused>) {
    super([...refused.values()][0]?.reason);
    this.refused = refused;
  }
}

export interface Rendering {
  /** One text per template, in order, with the generation's mark in place. */
  readonly texts: readonly string[];
  /** Instances left out because a value of theirs cannot stand where the template prints it. */
  readonly refused: readonly Refused[];
}

/**
 * Renders all templates of a group from the same data. An instance whose value cannot be written is left out of all of
 * them and the rest is rendered again: one hostile registration must not stop the others. But if that would leave a
 * service without any instance, the template is to blame and the error stands.
 */
export function renderGroup(templates: readonly Template[], data: GroupData): Rendering {
  const refused = misreadable(templates, data);
  const leftOut = new Set(refused.map(instanceKey));
  for (;;) {
    const { root, owners } = templateData(data, leftOut);
    try {
      return { texts: templates.map((template) => template.render(root, owners)), refused };
    } catch (error) {
      if (!(error instanceof Blamed)) throw error;
      for (const [key, one] of error.refused) {
        leftOut.add(key);
        refused.push(one);
      }
      const blamed = [...error.refused.values()];
      for (const { name, instances } of data.services) {
        const first = blamed.find((one) => one.service === name);
        if (first === undefined || instances.some((one) => takesTraffic(one) && !leftOut.has(instanceKey(one)))) continue;
        throw new TemplateError(templates.map((t) => t.name).join(', '), null, first.reason, error);
      }
    }
  }
}

/** Those whose address means something else to a target. No template is to blame for them, also when nobody else is left. */
function misreadable(templates: readonly Template[], data: GroupData): Refused[] {
  const escapes = [...new Set(templates.map((template) => template.escape))];
  return data.services.flatMap(({ instances }) => instances.flatMap((one): Refused[] => {
    const reason = escapes.map((escape) => misread(escape, one.address)).find((found) => found !== null);
    if (reason === undefined || reason === null) return [];
    return [{ service: one.service, id: one.id, reason }];
  }));
}

/** Puts the generation id into a rendered text: the last step, once the digest over all files is known. */
export function sealed(text: string, generation: string): string {
  return text.replaceAll(GENERATION_MARK, generation);
}

/** Whether the text tells which generation it is, so that a running proxy can be asked. */
export function tellsGeneration(text: string): boolean {
  return text.includes(GENERATION_MARK);
}

/** Parses, lints and compiles. Throws `TemplateError` with the line. */
export function compileTemplate(source: TemplateSource): Template {
  lintText(source);
  const hb = Handlebars.create();
  const program = parsed(hb, source);
  rewrite(source, program);
  for (const name of Object.keys(hb.helpers)) hb.unregisterHelper(name);
  registerHelpers(hb, source);
  const known = Object.fromEntries(Object.keys(hb.helpers).map((name) => [name, true]));
  const run = hb.compile(program, { strict: true, noEscape: true, knownHelpersOnly: true, knownHelpers: known });
  return {
    name: source.name,
    escape: source.escape,
    render(root, owners) {
      const blamed = new Map<string, Refused>();
      const text = attempt(source, () => run(root, { data: { owners, blamed } }));
      if (blamed.size > 0) throw new Blamed(blamed);
      if (text.length > RENDERED_CHARS_MAX) {
        throw new TemplateError(source.name, null, `renders more than ${RENDERED_CHARS_MAX} characters`);
      }
      const settled = settleQuotes(source.escape, text);
      if ('text' in settled) return settled.text;
      const rule = '{{quote …}} must stand as a word of its own, with a blank before it and outside of other quotes';
      throw new TemplateError(source.name, null, `line ${settled.badLine} of the result: ${rule}`);
    },
  };
}

// --- The text, before Handlebars sees it ---------------------------------------------------------------------------

const OPENING = 'three opening braces: put a blank between a literal { and a tag, or write {{lbrace}}; '
  + 'to print text unescaped write {{raw …}}';
const CLOSING = 'three closing braces: Handlebars takes the third as part of the tag; '
  + 'put a blank before a literal }, or write {{rbrace}}';

// Handlebars answers these with "Parse error", or, for the third brace, silently reads something else than was meant.
function lintText(source: TemplateSource): void {
  const { text, name } = source;
  if (text.length > TEMPLATE_CHARS_MAX) throw new TemplateError(name, null, `longer than ${TEMPLATE_CHARS_MAX} characters`);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code < 0x20 && code !== 0x09 && code !== 0x0a && code !== 0x0d) {
      throw new TemplateError(name, lineAt(text, at), `holds the control character ${shown(text.charAt(at))}; remove it`);
    }
  }
  let at = text.indexOf('{{');
  while (at !== -1) {
    const line = lineAt(text, at);
    if (text.charAt(at + 2) === '{') {
      throw new TemplateError(name, line, OPENING);
    }
    const end = tagEnd(text, at);
    if (end === -1) throw new TemplateError(name, line, 'this {{ is never closed by }}');
    if (text.charAt(end) === '}' && !text.startsWith('{{!', at) && !text.startsWith('{{~!', at)) {
      throw new TemplateError(name, lineAt(text, end), CLOSING);
    }
    at = text.indexOf('{{', end);
  }
}

/** The index after the `}}` that closes the tag at `start`; -1 if there is none. Quotes in a tag may hold braces. */
function tagEnd(text: string, start: number): number {
  const comment = /^\{\{~?!--/.test(text.slice(start, start + 6));
  if (comment) {
    const close = /--~?\}\}/.exec(text.slice(start));
    return close === null ? -1 : start + close.index + close[0].length;
  }
  const plain = /^\{\{~?!/.test(text.slice(start, start + 4));
  let quote = '';
  for (let i = start + 2; i < text.length; i++) {
    const c = text.charAt(i);
    if (quote !== '') {
      if (c === quote) quote = '';
    } else if (!plain && (c === '"' || c === "'")) quote = c;
    else if (text.startsWith('}}', i)) return i + 2;
  }
  return -1;
}

function lineAt(text: string, at: number): number {
  let line = 1;
  for (let i = text.indexOf('\n'); i !== -1 && i < at; i = text.indexOf('\n', i + 1)) line++;
  return line;
}

// --- The tree: only what we know, and every printed value through its alphabet --------------------------------------

type Program = hbs.AST.Program;
type Expression = hbs.AST.Expression;

/** Helpers whose result is printed as it is. They may stand only as a tag of their own. */
const PRINTERS: readonly string[] = ['raw', 'quote', 'json', 'generation', 'lbrace', 'rbrace'];
const EMIT = 'emit value';

function parsed(hb: typeof Handlebars, source: TemplateSource): Program {
  return attempt(source, () => hb.parse(source.text));
}

function rewrite(source: TemplateSource, program: Program): void {
  const refuse = (node: hbs.AST.Node, reason: string): never => {
    throw new TemplateError(source.name, node.loc.start.line, reason);
  };
  const body = (inner: Program | undefined): void => {
    for (const statement of inner?.body ?? []) visit(statement);
  };
  const visit = (statement: hbs.AST.Statement): void => {
    if (statement.type === 'ContentStatement' || statement.type === 'CommentStatement') return;
    if (statement.type === 'BlockStatement') {
      const block = statement as hbs.AST.BlockStatement;
      knownHelper(block, BLOCKS, 'block');
      args(block);
      body(block.program);
      body(block.inverse);
      return;
    }
    if (statement.type !== 'MustacheStatement') {
      refuse(statement, 'partials and decorators are not available; write the text here');
    }
    printed(statement as hbs.AST.MustacheStatement);
  };
  const printed = (tag: hbs.AST.MustacheStatement): void => {
    const path = tag.path;
    if (path.type !== 'PathExpression') refuse(tag, 'a constant needs no tag; write it as text');
    const name = (path as hbs.AST.PathExpression).original;
    if (PRINTERS.includes(name)) {
      if (name === 'json' && (source.escape === 'nginx' || source.escape === 'haproxy')) {
        refuse(tag, `{{json …}} cannot be read safely in a ${source.escape} file; use {{quote …}}`);
      }
      return args(tag);
    }
    const call = tag.params.length > 0 || (tag.hash?.pairs.length ?? 0) > 0 || INLINE.has(name);
    const value: Expression = call ? subExpression(tag) : strictPath(tag.path);
    if (call) expression(value);
    tag.path = pathTo(EMIT, tag);
    tag.params = [value];
    tag.hash = { type: 'Hash', loc: tag.loc, pairs: [] };
  };
  const args = (node: { params: Expression[]; hash?: hbs.AST.Hash; path: Expression }): void => {
    const optional = (node.path as hbs.AST.PathExpression).original === 'default';
    node.params.forEach((param, i) => expression(param, optional && i === 0));
    for (const pair of node.hash?.pairs ?? []) expression(pair.value);
  };
  const expression = (value: Expression, optional = false): void => {
    if (value.type === 'PathExpression') {
      if (!optional) strictPath(value);
    } else if (value.type === 'SubExpression') {
      knownHelper(value as hbs.AST.SubExpression, INLINE, 'helper');
      args(value as hbs.AST.SubExpression);
    }
  };
  const knownHelper = (
    node: hbs.AST.BlockStatement | hbs.AST.SubExpression,
    known: ReadonlyMap<string, unknown>,
    what: 'block' | 'helper',
  ): void => {
    const name = node.path.original;
    if (known.has(name)) return;
    const list = [...known.keys()].join(', ');
    const plainBlock = what === 'block' && node.params.length === 0 ? `; to walk a list write {{#each ${name}}}` : '';
    refuse(node, `there is no ${what} ${shown(String(name))}${plainBlock} (there are: ${list})`);
  };
  body(program);
}

/** Handlebars checks only the last name of a printed path; this asks it to check every path. */
function strictPath(path: Expression): Expression {
  (path as Expression & { strict?: boolean }).strict = true;
  return path;
}

function subExpression(tag: hbs.AST.MustacheStatement): hbs.AST.SubExpression {
  return {
    type: 'SubExpression',
    path: tag.path as hbs.AST.PathExpression,
    params: tag.params,
    hash: tag.hash,
    loc: tag.loc,
  };
}

function pathTo(name: string, node: hbs.AST.Node): hbs.AST.PathExpression {
  return { type: 'PathExpression', data: false, depth: 0, parts: [name], original: name, loc: node.loc };
}

// --- Running ---------------------------------------------------------------------------------------------------------

function registerHelpers(hb: typeof Handlebars, source: TemplateSource): void {
  const { escape } = source;
  const register = (name: string, run: (args: readonly unknown[], scope: Scope) => unknown): void => {
    hb.registerHelper(name, function (this: unknown, ...all: unknown[]): unknown {
      const options = all.at(-1) as Handlebars.HelperOptions & { loc?: hbs.AST.SourceLocation };
      return attempt(source, () => run(all.slice(0, -1), scopeOf(hb, this, options)), options.loc?.start.line);
    });
  };
  for (const [name, run] of INLINE) register(name, run);
  for (const [name, run] of BLOCKS) register(name, run);
  const print = (name: string, write: (value: string | number | boolean) => string): void => {
    register(name, ([value], scope) => blamed(scope, () => write(printable(name, value))));
  };
  print(EMIT, (value) => bare(escape, value));
  print('quote', (value) => `${QUOTE_MARK}${quoted(escape, value)}${QUOTE_MARK}`);
  print('raw', verbatim);
  register('json', ([value], scope) => {
    if (value === undefined) throw new Error('json: an argument is missing');
    const json = JSON.stringify(value, null, 2);
    return blamed(scope, () => (escape === 'shell' ? bare('shell', json) : verbatimLong(json)));
  });
  register('generation', () => GENERATION_MARK);
  register('lbrace', () => '{');
  register('rbrace', () => '}');
}

function scopeOf(hb: typeof Handlebars, context: unknown, options: Handlebars.HelperOptions): Scope {
  const data = options.data as Frame;
  return {
    context,
    data,
    named: options.hash as Readonly<Record<string, unknown>>,
    inner: (value, frame) => options.fn(value, frame === undefined ? undefined : { data: frame }),
    otherwise: () => options.inverse(context),
    frame: (entries) => Object.assign(hb.createFrame(data) as Frame, entries),
  };
}

function printable(name: string, value: unknown): string | number | boolean {
  if (isScalar(value)) return value;
  const tag = name === EMIT ? 'a tag' : `{{${name} …}}`;
  throw new Error(`${tag} prints one text or number, not ${kindOf(value)}; walk lists with {{#each …}} or {{join …}} them`);
}

function verbatimLong(text: string): string {
  assert(!text.includes(GENERATION_MARK) && !text.includes(QUOTE_MARK), 'JSON text holds no control characters');
  return text;
}

/** Runs `write`; an unsafe value inside an instance's block is that instance's doing: noted, and nothing printed. */
function blamed(scope: Scope, write: () => string): string {
  try {
    return write();
  } catch (error) {
    const owner = scope.data.owner;
    if (!(error instanceof UnsafeValue) || owner === undefined) throw error;
    const key = instanceKey(owner);
    if (!scope.data.blamed.has(key)) scope.data.blamed.set(key, { ...owner, reason: `instance ${key}: ${error.message}` });
    return '';
  }
}

/** The one place where what Handlebars throws becomes our error. */
function attempt<T>(source: TemplateSource, run: () => T, at: number | null = null): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof TemplateError) throw error;
    const thrown = error instanceof Error ? error : new Error(String(error));
    const { lineNumber } = thrown as Error & { lineNumber?: number };
    const parse = /^Parse error on line (\d+):/.exec(thrown.message);
    const line = lineNumber ?? (parse === null ? at : Number(parse[1]));
    throw new TemplateError(source.name, line, reasonOf(thrown), thrown);
  }
}

/** Inside a block a bare name belongs to the block's own thing. */
function outside(name: string): string {
  return ['vars', 'services', 'group'].includes(name) ? `; inside a block write @root.${name}` : '';
}

function reasonOf(thrown: Error): string {
  const unknown = /^"(.*)" not defined in (.*) - \d+:\d+$/s.exec(thrown.message);
  if (unknown !== null) {
    const where = unknown[2] === '[object Object]' ? 'this scope' : unknown[2];
    return `there is no ${shown(unknown[1] ?? '')} in ${where}${outside(unknown[1] ?? '')}`;
  }
  const parent = /^Cannot read properties of undefined \(reading '(.*)'\)$/.exec(thrown.message);
  if (parent !== null) return `${shown(parent[1] ?? '')} is asked of something that is not there${outside('vars')}`;
  if (thrown instanceof TypeError && thrown.message.includes("'in' operator")) {
    return 'a name is asked of a text or number, which has no parts';
  }
  const parse = /^Parse error on line \d+:\n(.*)\n-*\^\n.*got '(\w+)'/s.exec(thrown.message);
  if (parse?.[2] === 'EOF') return 'a block is opened and never closed';
  if (parse !== null) return `cannot be read near ${shown((parse[1] ?? '').slice(-60))}`;
  return thrown.message.replace(/ - \d+:\d+$/, '');
}
