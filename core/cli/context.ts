// `coterie context`: endpoints and credentials under a name, so that nobody types them again. `add` saves the flags it is
// given; every command uses the context that `use` named, or the one of --context. Passwords are never shown.

import { contextsFile, readContexts, SECRETS, writeContexts, type Context } from './contexts.js';
import { runGroup, type ClientCommand, type Invocation } from './client-command.js';
import { CONNECTION_FLAGS } from './global-flags.js';
import { columns, json, plain, type Json } from './output.js';
import { Refusal } from './refusal.js';
import type { Terminal } from './terminal.js';

const SAVED = CONNECTION_FLAGS.filter(({ name }) => name !== 'context' && name !== 'debug');
const NAME = /^[\w.-]{1,64}$/;

const ADD: ClientCommand = {
  words: 'context add', usage: 'NAME --endpoints URLS [flags]', summary: 'save endpoints and credentials, or change them',
  takes: [1, 1], formats: ['simple', 'json', 'decoded'], offline: true,
  flags: [...SAVED, { name: 'use', help: 'and use them from now on' }],
  async run(invocation) {
    const [name = ''] = invocation.args;
    if (!NAME.test(name)) throw new Refusal(`${name}: not a name for a context`, 'use letters, digits, dots and dashes');
    const { env } = invocation.terminal;
    const before = readContexts(env);
    const given = await wordsGiven(invocation);
    if (given['endpoints'] === undefined && before.contexts[name]?.['endpoints'] === undefined) {
      throw new Refusal('--endpoints is missing', `say where: coterie context add ${name} --endpoints http://host:2379`);
    }
    const contexts = { ...before.contexts, [name]: { ...before.contexts[name], ...given } };
    const isFirst = Object.keys(before.contexts).length === 0;
    const current = invocation.isSet('use') || isFirst ? name : before.current;
    writeContexts(env, { current, contexts });
    const used = current === name ? ', and used from now on' : `; coterie context use ${name} makes it the one in use`;
    return said(invocation, `context ${name} saved in ${contextsFile(env)}${used}`);
  },
};

async function wordsGiven({ flags, terminal }: Invocation): Promise<Context> {
  const words = SAVED.flatMap(({ name, value }): [string, string][] => {
    if (value === undefined) return flags.isSet(name) ? [[name, 'true']] : [];
    const word = flags.text(name);
    return word === null ? [] : [[name, word]];
  });
  const given = Object.fromEntries(words);
  const user = given['user'];
  const colon = user?.indexOf(':') ?? -1;
  if (user !== undefined && colon >= 0) {
    if (given['password'] !== undefined) throw new Refusal('the password is given more than once', 'give it once');
    return { ...given, user: user.slice(0, colon), password: user.slice(colon + 1) };
  }
  const isAsked = user !== undefined && given['password'] === undefined && given['password-file'] === undefined;
  if (!isAsked || !terminal.isInteractive) return given;
  const password = await terminal.secret(`Password of ${user} (empty: ask every time): `);
  return password === '' ? given : { ...given, password };
}

const USE: ClientCommand = {
  words: 'context use', usage: 'NAME', summary: 'the one every command uses from now on; "" for none', takes: [1, 1], flags: [],
  formats: ['simple', 'json', 'decoded'], offline: true,
  run(invocation) {
    const [name = ''] = invocation.args;
    const { env } = invocation.terminal;
    const { contexts } = readContexts(env);
    if (name !== '') known(contexts, name);
    writeContexts(env, { current: name === '' ? null : name, contexts });
    return Promise.resolve(said(invocation, name === '' ? 'no context is in use' : `context ${name} is in use`));
  },
};

const LIST: ClientCommand = {
  words: 'context list', usage: '', summary: 'what is saved; passwords are not shown', takes: [0, 0],
  flags: [{ name: 'names', help: 'names alone, one a line' }],
  formats: ['simple', 'json', 'decoded'], offline: true,
  run(invocation) {
    const { current, contexts } = readContexts(invocation.terminal.env);
    const all = Object.entries(contexts);
    if (invocation.isSet('names')) {
      invocation.print(all.map(([name]) => `${name}\n`).join(''));
      return Promise.resolve(0);
    }
    if (invocation.format === 'simple') {
      const rows = all.map(([name, words]) => {
        const shown = ['endpoints', 'user', ...SECRETS];
        const others = Object.entries(words).filter(([flag]) => !shown.includes(flag));
        const more = others.map(([flag, word]) => `--${flag} ${word}`);
        const user = words['user'] ?? '';
        return [name === current ? '*' : '', name, words['endpoints'] ?? '', withSecret(user, words), plain(more.join(' '))];
      });
      invocation.print(all.length === 0 ? '' : columns(['IN USE', 'NAME', 'ENDPOINTS', 'USER', 'FLAGS'], rows));
    } else {
      const list = all.map(([name, words]): Json => ({ name, inUse: name === current, ...redacted(words) }));
      invocation.printJson({ contexts: list });
    }
    return Promise.resolve(0);
  },
};

function withSecret(user: string, words: Context): string {
  return SECRETS.some((flag) => words[flag] !== undefined) ? `${user}:…` : user;
}

function redacted(words: Context): { readonly [name: string]: Json } {
  return Object.fromEntries(Object.entries(words).map(([flag, word]) => [flag, SECRETS.includes(flag) ? '…' : word]));
}

const REMOVE: ClientCommand = {
  words: 'context remove', usage: 'NAME', summary: 'forget a context', takes: [1, 1], flags: [],
  formats: ['simple', 'json', 'decoded'], offline: true,
  run(invocation) {
    const [name = ''] = invocation.args;
    const { env } = invocation.terminal;
    const { current, contexts } = readContexts(env);
    known(contexts, name);
    const left = Object.fromEntries(Object.entries(contexts).filter(([one]) => one !== name));
    writeContexts(env, { current: current === name ? null : current, contexts: left });
    return Promise.resolve(said(invocation, `context ${name} removed`));
  },
};

function known(contexts: Readonly<Record<string, Context>>, name: string): void {
  if (Object.hasOwn(contexts, name)) return;
  const names = Object.keys(contexts);
  const remedy = names.length === 0 ? 'coterie context add NAME --endpoints …' : `there are ${names.join(', ')}`;
  throw new Refusal(`${name}: there is no such context`, remedy);
}

function said(invocation: Invocation, done: string): number {
  invocation.print(invocation.format === 'simple' ? `${done}\n` : `${json({ done })}\n`);
  return 0;
}

export const COMMANDS: readonly ClientCommand[] = [ADD, USE, LIST, REMOVE];

export function main(argv: readonly string[], terminal?: Terminal): Promise<number> {
  return runGroup('context', COMMANDS, argv, terminal);
}
