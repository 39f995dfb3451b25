// The certificates of `coterie serve`: read from the files that the flags name, judged before anything starts, followed while
// it runs. What is on the disk is used as a whole or not at all: files that do not fit each other, or were written halfway,
// leave in use what was in use, are told in the log and in the metrics, and are looked at again when they change.

import { readFileSync, statSync } from 'node:fs';
import { calendarMs } from '../base/clock.js';
import { JudgedTls, TlsFault, type TlsField, type TlsVersion } from '../base/tls-terms.js';
import { judgedPeer } from '../peer/tls.js';
import type { PeerTls } from '../start-node.js';
import type { Logger } from './log.js';
import { Refusal, refusalOf } from './refusal.js';
import { isSet, listOf, textOf, type Setting } from './settings.js';

type All = ReadonlyMap<string, Setting>;
type Side = 'client' | 'peer';

/** How often files are looked at. One that changes is taken when it has been the same for as long. */
const LOOK_MS = 1000;
/** Before a certificate of our own ends it is told this early. */
const WARN_MS = 7 * 86_400_000;

/** Which flags a side has, and for each field of the terms the flag that fills it. */
const FLAGS: Readonly<Record<Side, Readonly<Partial<Record<keyof PeerTls, string>>>>> = {
  client: {
    cert: 'cert-file', key: 'key-file', ca: 'trusted-ca-file', crl: 'client-crl-file', requireClientCert: 'client-cert-auth',
    allowedHostnames: 'client-cert-allowed-hostname', cipherSuites: 'cipher-suites', minVersion: 'tls-min-version',
    maxVersion: 'tls-max-version',
  },
  peer: {
    cert: 'peer-cert-file', key: 'peer-key-file', ca: 'peer-trusted-ca-file', crl: 'peer-crl-file',
    requireClientCert: 'peer-client-cert-auth', allowedNames: 'peer-cert-allowed-cn',
    allowedHostnames: 'peer-cert-allowed-hostname', clientCert: 'peer-client-cert-file', clientKey: 'peer-client-key-file',
    cipherSuites: 'cipher-suites', minVersion: 'tls-min-version', maxVersion: 'tls-max-version',
  },
};
const IN_FILES = ['cert', 'key', 'ca', 'crl', 'clientCert', 'clientKey'] as const;
type InFile = (typeof IN_FILES)[number];
type Texts = Partial<Record<InFile, string>>;

export interface TlsFacts {
  reloads: number;
  failures: number;
  /** What is on the disk cannot be used, or a list has expired: something else is in use. */
  isAlarmed: boolean;
}

/** One side's files. */
export class TlsFiles {
  readonly facts: TlsFacts = { reloads: 0, failures: 0, isAlarmed: false };
  readonly #all: All;
  readonly #side: Side;
  readonly #files: Readonly<Texts>;
  readonly #isAuto: boolean;
  #judged: JudgedTls;
  #terms: PeerTls;
  /** What was told of these files, which is told once. */
  readonly #told = new Set<string>();
  /** As they were when they were read, and when they were last looked at. */
  #used: string;
  #seen: string;

  /** Null: this side has no TLS. Rejects with a `Refusal` that names the file, what is wrong with it and what to do. */
  static async open(all: All, side: Side): Promise<TlsFiles | null> {
    const flags = FLAGS[side];
    const named: Texts = {};
    for (const field of IN_FILES) {
      const file = textOf(all, flags[field] ?? '');
      if (file !== '') named[field] = file;
    }
    if (named.cert !== undefined) return new TlsFiles(all, side, named, false);
    const isAuto = isSet(all, side === 'client' ? 'auto-tls' : 'peer-auto-tls');
    if (!isAuto) return null;
    // Loaded by those alone who ask for it.
    const { autoFiles } = await import('./auto-tls.js');
    return new TlsFiles(all, side, await autoFiles(all, side), true);
  }

  private constructor(all: All, side: Side, files: Readonly<Texts>, isAuto: boolean) {
    this.#all = all;
    this.#side = side;
    this.#files = files;
    this.#isAuto = isAuto;
    this.#seen = this.#used = this.#stamp();
    [this.#terms, this.#judged] = this.#read();
  }

  get terms(): PeerTls {
    return this.#terms;
  }

  /** Looks at the files now and then, and at SIGHUP at once; `apply` takes new terms into use. */
  follow(apply: (terms: PeerTls) => void, log: Logger): void {
    const again = (): void => {
      this.#look(apply, log, false);
      setTimeout(again, LOOK_MS).unref();
    };
    setTimeout(again, LOOK_MS).unref();
    process.on('SIGHUP', () => this.#look(apply, log, true));
    this.#warn(log);
  }

  #look(apply: (terms: PeerTls) => void, log: Logger, isAsked: boolean): void {
    const stamp = this.#stamp();
    const isStill = stamp === this.#seen;
    this.#seen = stamp;
    if (isAsked || (isStill && stamp !== this.#used)) {
      this.#used = stamp;
      this.#renew(apply, log);
    }
    this.#warn(log);
  }

  #renew(apply: (terms: PeerTls) => void, log: Logger): void {
    const side = this.#side;
    try {
      const [terms, judged] = this.#read();
      apply(terms);
      [this.#terms, this.#judged] = [terms, judged];
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof TlsFault)) throw error;
      this.facts.failures += 1;
      this.facts.isAlarmed = true;
      const remedy = error instanceof Refusal ? error.remedy : '';
      return log.error({ side, reason: error.message, remedy }, 'new certificates cannot be used; those in use stay in use');
    }
    this.facts.reloads += 1;
    this.facts.isAlarmed = false;
    this.#told.clear();
    log.info({ side }, 'new certificates are in use');
  }

