// TLS as a client speaks it: whom it trusts, what it shows, and that the name at the other end is the one that was dialled.
// Names are always verified, addresses like names, except where somebody asked loudly for the contrary.

import { isIP } from 'node:net';
import { checkServerIdentity, createSecureContext, type PeerCertificate, type SecureContext } from 'node:tls';
import { ApiError } from '../errors.js';

/** Texts are PEM. Plain data, so that it can be handed to a thread. */
export interface ClientTls {
  /** Whose certificates are believed. Default: the authorities this machine trusts. */
  readonly ca?: string;
  /** Shown to servers that ask; with its key. */
  readonly cert?: string;
  readonly key?: string;
  /** The name a server's certificate must be for. Default: the host of its endpoint. */
  readonly serverName?: string;
  /** Talk to whoever answers: what is sent can then be read, and what is answered be made up, by anybody in between. */
  readonly insecureSkipVerify?: boolean;
}

export interface ChannelSecurity {
  readonly context: SecureContext;
  readonly rejectUnauthorized: boolean;
  readonly checkServerIdentity: (name: string, certificate: PeerCertificate) => Error | undefined;
  /** What is sent as the wanted name (SNI). */
  readonly indication: string;
}

/**
 * Sent for endpoints that are addresses, which may not stand there (RFC 6066 3): some releases of the runtime warn of them,
 * later ones refuse. No certificate can be for it.
 */
const NO_NAME = 'ip-endpoint.invalid';

/** Throws `invalid_request` for texts that cannot be used. `host` without the brackets of an IPv6 address. */
export function channelSecurity(tls: ClientTls, host: string): ChannelSecurity {
  const { ca, cert, key, serverName = host, insecureSkipVerify = false } = tls;
  if ((cert === undefined) !== (key === undefined)) {
    throw new ApiError('invalid_request', { detail: 'tls: a certificate is shown with its key; give both, `cert` and `key`' });
  }
  return {
    context: contextOf({
      ...(ca === undefined ? {} : { ca }), ...(cert === undefined || key === undefined ? {} : { cert, key }),
    }),
    rejectUnauthorized: !insecureSkipVerify,
    checkServerIdentity: (_name, certificate) => (insecureSkipVerify ? undefined : checkServerIdentity(serverName, certificate)),
    indication: isIP(serverName) === 0 ? serverName : NO_NAME,
  };
}

function contextOf(texts: { readonly ca?: string; readonly cert?: string; readonly key?: string }): SecureContext {
  try {
    return createSecureContext({ ...texts, minVersion: 'TLSv1.2' });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const detail = `tls: what is given as ca, cert and key cannot be used (${reason}); give PEM, and the key of the certificate`;
    throw new ApiError('invalid_request', { detail, cause });
  }
}
