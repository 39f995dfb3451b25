// What `coterie serve` will use: flag before environment before file before default, each value with its origin. This
// order differs from etcd's, which refuses a flag together with its variable and lets the file override everything; ours
// is the one people expect, and --print-config shows the outcome. Pure apart from reading the file it is told to read.

import { ALIASES, ALWAYS_ON, environmentName, OPTIONS, UNAVAILABLE, WITHOUT_EFFECT, type Option } from './options.js';
import { KNOWN_FLAGS } from './arguments.js';
import { readConfigFile, type FileEntry } from './config-file.js';
import { GLOBAL_FLAGS } from './global-flags.js';
import { nearest, Refusal } from './refusal.js';
import { upkeepOf, type Upkeep } from './upkeep-flags.js';
import { addressOf, isCluster, isList, isLoopback, readValue, showValue, type ClusterValue, type Value } from './values.js';

export type Origin = 'flag' | 'environment' | 'file' | 'default';

export interface Setting {
  readonly flag: string;
  readonly value: Value;
  readonly origin: Origin;
  /** How to find the word again: `--name`, `ETCD_NAME`, `file:3:7`, or why the default is what it is. */
  readonly place: string;
}

export interface Settings {
  readonly all: ReadonlyMap<string, Setting>;
  /** Things worth a line in the log, which do not stop the start. */
  readonly warnings: readonly string[];
  /**
   * What is wrong with the words that found a cluster. It counts only where there is no data yet: afterwards ids and members
   * come from the disk, and these words are not looked at again (contract 14.3).
   */
  readonly bootstrapFault: Refusal | null;
}

const NO_EFFECT = 'has no effect here: it tunes machinery of etcd\'s that coterie does not have';

interface Word {
  readonly word: string;
  readonly origin: Origin;
  readonly place: string;
}

export function settle(words: ReadonlyMap<string, string>, environment: Readonly<Record<string, string | undefined>>): Settings {
  const warnings: string[] = [];
  const given = new Map<string, Word>();
  const take = (flag: string, word: Word): void => {
    const name = ALIASES[flag] ?? flag;
    refuseUnavailable(flag, word);
    if (WITHOUT_EFFECT.includes(flag)) warnings.push(`${word.place} ${NO_EFFECT}`);
    else if (Object.hasOwn(ALWAYS_ON, flag)) warnings.push(...judgeAlwaysOn(flag, word));
    else if (!given.has(name)) given.set(name, word);
  };
  for (const [flag, word] of words) take(flag, { word, origin: 'flag', place: `--${flag}` });
  for (const [flag, word] of readEnvironment(environment, warnings)) take(flag, word);
  const file = given.get('config-file')?.word ?? '';
  for (const entry of file === '' ? [] : readConfigFile(file)) {
    const key = keyOf(entry);
    // etcd's sample file names what it leaves open.
    if (entry.word !== '') take(key, { word: fileWord(entry), origin: 'file', place: `${entry.place}: ${entry.key}` });
  }
  const all = new Map(OPTIONS.map((option) => [option.flag, settleOne(option, given.get(option.flag))]));
  addDerived(all);
  judgeTogether(all);
  warnings.push(...upkeepFlags(all).warnings);
  return { all, warnings, bootstrapFault: bootstrapFault(all) };
}

function judgeAlwaysOn(flag: string, given: Word): string[] {
  const reading = readValue({ flag, kind: 'boolean', fallback: 'true', group: 'Clustering', help: '' }, given.word);
  if ('wrong' in reading) throw new Refusal(`${quote(given)}: ${reading.wrong}`, reading.remedy);
  return reading.value === true ? [] : [`${given.place}: it is always on here: ${ALWAYS_ON[flag] ?? ''}`];
}

