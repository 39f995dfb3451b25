// From words to values: every kind of option has one reader, which either gives the value or says what is wrong with the
// word and what a good one looks like. Readers know nothing of where the word came from.

import { isIP } from 'node:net';
import type { Option } from './options.js';
import { nearest } from './refusal.js';

/** The members of `--initial-cluster`: a name may have several URLs. */
export type ClusterValue = ReadonlyMap<string, readonly string[]>;
export type Value = string | number | boolean | readonly string[] | ClusterValue;

export type Reading = { readonly value: Value } | { readonly wrong: string; readonly remedy: string };

export function readValue(option: Option, word: string): Reading {
  // What may be nothing may be said to be nothing.
  return word.trim() === '' && option.fallback === '' ? { value: '' } : READERS[option.kind](option, word.trim());
}

export function isCluster(value: Value | undefined): value is ClusterValue {
  return value instanceof Map;
}

export function isList(value: Value | undefined): value is readonly string[] {
  return Array.isArray(value);
}

/** The word that would give `value` again: for --print-config and the banner. */
export function showValue(value: Value): string {
  if (isCluster(value)) return [...value].flatMap(([name, urls]) => urls.map((url) => `${name}=${url}`)).join(',');
  return typeof value === 'object' ? value.join(',') : String(value);
}

const READERS: Readonly<Record<Option['kind'], (option: Option, word: string) => Reading>> = {
  text: readText,
  // Where no file is a choice, saying nothing chooses it.
  path: ({ fallback }, word) => (word === '' && fallback !== '' ? { wrong: 'empty', remedy: 'give a path' } : { value: word }),
  integer: readInteger,
  duration: readBoundedDuration,
  boolean: readBoolean,
  choice: readChoice,
  listen_urls: (_option, word) => readUrls(word, checkListenUrl, 2379),
  urls: (_option, word) => readUrls(word, () => null, 2379),
  listen_peer_urls: (_option, word) => readUrls(word, checkListenUrl, 2380),
  peer_urls: (_option, word) => readUrls(word, () => null, 2380),
  cluster: readCluster,
  words: readWords,
  word: (_option, word) => ({ value: word }),
  domain: readDomain,
};

function readText(_option: Option, word: string): Reading {
  if (word === '') return { wrong: 'empty', remedy: 'give a name, for instance node-1' };
  // A name becomes a directory, and stands in `--initial-cluster` between commas and equal signs.
  if (!/^[^\s,=/\\\p{Cc}]{1,255}$/u.test(word)) {
    return { wrong: 'not a plain name', remedy: 'use up to 255 characters without spaces, commas, equal signs and slashes' };
  }
  return { value: word };
}

function readWords(option: Option, word: string): Reading {
  const words = word.split(',').map((part) => part.trim());
  const bad = words.find((part) => !/^[^\s\p{Cc}]{1,4096}$/u.test(part));
  if (bad === undefined) return { value: words };
  if (word === '') return { value: [option.fallback ?? ''] };
  return { wrong: bad === '' ? 'nothing between two commas' : `${JSON.stringify(bad)} is no word`, remedy: 'write a,b,c' };
}

function readDomain(_option: Option, word: string): Reading {
  if (word === '' || /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\.?$/.test(word)) {
    return { value: word };
  }
  return { wrong: 'not a name in DNS', remedy: 'give one such as example.com' };
}

function readInteger(option: Option, word: string): Reading {
  const unit = option.unit ?? '';
  if (!/^[+-]?\d+$/.test(word)) {
    const remedy = `give plain digits, for instance ${option.fallback ?? '1'}`;
    return { wrong: `not a whole number of ${unit}`, remedy };
  }
  return inBounds(option, Number(word), (bound) => `${bound} ${unit}`);
}

function inBounds(option: Option, value: number, show: (bound: number) => string): Reading {
  const { min = -Infinity, max = Infinity } = option;
  const remedy = `give something from ${show(min)} to ${show(max)}`;
  if (value < min) return { wrong: `below the least, ${show(min)}`, remedy };
  if (value > max) return { wrong: `above the most, ${show(max)}`, remedy };
  return { value };
}

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000,
};

function readBoundedDuration(option: Option, word: string): Reading {
  const ms = readDuration(word);
  return typeof ms === 'number' ? inBounds(option, ms, showDuration) : ms;
}

/** Go's durations, `1h30m`, `250ms`, `1.5s`, in milliseconds. A bare 0 is 0; other bare numbers do not say what they count. */
export function readDuration(word: string): number | { readonly wrong: string; readonly remedy: string } {
  if (word === '0') return 0;
  const parts = [...word.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map((part) => part[0]).join('') !== word) {
    return { wrong: 'not a duration', remedy: 'give digits and a unit, for instance 500ms, 10s, 5m or 1h30m' };
  }
  return parts.reduce((sum, part) => sum + Number(part[1]) * (UNIT_MS[part[2] ?? ''] ?? 0), 0);
}

