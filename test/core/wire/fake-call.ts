// A call without a transport, for tests of what handles calls.

import { tellWhenAborted, type CallContext } from '../../../core/wire/call.js';

/** Of nobody, who stays until the signal says otherwise. */
export function fakeCall(signal: AbortSignal = new AbortController().signal, more: Partial<CallContext> = {}): CallContext {
  const whenOver: CallContext['whenOver'] = (tell) => tellWhenAborted(signal, tell);
  return { token: null, certificateName: null, hasLeader: false, peer: 'test', signal, whenOver, ...more };
}