function readEnvironment(environment: Readonly<Record<string, string | undefined>>, warnings: string[]): Map<string, Word> {
  const found = new Map<string, Word>();
  for (const flag of KNOWN_FLAGS) {
    if (OPTIONS.some((option) => option.flag === flag && option.flagOnly === true)) continue;
    const ours = environmentName('COTERIE', flag);
    const etcds = environmentName('ETCD', flag);
    const [a, b] = [environment[ours] ?? '', environment[etcds] ?? ''];
    if (a !== '' && b !== '' && a !== b) {
      throw new Refusal(`${ours}=${a} and ${etcds}=${b} contradict each other`, `unset one of them, or decide with --${flag}`);
    }
    if (a !== '' || b !== '') found.set(flag, { word: a || b, origin: 'environment', place: a !== '' ? ours : etcds });
  }
  const known = KNOWN_FLAGS.flatMap((flag) => [environmentName('COTERIE', flag), environmentName('ETCD', flag)]);
  for (const name of Object.keys(environment)) {
    if (!/^(?:ETCD|COTERIE)_/.test(name) || known.includes(name) || NOT_OURS.includes(name)) continue;
    const guess = nearest(name, known);
    warnings.push(`${name} names no flag and is ignored${guess === null ? '' : `; did you mean ${guess}?`}`);
  }
  return found;
}

/** Read by the build, the tests and the commands that ask a server, not by the server. */
const NOT_OURS: readonly string[] = [
  'COTERIE_DIST', 'COTERIE_CONTEXTS', 'COTERIE_WATCH_KEY', 'COTERIE_WATCH_RANGE_END',
  ...GLOBAL_FLAGS.map(({ name }) => environmentName('COTERIE', name)),
];

function keyOf(entry: FileEntry): string {
  const ofCommand = OPTIONS.filter((option) => option.group === 'Command').map((option) => option.flag);
  const known = KNOWN_FLAGS.filter((flag) => !ofCommand.includes(flag));
  if (known.includes(entry.key)) return entry.key;
  const guess = nearest(entry.key, known);
  const remedy = guess === null ? 'coterie serve --help lists the names' : `did you mean ${guess}?`;
  throw new Refusal(`${entry.place}: ${entry.key}: no such setting`, remedy);
}

/** etcd's files give durations as bare nanoseconds. */
function fileWord(entry: FileEntry): string {
  const duration = OPTIONS.some((option) => option.flag === (ALIASES[entry.key] ?? entry.key) && option.kind === 'duration');
  return duration && /^[1-9]\d*$/.test(entry.word) ? `${entry.word}ns` : entry.word;
}

function refuseUnavailable(flag: string, given: Word): void {
  const { word } = given;
  const row = UNAVAILABLE.find((candidate) => candidate.flag === flag);
  if (row === undefined || row.harmless.includes(word)) return;
  const harmless = row.harmless.find((value) => value !== '');
  const remedy = harmless === undefined ? 'leave it out' : `leave it out, or set it to ${harmless}`;
  throw new Refusal(`${quote(given)}: coterie does not have ${row.lacks}`, remedy);
}

function settleOne(option: Option, given: Word | undefined): Setting {
  const byDefault: Word = { word: option.fallback ?? '', origin: 'default', place: 'default' };
  const word = given ?? byDefault;
  // A derived default is filled in by addDerived; until then it is empty.
  if (given === undefined && byDefault.word === '') return { flag: option.flag, value: '', origin: 'default', place: 'default' };
  const reading = readValue(option, word.word);
  if ('value' in reading) return { flag: option.flag, value: reading.value, origin: word.origin, place: word.place };
  throw new Refusal(`${quote(word)}: ${reading.wrong}`, reading.remedy);
}

/** A word as it was given, where it was given. */
function quote({ word, origin, place }: Word): string {
  if (origin === 'environment') return `${place}=${word}`;
  return `${place}${origin === 'file' ? ':' : ''} ${word === '' ? '""' : word}`;
}

/** Defaults that follow from other settings. */
function addDerived(all: Map<string, Setting>): void {
  const derive = (flag: string, value: Value, from: string): void => {
    if (all.get(flag)?.origin === 'default') all.set(flag, { flag, value, origin: 'default', place: `follows --${from}` });
  };
  const name = textOf(all, 'name');
  derive('data-dir', `${name}.coterie`, 'name');
  if (isSet(all, 'debug')) derive('log-level', 'debug', 'debug');
  derive('initial-cluster', new Map([[name, listOf(all, 'initial-advertise-peer-urls')]]), 'initial-advertise-peer-urls');
}