  #warn(log: Logger): void {
    const { listsEndMs, ownEndMs } = this.#judged;
    const now = calendarMs();
    const { cert: file, crl } = this.#files;
    const tell = (level: 'warn' | 'error', fields: object, what: string): void => {
      if (this.#told.has(what)) return;
      this.#told.add(what);
      log[level]({ side: this.#side, ...fields }, what);
    };
    if (now >= listsEndMs) {
      this.facts.isAlarmed = true;
      tell('error', { file: crl }, 'a revocation list has expired and is still in use; fetch the newest');
    }
    const days = Math.floor((ownEndMs - now) / 86_400_000);
    if (now >= ownEndMs) tell('warn', { file }, 'the certificate has expired; put a new one in its place');
    else if (now >= ownEndMs - WARN_MS) tell('warn', { file, days }, 'the certificate expires soon; put a new one in its place');
  }

  #stamp(): string {
    return Object.values(this.#files).map(stampOf).join();
  }

  #read(): [terms: PeerTls, judged: JudgedTls] {
    const texts: Texts = {};
    for (const field of IN_FILES) {
      const file = this.#files[field];
      if (file !== undefined) texts[field] = this.#pemOf(field, file);
    }
    const { cert = '', key = '' } = texts;
    const terms: PeerTls = { ...texts, cert, key, ...this.#rules() };
    try {
      return [terms, this.#side === 'peer' ? judgedPeer(terms) : new JudgedTls(terms, calendarMs())];
    } catch (error) {
      throw error instanceof TlsFault ? refusalOf(error, `${this.#name(error.field)}: `) : error;
    }
  }

  /** What does not stand in files. */
  #rules(): Omit<PeerTls, 'cert' | 'key'> {
    const flags = FLAGS[this.#side];
    const list = (flag: string | undefined): readonly string[] => listOf(this.#all, flag ?? '');
    const version = (flag: string): TlsVersion | null => {
      const word = textOf(this.#all, flag);
      return word === 'TLS1.2' || word === 'TLS1.3' ? `TLSv${word.slice(3) === '1.2' ? '1.2' : '1.3'}` : null;
    };
    const [min, max] = [version('tls-min-version'), version('tls-max-version')];
    const mustShow = isSet(this.#all, flags.requireClientCert ?? '');
    return {
      allowedNames: list(flags.allowedNames), allowedHostnames: list(flags.allowedHostnames), cipherSuites: list('cipher-suites'),
      ...(min === null ? {} : { minVersion: min }), ...(max === null ? {} : { maxVersion: max }),
      ...this.#whoMust(mustShow),
      ...(this.#side === 'peer' && this.#isAuto ? { isAnonymous: true } : {}),
      checksAddress: !isSet(this.#all, 'experimental-peer-skip-client-san-verification'),
      sweepExpired: isSet(this.#all, 'sweep-expired-certificates'),
    };
  }

  /** Said: certificates name users, too. Unsaid: an authority that is named asks for them by itself, as with etcd. */
  #whoMust(mustShow: boolean): { readonly requireClientCert?: boolean } {
    if (mustShow) return { requireClientCert: true };
    return this.#side === 'peer' ? { requireClientCert: this.#files.ca !== undefined } : {};
  }

  #pemOf(field: InFile, file: string): string {
    let bytes: Buffer;
    try {
      bytes = readFileSync(file);
    } catch (cause) {
      const problem = `${this.#name(field)}: ${cause instanceof Error ? cause.message : String(cause)}`;
      throw new Refusal(problem, 'name a file this user may read', { exitCode: 1, cause });
    }
    // Lists come in the binary form as often as not.
    if (field === 'crl' && bytes[0] === 0x30) {
      return `-----BEGIN X509 CRL-----\n${bytes.toString('base64')}\n-----END X509 CRL-----\n`;
    }
    const text = bytes.toString('utf8');
    if (text.includes('-----BEGIN ')) return text;
    throw new Refusal(`${this.#name(field)}: not PEM`, 'it must hold a block that begins with -----BEGIN', { exitCode: 1 });
  }

  /** The flag of a field, and the file or the words it was given. */
  #name(field: TlsField): string {
    const flag = FLAGS[this.#side][field] ?? field;
    const file = IN_FILES.find((one) => one === field);
    const named = file === undefined ? undefined : this.#files[file];
    return `--${flag} ${named ?? (textOf(this.#all, flag) || listOf(this.#all, flag).join(','))}`;
  }
}

function stampOf(file: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
  } catch (error) {
    // What keeps it from being read is said when it is read.
    return error instanceof Error ? error.message : String(error);
  }
}
