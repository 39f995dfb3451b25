// How much memory a server says it takes: one figure of its /metrics, asked for as its clients ask, TLS included.

import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { ApiError } from '../errors.js';
import { channelSecurity, type ClientTls } from '../wire/client-tls.js';
import { Refusal } from './refusal.js';

const TIMEOUT_MS = 10_000;
/** Far more than there are figures. */
const ANSWER_BYTES_MAX = 16 << 20;

export async function residentBytes(endpoint: string, tls: ClientTls | null): Promise<number> {
  const scheme = /^https?:\/\//.test(endpoint) ? '' : `http${tls === null ? '' : 's'}://`;
  const url = new URL('/metrics', `${scheme}${endpoint}`);
  const text = await textAt(url, tls ?? {}).catch((cause: unknown) => {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ApiError('unavailable', { detail: `${url.href} (${why})`, cause });
  });
  const found = /^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1];
  if (found !== undefined) return Number(found);
  throw new Refusal(`${url.href} does not say process_resident_memory_bytes`, 'name a server that does', { exitCode: 1 });
}

function textAt(url: URL, tls: ClientTls): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = url.protocol === 'https:' ? tlsRequest(url, secured(url, tls)) : plainRequest(url, { agent: false });
    asked.setTimeout(TIMEOUT_MS, () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    asked.on('error', reject);
    asked.on('response', (answer) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      answer.on('error', reject);
      answer.on('data', (part: Buffer) => {
        parts.push(part);
        bytes += part.length;
        if (bytes > ANSWER_BYTES_MAX) answer.destroy(new Error(`the answer has more than ${ANSWER_BYTES_MAX} bytes`));
      });
      answer.on('end', () => resolve(Buffer.concat(parts).toString()));
    });
    asked.end();
  });
}

function secured(url: URL, tls: ClientTls): object {
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const { context, indication, ...rest } = channelSecurity(tls, host);
  return { ...rest, secureContext: context, servername: indication, agent: false };
}