export function showDuration(ms: number): string {
  if (ms >= 3_600_000 && ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms >= 60_000 && ms % 60_000 === 0) return `${ms / 60_000}m`;
  return ms >= 1000 && ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`;
}

function readBoolean(_option: Option, word: string): Reading {
  const value = readTruth(word);
  return value === null ? { wrong: 'neither true nor false', remedy: 'give true or false' } : { value };
}

/** The spellings of Go's flag package; null: none of them. */
export function readTruth(word: string): boolean | null {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(word)) return true;
  return ['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(word) ? false : null;
}

function readChoice(option: Option, word: string): Reading {
  const choices = option.choices ?? [];
  if (choices.includes(word)) return { value: word };
  const guess = nearest(word, choices);
  const all = choices.length === 1 ? `only ${choices[0] ?? ''} is available` : `give one of ${choices.join(', ')}`;
  return { wrong: 'not one of the choices', remedy: guess === null ? all : `did you mean ${guess}? ${all}` };
}

type Judgement = { wrong: string; remedy: string } | null;

const SCHEMES: readonly string[] = ['http:', 'https:'];

/** `port`: the usual one, for messages. */
function readUrls(word: string, check: (url: URL) => Judgement, port: number): Reading {
  const urls = word.split(',').map((part) => part.trim());
  for (const text of urls) {
    const url = parseUrl(text);
    if (!(url instanceof URL)) return url;
    const judgement = checkUrl(url, text, port) ?? check(url);
    if (judgement !== null) return judgement;
  }
  const twice = urls.find((url, i) => urls.indexOf(url) !== i);
  if (twice !== undefined) return { wrong: `${twice} is there twice`, remedy: 'name each URL once' };
  return { value: urls };
}

function parseUrl(text: string): URL | { wrong: string; remedy: string } {
  const remedy = 'write scheme, host and port, for instance http://127.0.0.1:2379; separate several by commas';
  if (!/^[a-z][a-z\d+.-]*:\/\//i.test(text)) return { wrong: text === '' ? 'an empty URL' : `${text} has no scheme`, remedy };
  if (!URL.canParse(text)) return { wrong: `${text} is not a URL`, remedy };
  return new URL(text);
}

function checkUrl(url: URL, text: string, port: number): Judgement {
  if (url.protocol === 'unix:' || url.protocol === 'unixs:') {
    return { wrong: 'Unix sockets are not available yet', remedy: 'use http://127.0.0.1 and a port' };
  }
  if (!SCHEMES.includes(url.protocol)) {
    return { wrong: `the scheme ${url.protocol.slice(0, -1)} is unknown`, remedy: 'use http:// or https://' };
  }
  if (url.username !== '' || url.password !== '') return { wrong: 'a URL with a user', remedy: 'leave user and password out' };
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    return { wrong: `${text} has a path`, remedy: `use ${url.protocol}//${url.host}` };
  }
  // The URL class drops a port that is the scheme's own, so the text is asked.
  if (!/:\d+\/?$/.test(text)) {
    return { wrong: `${text} has no port`, remedy: `add one, for instance ${url.protocol}//${url.hostname}:${port}` };
  }
  return null;
}

/** A socket is bound to an address of this machine: a name could mean anything tomorrow (contract 14.1). */
function checkListenUrl(url: URL): Judgement {
  const host = hostOf(url);
  if (host === 'localhost' || isIP(host) !== 0) return null;
  return { wrong: `${host} is a name, and a socket is bound to an address`, remedy: 'use an IP address, localhost or 0.0.0.0' };
}

function readCluster(_option: Option, word: string): Reading {
  const members = new Map<string, string[]>();
  for (const part of word.split(',').map((text) => text.trim())) {
    const equals = part.indexOf('=');
    if (equals <= 0) {
      const wrong = part === '' ? 'an empty member' : `${part} names no member`;
      return { wrong, remedy: 'write name=url, for instance default=http://localhost:2380' };
    }
    const name = part.slice(0, equals);
    const urls = readUrls(part.slice(equals + 1), () => null, 2380);
    if ('wrong' in urls) return urls;
    members.set(name, [...(members.get(name) ?? []), part.slice(equals + 1)]);
  }
  return { value: members };
}

/** The host without the brackets of an IPv6 address. */
function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, '$1');
}

/** Of an address, where names do not occur. */
export function isLoopback(address: string): boolean {
  return address === '::1' || /^(?:::ffff:)?127\./.test(address);
}

/** Host and port to bind; localhost is the IPv4 loopback, which is where etcd's clients look. */
export function addressOf(text: string): { host: string; port: number } {
  const url = new URL(text);
  const port = /:(\d+)\/?$/.exec(text)?.[1] ?? '0';
  const host = hostOf(url);
  return { host: host === 'localhost' ? '127.0.0.1' : host, port: Number(port) };
}
