// A client's TLS from files, as command lines name them: read once, whole, with an error that names the file.

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

/** Undefined where nothing is asked for. Throws an `Error` whose message ends, after its last semicolon, with what to do. */
export function clientTlsFromFiles(files: ClientTlsFiles): ClientTls | undefined {
  const { cacert, cert, key, insecureSkipVerify = false } = files;
  if (cacert === undefined && cert === undefined && key === undefined && !insecureSkipVerify) return undefined;
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? [`--key ${key ?? ''}`, '--cert'] : [`--cert ${cert}`, '--key'];
    throw new Error(`${given} without ${missing}; give both: a certificate is shown with its key`);
  }
  return {
    ...(cacert === undefined ? {} : { ca: pemOf('--cacert', cacert) }),
    ...(cert === undefined ? {} : { cert: pemOf('--cert', cert) }),
    ...(key === undefined ? {} : { key: pemOf('--key', key) }),
    ...(insecureSkipVerify ? { insecureSkipVerify } : {}),
  };
}

function pemOf(flag: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${flag} ${file}: ${reason}; name a file this user may read`, { cause });
  }
  if (text.includes('-----BEGIN ')) return text;
  throw new Error(`${flag} ${file}: not PEM; it must hold a block that begins with -----BEGIN`);
}
