// A client's TLS and password from files, as command lines name them: read once, whole, with an error that names the file.

import { readFileSync } from 'node:fs';
import type { ClientTls } from './wire/client-tls.js';

export interface ClientTlsFiles {
  /** Whose certificates are believed. */
  readonly cacert?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly insecureSkipVerify?: boolean | undefined;
}

/** Said to whoever asks not to verify. */
export const INSECURE_WARNING = 'certificates are NOT verified: whoever stands in between can read and change everything';

/** Flags that cannot be used. The message says what is wrong and, after its last semicolon, what to do. */
export class FlagFault extends Error {}

/** Undefined where nothing is asked for. Throws a `FlagFault`. */
export function clientTlsFromFiles(files: ClientTlsFiles): ClientTls | undefined {
  const { cacert, cert, key, insecureSkipVerify = false } = files;
  if (cacert === undefined && cert === undefined && key === undefined && !insecureSkipVerify) return undefined;
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? [`--key ${key ?? ''}`, '--cert'] : [`--cert ${cert}`, '--key'];
    throw new FlagFault(`${given} without ${missing}; give both: a certificate is shown with its key`);
  }
  return {
    ...(cacert === undefined ? {} : { ca: pemOf('--cacert', cacert) }),
    ...(cert === undefined ? {} : { cert: pemOf('--cert', cert) }),
    ...(key === undefined ? {} : { key: pemOf('--key', key) }),
    ...(insecureSkipVerify ? { insecureSkipVerify } : {}),
  };
}

/** The first line of the file that the flag names. Throws a `FlagFault`. */
export function passwordFromFile(flag: string, file: string): string {
  return (textOf(flag, file).split('\n', 1)[0] ?? '').replace(/\r$/, '');
}

function pemOf(flag: string, file: string): string {
  const text = textOf(flag, file);
  if (text.includes('-----BEGIN ')) return text;
  throw new FlagFault(`${flag} ${file}: not PEM; it must hold a block that begins with -----BEGIN`);
}

function textOf(flag: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new FlagFault(`${flag} ${file}: ${reason}; name a file this user may read`, { cause });
  }
}