/** What no single value can be blamed for. */
function judgeTogether(all: ReadonlyMap<string, Setting>): void {
  const heartbeat = numberOf(all, 'heartbeat-interval');
  const election = numberOf(all, 'election-timeout');
  if (election < 5 * heartbeat) {
    const most = Math.floor(election / 5);
    const remedy = `set --election-timeout to ${5 * heartbeat} or more, or --heartbeat-interval to ${most} or less`;
    throw new Refusal(`${show(all, 'election-timeout')} is less than 5 times ${show(all, 'heartbeat-interval')}`, remedy);
  }
  if (all.get('listen-client-urls')?.origin !== 'default' && all.get('advertise-client-urls')?.origin === 'default') {
    const urls = showValue(all.get('listen-client-urls')?.value ?? '');
    const dial = urls.replace(/\/\/(?:0\.0\.0\.0|\[::\])/g, '//THIS-HOST');
    throw new Refusal(
      '--advertise-client-urls is required when --listen-client-urls is set explicitly',
      `say where clients reach this member: --advertise-client-urls ${dial}`,
    );
  }
  judgeTls(all, '');
  judgeTls(all, 'peer-');
  if (textOf(all, 'discovery-srv') !== '' && all.get('initial-cluster')?.origin !== 'default') {
    const problem = `${show(all, 'discovery-srv')} and ${show(all, 'initial-cluster')} both say who the members are`;
    throw new Refusal(problem, 'choose one of them');
  }
  judgeOperation(all);
}

function judgeOperation(all: ReadonlyMap<string, Setting>): void {
  const aside = listOf(all, 'listen-metrics-urls');
  if (isSet(all, 'enable-pprof') && !aside.some((url) => isLoopback(addressOf(url).host))) {
    const remedy = 'give a port of the loopback for it: --listen-metrics-urls http://127.0.0.1:2381';
    const problem = `${show(all, 'enable-pprof')}: profiles are shown on the loopback only, beside the ports for clients`;
    throw new Refusal(problem, remedy);
  }
}

/** The words of one side, of clients or of members, whose flags begin with `of`. */
function judgeTls(all: ReadonlyMap<string, Setting>, of: '' | 'peer-'): void {
  refuseHalf(all, `${of}cert-file`, `${of}key-file`);
  refuseHalf(all, `${of}client-cert-file`, `${of}client-key-file`);
  const listen = of === '' ? 'listen-client-urls' : 'listen-peer-urls';
  const secret = listOf(all, listen).find((url) => url.startsWith('https:'));
  const has = (flag: string): boolean => textOf(all, flag) !== '' || listOf(all, flag).length > 0;
  if (secret !== undefined && !has(`${of}cert-file`) && !isSet(all, `${of}auto-tls`)) {
    const remedy = `give --${of}cert-file and --${of}key-file, or --${of}auto-tls, or use http://`;
    throw new Refusal(`--${listen} ${secret} needs a certificate`, remedy);
  }
  const authority = `${of}trusted-ca-file`;
  const crl = of === '' ? 'client-crl-file' : 'peer-crl-file';
  const [names, hosts] = ['peer-cert-allowed-cn', of === '' ? 'client-cert-allowed-hostname' : 'peer-cert-allowed-hostname'];
  if (of === 'peer-' && has(names) && has(hosts)) {
    throw new Refusal(`${show(all, names)} and ${show(all, hosts)} are mutually exclusive`, 'choose one of them');
  }
  for (const flag of [`${of}client-cert-auth`, crl, hosts, ...(of === '' ? [] : [names])]) {
    if (has(authority) || !(isSet(all, flag) || has(flag))) continue;
    throw new Refusal(`${show(all, flag)} without --${authority}`, `say whose certificates are believed: --${authority} FILE`);
  }
}

/** The same with the members that DNS has named; this one is advertised as it stands there. */
export function withMembers(settings: Settings, members: ClusterValue): Settings {
  const all = new Map(settings.all);
  const put = (flag: string, value: Value): void => {
    all.set(flag, { flag, value, origin: 'default', place: 'follows --discovery-srv' });
  };
  put('initial-cluster', members);
  put('initial-advertise-peer-urls', members.get(textOf(all, 'name')) ?? []);
  return { ...settings, all, bootstrapFault: bootstrapFault(all) };
}

