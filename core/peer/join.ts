// Before a member has an id it asks a running cluster, at any peer port, who the members are: one question, one answer, and
// the connection is over. What the answer says is for whoever asked to read; no answer is an error that names the address.

import type { Clock } from '../base/clock.js';
import type { Done } from '../base/done.js';
import { EMPTY } from '../base/bytes.js';
import { DecodeError } from './codec.js';
import { addressOf } from './address.js';
import { FrameReader, recordHead } from './framing.js';
import { DESCRIPTION_BYTES_MAX } from './limits.js';
import { readAnswer } from './opening.js';
import { dial, hungUp, PeerSecurity, reasonOf, type PeerTls } from './tls.js';

/** Asks the member at `url`; an error says what happened there. */
export function fetchDescription(
  url: string, tls: PeerTls | null, clock: Clock, timeoutMs: number, done: Done<Uint8Array>,
): void {
  if (addressOf(url) === null) {
    return void clock.schedule(0, () => done(new Error(`${url} is not an http:// or https:// address of a member`)));
  }
  const security = tls === null ? null : new PeerSecurity(tls, clock, () => undefined);
  let isOver = false;
  const reader = new FrameReader(DESCRIPTION_BYTES_MAX);
  const end = (error: string | null, description?: Uint8Array): void => {
    if (isOver) return;
    isOver = true;
    cancel();
    security?.gate.close();
    socket.destroy();
    if (error === null) done(null, description);
    else done(new Error(`asking ${url} who the members are: ${error}`));
  };
  const cancel = clock.schedule(timeoutMs, () => end(`no answer within ${timeoutMs} ms`));
  const socket = dial(url, security, () => socket.write(recordHead('describe', EMPTY)));
  socket.on('error', (error) => end(reasonOf(error)));
  socket.on('close', () => end(hungUp(url)));
  socket.on('data', (chunk: Buffer) => {
    if (isOver) return;
    try {
      const [answer] = readAnswer(reader, chunk);
      if (answer?.kind === 'description') end(null, answer.body);
      else if (answer !== undefined) end(`a ${answer.kind} record instead of a description`);
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
      end(error.message);
    }
  });
}
