// Ports of this machine: one that is free, and why one is not.

import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { Refusal } from './refusal.js';

// Below the range from which the system takes ports for outgoing connections: between the probe and the listening such
// a connection could have taken the port.
export const ANY_PORT = { from: 18_000, to: 32_000 } as const;
const ANY_PORT_TRIES = 100;

/** A port nobody listens on; `flag` is what a refusal blames. */
export async function freePort(host: string, flag: string): Promise<number> {
  for (let tries = 1; ; tries++) {
    const wanted = randomInt(ANY_PORT.from, ANY_PORT.to);
    const fault = await faultOf(host, wanted);
    if (fault === null) return wanted;
    if (fault.code === 'EADDRINUSE' && tries < ANY_PORT_TRIES) continue;
    const problem = `${flag}: cannot listen on ${host}: ${fault.message}`;
    throw new Refusal(problem, 'choose an address this machine has, or 0.0.0.0 for all', { exitCode: 1, cause: fault });
  }
}

/** Why one cannot listen there now; null: one can. */
export function faultOf(host: string, port: number): Promise<NodeJS.ErrnoException | null> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error));
    probe.listen(port, host, () => void probe.close(() => resolve(null)));
  });
}
