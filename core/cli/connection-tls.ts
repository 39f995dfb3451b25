// What the flags of global-flags.ts say of TLS towards the servers: etcdctl's --cacert, --cert, --key and
// --insecure-skip-tls-verify, the last with a warning each time.

import { clientTlsFromFiles, INSECURE_WARNING } from '../client-tls-files.js';
import type { ClientTls } from '../wire/client-tls.js';
import type { FlagValues } from './flags.js';
import { Refusal } from './refusal.js';

export function connectionTls(flags: FlagValues, warn: (line: string) => void): { readonly tls?: ClientTls } {
  const word = (name: string): string | undefined => flags.text(name) ?? undefined;
  const insecureSkipVerify = flags.isSet('insecure-skip-tls-verify');
  try {
    const tls = clientTlsFromFiles({ cacert: word('cacert'), cert: word('cert'), key: word('key'), insecureSkipVerify });
    if (insecureSkipVerify) warn(`WARNING: ${INSECURE_WARNING}`);
    return tls === undefined ? {} : { tls };
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const cut = error.message.lastIndexOf('; ');
    throw new Refusal(error.message.slice(0, cut), error.message.slice(cut + 2), { exitCode: 1, cause: error });
  }
}
