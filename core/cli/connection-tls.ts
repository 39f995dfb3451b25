// What the flags of global-flags.ts say of files: etcdctl's --cacert, --cert, --key and --insecure-skip-tls-verify, the last with
// a warning each time, and passwords that stand in one.

import { clientTlsFromFiles, FlagFault, INSECURE_WARNING, passwordFromFile } from '../client-files.js';
import type { ClientTls } from '../wire/client-tls.js';
import type { FlagValues } from './flags.js';
import { refusalOf } from './refusal.js';

export function connectionTls(flags: FlagValues, warn: (line: string) => void): { readonly tls?: ClientTls } {
  const word = (name: string): string | undefined => flags.text(name) ?? undefined;
  const insecureSkipVerify = flags.isSet('insecure-skip-tls-verify');
  const files = { cacert: word('cacert'), cert: word('cert'), key: word('key'), insecureSkipVerify };
  const tls = refusing(() => clientTlsFromFiles(files));
  if (insecureSkipVerify) warn(`WARNING: ${INSECURE_WARNING}`);
  return tls === undefined ? {} : { tls };
}

/** The first line of the file that `flag` names. */
export function passwordIn(file: string, flag: string): string {
  return refusing(() => passwordFromFile(flag, file));
}

function refusing<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof FlagFault ? refusalOf(error) : error;
  }
}