/** A certificate is shown with its key. */
function refuseHalf(all: ReadonlyMap<string, Setting>, certificate: string, key: string): void {
  const has = (flag: string): boolean => textOf(all, flag) !== '';
  if (has(certificate) === has(key)) return;
  const [given, missing] = has(certificate) ? [certificate, key] : [key, certificate];
  throw new Refusal(`${show(all, given)} without --${missing}`, 'give both: a certificate is shown with its key');
}

/** In etcd's order: our own place in the list, then what each of its URLs stands for (contract 14.3, reliability E12). */
function bootstrapFault(all: ReadonlyMap<string, Setting>): Refusal | null {
  const name = textOf(all, 'name');
  const cluster = clusterOf(all);
  const urls = cluster.get(name);
  if (urls === undefined) {
    const others = [...cluster.keys()];
    const problem = `${show(all, 'initial-cluster')} does not name this member, ${name}`;
    return new Refusal(problem, `use --name ${others.join(' or ')}, or rename it there`);
  }
  const shared = sharedUrl(cluster);
  if (shared !== null) {
    const problem = `${show(all, 'initial-cluster')}: ${shared.url} stands for ${shared.names.join(' and for ')}`;
    return new Refusal(problem, 'give each member peer URLs of its own');
  }
  const advertised = listOf(all, 'initial-advertise-peer-urls');
  if ([...urls].sort().join() !== [...advertised].sort().join()) {
    const missing = urls.filter((url) => !advertised.includes(url));
    const twice = urls.length > 1 && missing.length < urls.length
      ? `; if ${name} stands there for two members, give each a name of its own` : '';
    return new Refusal(
      `${show(all, 'initial-cluster')} differs for ${name} from ${show(all, 'initial-advertise-peer-urls')}`,
      `give this member the same URLs in both: --initial-advertise-peer-urls ${urls.join(',')}${twice}`,
    );
  }
  if (textOf(all, 'initial-cluster-state') === 'existing' && cluster.size === 1) {
    return new Refusal(
      `${show(all, 'initial-cluster-state')}, but --initial-cluster names no running member to ask`,
      'name all members, as coterie member add prints them: --initial-cluster a=http://…,b=http://…',
    );
  }
  return null;
}

function sharedUrl(cluster: ClusterValue): { url: string; names: readonly string[] } | null {
  const owner = new Map<string, string>();
  for (const [name, urls] of cluster) {
    for (const url of urls) {
      const plain = url.replace(/\/$/, '');
      const other = owner.get(plain);
      if (other !== undefined) return { url: plain, names: [other, name] };
      owner.set(plain, name);
    }
  }
  return null;
}

function show(all: ReadonlyMap<string, Setting>, flag: string): string {
  const setting = all.get(flag);
  const { origin = 'default', place = '', value = '' } = setting ?? {};
  const word = showValue(value);
  return quote(origin === 'default' ? { word, origin: 'flag', place: `--${flag}` } : { word, origin, place });
}

/** What follows from the flags of upkeep-flags.ts. */
export function upkeepFlags(all: ReadonlyMap<string, Setting>): Upkeep {
  return upkeepOf({
    text: (flag) => textOf(all, flag),
    number: (flag) => numberOf(all, flag),
    isSet: (flag) => isSet(all, flag),
  });
}

export function textOf(all: ReadonlyMap<string, Setting>, flag: string): string {
  const value = all.get(flag)?.value;
  return typeof value === 'string' ? value : '';
}

export function numberOf(all: ReadonlyMap<string, Setting>, flag: string): number {
  const value = all.get(flag)?.value;
  return typeof value === 'number' ? value : 0;
}

export function listOf(all: ReadonlyMap<string, Setting>, flag: string): readonly string[] {
  const value = all.get(flag)?.value;
  return isList(value) ? value : [];
}

export function isSet(all: ReadonlyMap<string, Setting>, flag: string): boolean {
  return all.get(flag)?.value === true;
}

export function clusterOf(all: ReadonlyMap<string, Setting>): ClusterValue {
  const value = all.get('initial-cluster')?.value;
  return isCluster(value) ? value : new Map<string, readonly string[]>();
}
